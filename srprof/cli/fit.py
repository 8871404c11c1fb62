"""`srprof fit`: the largest input, tile or batch within a budget of memory."""

from __future__ import annotations

import argparse
import os

from srprof import options
from srprof.errors import InputError
from srprof.inputs import parse_sides

#: Frames of the call with which the search for the most begins.
_FRAMES = 5

DESCRIPTION = """\
Find the largest input of a network within a budget of memory, exactly: the next larger one does
not fit. Sizes are tried on the meta device, so nothing is allocated and no GPU is needed.

  srprof fit fmen_s --gpu "RTX 3060"                 the largest square input
  srprof fit fmen_s --budget 4GiB --aspect 16:9      of a picture's proportions
  srprof fit fmen_s --gpu "RTX 3060" --as chainner   as a program runs it
  srprof fit fmen_s --gpu a100 --image 2160x3840     whole, or in which tiles
  srprof fit fmen_s --budget 4GiB --batch --input 256x256
  srprof fit vsr.py:Net --gpu rtx3090 --frames --input 180x320
  srprof fit fmen_s --gpu rtx3090 --train --batch --input 64x64

--input is the size of --batch and --frames. Else its channels count, and its size where the network
takes few; further inputs stay as they are. With --train it is a step's peak of requested bytes.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_call(parser, "--trace-on")
    options.add(parser, "--as", "--budget", "--gpu", "--memory")
    # fmt: off
    parser.add_argument("--aspect", metavar="W:H", type=options.aspect,
        help="width:height of the inputs (default 1:1, or the image's)")
    options.add(parser, "--image", "--batch", "--frames", "--train", "--alloc-conf", "--workspace")
    options.add_profile(parser)
    parser.add_argument("--estimate", metavar="FILE",
        help="the network's, from srprof estimate, made if it is not there: only the answer is "
             "traced where it holds (the zoo's networks have theirs)")
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Search and print; 1 if an image does not fit, whole or in tiles."""
    if (args.budget is None) == (args.gpu is None):
        raise InputError("give --budget 4GiB, or --gpu with the name of one: one of them")
    frames = _FRAMES if args.frames == options.LARGEST else args.frames
    call = options.read_call(args, args.batch or None, frames)

    from srprof.sizing.run import fit

    with options.progress_line() as progress:
        result = fit(
            call,
            args.budget,
            allocator=args.alloc_conf,
            batch=args.batch == options.LARGEST,
            frames=args.frames == options.LARGEST,
            image=None if args.image is None else _sides(args.image),
            progress=progress,
            **options.given(args, "gpu memory aspect workspace profile train estimate run_as"),
        )
    options.show(args, result.document())
    return 0 if result.image is None or result.image.fits else 1


def _sides(image: str) -> tuple[int, int]:
    """Height and width of `--image`: of the file of that name, if there is one, or as it says."""
    if os.path.exists(image):
        from srprof.quality.images import image_size

        return image_size(image)
    try:
        return parse_sides(image)
    except InputError as error:
        raise InputError(f"--image: {error}, or name an image file") from error
