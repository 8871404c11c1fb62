"""`srprof rank`: the challenge's table for models, records and tables of results."""

from __future__ import annotations

import argparse

from srprof.figures import peak_names
from srprof.options import add, add_output, add_profile, given, said, show, size

DESCRIPTION = """\
Rank models as the NTIRE challenge on efficient super-resolution does. Without --input each figure
is taken where the challenge takes it: complexity at an LR image of 256x256, memory at 510x510,
its largest, runtime at 339x510, which stands for the mean over its images, and for its card:
--profile is ntire2022 by default. Every value says whether it is
predicted, measured, published or given by you. A model that raises has no row; then the exit code
is 3.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    # fmt: off
    parser.add_argument("specs", metavar="SPEC", nargs="*",
        help="models, as for analyze (default: those of the records, else some of the zoo)")
    parser.add_argument("--input", metavar="SIZE", type=size,
        help="take every figure at this LR image, HxW or NxCxHxW; each model is then run once")
    add_profile(parser, default="ntire2022")
    parser.add_argument("--memory", choices=peak_names(), default="allocated",
        help="the peak that is meant, of a fresh program's first image (default allocated)")
    parser.add_argument("--ranks", action="store_true",
        help="ranks in brackets, and the tracks of 2022")
    parser.add_argument("--scoring", "--track", metavar="NAME", default="main",
        help="order by main (runtime, default), sub1, sub2, ntire2024, ntire2025, ntire2026, or a "
             "scoring of another package")
    parser.add_argument("--with", dest="reference", metavar="TABLE",
        help="among the rows of a published table: ntire2022")
    parser.add_argument("--from", dest="results", metavar="FILE", action="append", default=[],
        help="rows of your own, .csv or .json: name, params_M, flops_G, runtime_ms, memory_MiB, "
             "activations_M, and convs and psnr_dB if you like")
    parser.add_argument("--record", metavar="FILE", action="append", default=[],
        help="measured runtime and memory of a model, or its PSNR: what `srprof measure` or "
             "`srprof evaluate` wrote with --format json")
    add(parser, "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Rank and print; 3 if a model raised, which is left out."""
    from srprof.compare.rank import rank
    from srprof.measuring.record import load
    from srprof.quality.record import FILE
    from srprof.render.views.ranking import document

    records = {path: FILE.load(path) if FILE.is_one(path) else load(path) for path in args.record}
    options = given(args, "input profile memory scoring reference results")
    standing = rank(args.specs, records=records, **options)
    show(args, document(standing, args.ranks))
    return said(standing.failed)
