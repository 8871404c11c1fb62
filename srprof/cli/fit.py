"""`srprof fit`: the largest input, tile or batch within a budget of memory."""

from __future__ import annotations

import argparse

from srprof import options
from srprof.figures import peak_names

DESCRIPTION = """\
Find the largest input of a network within a budget of memory, exactly: the next larger one does
not fit. Sizes are tried on the meta device, so nothing is allocated and no GPU is needed.

  srprof fit fmen_s --budget 4GiB                      the largest square input
  srprof fit fmen_s --budget 4GiB --aspect 16:9        of a picture's proportions
  srprof fit fmen_s --budget 4GiB --image 2160x3840    whole, or in which tiles
  srprof fit fmen_s --budget 4GiB --batch --input 256x256

--input is the size of --batch. Else its channels count, and its size where the network takes few;
further inputs stay as they are.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_call(parser, "--trace-on")
    options.add(parser, "--budget", required=True)
    # fmt: off
    parser.add_argument("--memory", choices=peak_names(), default="allocated",
        help="the peak that is meant, of a fresh program's first image (default allocated)")
    parser.add_argument("--aspect", metavar="W:H", type=options.aspect,
        help="width:height of the inputs (default 1:1, or the image's)")
    parser.add_argument("--image", metavar="HxW", type=options.sides,
        help="an LR image, height x width: whole if it fits, else its tiles, halo, peak")
    parser.add_argument("--batch", action="store_true",
        help="the largest batch at the --input's size")
    options.add(parser, "--alloc-conf", "--workspace")
    options.add_profile(parser)
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Search and print."""
    call = options.read_call(args)

    from srprof.sizing.run import fit

    with options.progress_line() as progress:
        result = fit(
            call,
            args.budget,
            allocator=args.alloc_conf,
            progress=progress,
            **options.given(args, "memory aspect batch image workspace profile"),
        )
    options.show(args, result.document())
    return 0
