"""`srprof spectrum`: the spectra of feature maps before and after modules."""

from __future__ import annotations

import argparse
from typing import Any

from srprof.errors import InputError
from srprof.output import check_output, write
from srprof.render import ENDINGS

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
    parser.add_argument(
        "--format", choices=("text", "json", "csv"), default="text", help="default text"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file instead of stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take the spectra, draw and print."""
    check_output(args.output)
    check_output(args.figure, "--figure")
    if args.figure is not None and not args.figure.lower().endswith(ENDINGS):
        raise InputError(f"--figure {args.figure}: name a file that ends in {', '.join(ENDINGS)}")

    from srprof.quality.spectrum import spectra
    from srprof.render.spectrum import FORMATS

    found = spectra(
        args.spec, args.image, args.module, weights=args.weights, pixel_range=args.range
    )
    text = FORMATS[args.format](found)
    if args.figure is not None:
        from srprof.render.spectrum_figure import write_spectra

        write_spectra(found, args.figure)
    write(text, args.output)
    return 0
