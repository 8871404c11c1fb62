"""`srprof evaluate`: PSNR and SSIM of a network's images, beside runtime and memory."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from srprof.errors import InputError
from srprof.inputs import RUN_DTYPES
from srprof.options import add_output, show
from srprof.output import check_output

_DESCRIPTION = """\
Run a network on images and compare what it gives with the originals: PSNR and SSIM in the
challenge's way (R, G and B) and in the papers' (luma), by image and in the mean, both of 8 bits and
without a border of `scale` pixels; beside them bicubic's PSNR, the runtime and the peak memory.

Without --lr the LR images are made from the HR images by bicubic, as MATLAB's imresize does it. The
JSON record goes into `srprof rank --record`, whose PSNR column is then measured.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="PSNR and SSIM of a network's images, beside runtime and memory",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spec", metavar="SPEC", help="the model, as for analyze")
    parser.add_argument("--weights", metavar="FILE", help="its checkpoint, which must fit")
    parser.add_argument("--hr", metavar="DIR", required=True, help="HR images, a folder or one")
    parser.add_argument(
        "--lr",
        metavar="DIR",
        help="LR images, named as the HR images or with x4 (the scale) behind",
    )
    parser.add_argument(
        "--scale", metavar="N", type=int, help="from LR to HR (default the network's)"
    )
    parser.add_argument(
        "--range",
        type=int,
        choices=(1, 255),
        default=1,
        help="largest value that the network takes and gives (default 1); some checkpoints of "
        "the challenge take 255",
    )
    parser.add_argument(
        "--tile", metavar="SIZE", help="run it in tiles of LR pixels, N or HxW, with their halo"
    )
    parser.add_argument(
        "--halo",
        metavar="N",
        type=int,
        help="LR pixels around a tile (default as many as it needs)",
    )
    parser.add_argument("--save", metavar="DIR", help="write the SR images there, as 8-bit PNG")
    parser.add_argument("--dtype", choices=RUN_DTYPES, default="float32", help="default float32")
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, cuda or cuda:N (default cuda if there is one)"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    check_output(args.output)
    tile = None if args.tile is None else _tile(args.tile)
    if args.halo is not None and (args.tile is None or args.halo < 0):
        raise InputError(f"--halo {args.halo}: give a whole number of at least 0, with --tile")

    from srprof.progress import TerminalProgress
    from srprof.quality.run import evaluate

    try:
        with TerminalProgress(sys.stderr) as progress:
            evaluation = evaluate(
                args.spec,
                args.lr,
                args.hr,
                weights=args.weights,
                scale=args.scale,
                pixel_range=args.range,
                tile=tile,
                halo=args.halo,
                device=args.device,
                dtype=args.dtype,
                save=args.save,
                progress=progress,
            )
    except KeyboardInterrupt:
        if args.save is None:
            raise
        print(f"srprof: interrupted; the images in {args.save} are whole", file=sys.stderr)
        return 130
    show(args, evaluation.document())
    return 0


def _tile(text: str) -> tuple[int, int]:
    """`N` or `HxW` as height and width."""
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})?", text):
        raise InputError(f"--tile {text!r} is not a size: write N or HxW, positive whole numbers")
    height, _, width = text.partition("x")
    return int(height), int(width or height)
