"""`srprof evaluate`: PSNR and SSIM of a network's images, beside runtime and memory."""

from __future__ import annotations

import argparse

from srprof.errors import InputError
from srprof.options import add, add_output, count, given, progress_line, show
from srprof.output import say

DESCRIPTION = """\
Run a network on images and compare what it gives with the originals: PSNR and SSIM in the
challenge's way (R, G and B) and in the papers' (luma), by image and in the mean, both of 8 bits and
without a border of `scale` pixels; beside them bicubic's PSNR, the runtime and the peak memory.

Without --lr the LR images are made from the HR images by bicubic, as MATLAB's imresize does it. The
JSON record goes into `srprof rank --record`, whose PSNR column is then measured.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add(parser, "spec", "--weights")
    parser.add_argument("--hr", metavar="DIR", required=True, help="HR images, a folder or one")
    # fmt: off
    parser.add_argument("--lr", metavar="DIR",
        help="LR images, named as the HR images or with x4 (the scale) behind")
    parser.add_argument("--scale", metavar="N", type=count(1),
        help="from LR to HR (default the network's)")
    add(parser, "--range")
    add(parser, "--tile")
    parser.add_argument("--halo", metavar="N", type=count(0),
        help="LR pixels around a tile (default as many as it needs)")
    add(parser, "--save", "--dtype", "--device", "--ops", "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    if args.halo is not None and args.tile is None:
        raise InputError("--halo is of tiles: give --tile too")

    from srprof.quality.run import evaluate

    try:
        with progress_line() as progress:
            evaluation = evaluate(
                args.spec,
                args.lr,
                args.hr,
                pixel_range=args.range,
                progress=progress,
                **given(args, "weights scale tile halo device dtype save"),
            )
    except KeyboardInterrupt:
        if args.save is None:
            raise
        say(f"srprof: interrupted; the images in {args.save} are whole")
        return 130
    show(args, evaluation.document())
    return 0
