"""`srprof spectrum`: the spectra of feature maps before and after modules."""

from __future__ import annotations

import argparse

from srprof.options import add, add_output, show

DESCRIPTION = """\
Run a network on an image, on the CPU, and show what modules do to frequencies (FMEN, Section 4.3):
the mean feature map over the channels before and after each, its power spectrum, and the power in
concentric rings around zero frequency, as shares that sum to 1, with the constant and without.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add(parser, "spec", "--weights")
    add(parser, "--image", required=True)
    # fmt: off
    parser.add_argument("--module", metavar="NAME", nargs="+", action="extend", default=[],
        help="modules by name or pattern ('HFABs.*'; default every HFAB)")
    add(parser, "--range", "--figure")
    add(parser, "--ops", "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Take the spectra, draw and print."""
    from srprof.quality.spectrum import spectra

    result = spectra(
        args.spec, args.image, args.module, weights=args.weights, pixel_range=args.range
    )
    if args.figure is not None:
        from srprof.render.figures import save
        from srprof.render.figures.spectra import draw

        save(lambda: draw(result), args.figure)
    show(args, result.document())
    return 0
