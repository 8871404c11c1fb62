"""`srprof fit`: the largest input, tile or batch within a budget of memory."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from srprof.errors import InputError
from srprof.figures import peak_names
from srprof.inputs import check_shape, parse_size
from srprof.options import add_output, add_tensor_format, add_weights, show
from srprof.output import check_output

_DESCRIPTION = """\
Find the largest input of a network within a budget of memory, exactly: the next larger one does
not fit. Sizes are tried on the meta device, so nothing is allocated and no GPU is needed.

  srprof fit fmen_s --budget 4GiB                      the largest square input
  srprof fit fmen_s --budget 4GiB --aspect 16:9        of a picture's proportions
  srprof fit fmen_s --budget 4GiB --image 2160x3840    whole, or in which tiles
  srprof fit fmen_s --budget 4GiB --batch --input 256x256
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fit",
        help="the largest input, tile or batch that fits a budget of memory",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spec", metavar="SPEC", help="the model, as for analyze")
    parser.add_argument(
        "--budget", metavar="SIZE", required=True, help="4GiB, 512MiB, 800MB; a unit is needed"
    )
    parser.add_argument(
        "--memory",
        choices=peak_names(),
        default="allocated",
        help="the peak that must be within it, of one image in a fresh program (default allocated)",
    )
    parser.add_argument(
        "--aspect", metavar="W:H", help="width:height of the inputs (default 1:1, or the image's)"
    )
    parser.add_argument(
        "--image",
        metavar="HxW",
        help="an LR image, height x width: whole if it fits, else its tiles, halo, peak",
    )
    parser.add_argument(
        "--batch", action="store_true", help="the largest batch at the --input's size"
    )
    parser.add_argument(
        "--input",
        metavar="SIZE",
        action="append",
        help="HxW or NxCxHxW: the size of --batch, else the channels and a size that the network "
        "takes; again for each further input, which stays as it is (default 256x256)",
    )
    add_weights(parser)
    add_tensor_format(parser)
    parser.add_argument(
        "--alloc-conf", metavar="SETTINGS", help="of CUDA's caching allocator, as for analyze"
    )
    parser.add_argument("--workspace", metavar="FILE", help="scratch inside nodes, as for analyze")
    parser.add_argument(
        "--device", metavar="DEVICE", help="predict the latency on it, as for analyze"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search and print."""
    from srprof import spec
    from srprof.sizing.arguments import parse_aspect, parse_budget

    check_output(args.output)
    parsed = spec.parse(args.spec)
    budget = parse_budget(args.budget)
    image = None if args.image is None else _image(args.image)
    if args.aspect is not None:
        parse_aspect(args.aspect)
    if args.batch and (args.image is not None or args.aspect is not None):
        raise InputError("--batch keeps the --input's size: leave out --image and --aspect")
    sizes = args.input or ["256x256"]
    shapes = [check_shape(parse_size(size, parsed.channels), args.dtype) for size in sizes]

    from srprof.progress import TerminalProgress
    from srprof.sizing.run import fit

    with TerminalProgress(sys.stderr) as progress:
        result = fit(
            args.spec,
            budget,
            *shapes,
            memory=args.memory,
            aspect=args.aspect,
            batch=args.batch,
            image=image,
            weights=args.weights,
            dtype=args.dtype,
            channels_last=args.channels_last,
            allocator=args.alloc_conf,
            workspace=args.workspace,
            device=args.device,
            progress=progress,
        )
    show(args, result.document())
    return 0


def _image(text: str) -> tuple[int, int]:
    """The LR height and width of `--image`."""
    try:
        *rest, height, width = parse_size(text)
    except InputError:
        rest = [0]
    if "x" in text and text.count("x") == 1 and 0 not in rest:
        return height, width
    raise InputError(f"--image {text!r} is not a size: write height x width in pixels, 2160x3840")
