"""`srprof spectrum`: the spectra of feature maps before and after modules."""

from __future__ import annotations

import argparse
from typing import Any

from srprof.options import add_output, check_figure, show
from srprof.output import check_output
from srprof.render.figures import ENDINGS

_DESCRIPTION = """\
Run a network on an image, on the CPU, and show what modules do to frequencies (FMEN, Section 4.3):
the mean feature map over the channels before and after each, its power spectrum, and the power in
concentric rings around zero frequency, as shares that sum to 1.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "spectrum",
        help="what modules do to the frequencies of feature maps",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spec", metavar="SPEC", help="the model, as for analyze")
    parser.add_argument("--weights", metavar="FILE", help="its checkpoint, which must fit")
    parser.add_argument("--image", metavar="IMG", required=True, help="the LR image")
    parser.add_argument(
        "--module",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="modules by name or pattern ('HFABs.*'; default every HFAB)",
    )
    parser.add_argument(
        "--range",
        type=int,
        choices=(1, 255),
        default=1,
        help="largest value that the network takes (default 1)",
    )
    parser.add_argument(
        "--figure",
        metavar="FILE",
        help=f"draw maps, spectra and densities; the name ends in {', '.join(ENDINGS)}",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take the spectra, draw and print."""
    check_output(args.output)
    check_figure(args.figure)

    from srprof.quality.spectrum import spectra

    result = spectra(
        args.spec, args.image, args.module, weights=args.weights, pixel_range=args.range
    )
    if args.figure is not None:
        from srprof.render.figures.spectra import write_spectra

        write_spectra(result, args.figure)
    show(args, result.document())
    return 0
