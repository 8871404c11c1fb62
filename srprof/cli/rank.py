"""`srprof rank`: the challenge's table for models, records and tables of results."""

from __future__ import annotations

import argparse

from srprof.compare.results import REFERENCES
from srprof.compare.scoring import SCORINGS
from srprof.errors import InputError
from srprof.inputs import parse_size
from srprof.options import add, add_output, add_profile, given, said, show

DESCRIPTION = """\
Rank models as the NTIRE challenge on efficient super-resolution does, by the rules of a year: that
of --with, else of --scoring, else 2022. They say how FLOPs and memory are counted, which PSNR a row
must have, and without --profile which card runtime is predicted for. Without --input each figure is
taken where the year takes it: complexity at an LR image of 256x256, memory at 510x510, its largest,
runtime at the size that stands for the mean over its images. Every value says whether it is
predicted, measured, published or given by you. A model that raises has no row; then the exit code
is 3.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    # fmt: off
    add(parser, "specs", "--input")
    add_profile(parser)
    add(parser, "--memory")
    parser.add_argument("--ranks", action="store_true",
        help="ranks in brackets, and the tracks of 2022")
    own = ", ".join(scoring.name for scoring in SCORINGS if scoring.name != "main")
    parser.add_argument("--scoring", "--track", metavar="NAME",
        help=f"order by main (runtime), {own}, or a scoring of another package; default: the main "
             "track of the year")
    parser.add_argument("--with", dest="reference", metavar="TABLE",
        help=f"among the rows of a published table: {', '.join(REFERENCES)}")
    parser.add_argument("--from", dest="results", metavar="FILE", action="append", default=[],
        help="rows of your own, .csv or .json: name, params_M, flops_G, runtime_ms, memory_MiB, "
             "activations_M, and convs and psnr_dB if you like")
    add(parser, "--record", "--ops", "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Rank and print; 3 if a model raised, which is left out."""
    from srprof.compare.rank import rank
    from srprof.compare.validating import record_files
    from srprof.measuring.record import load
    from srprof.quality.record import FILE
    from srprof.render.views.ranking import document

    paths = record_files(args.record)
    records = {path: FILE.load(path) if FILE.is_one(path) else load(path) for path in paths}
    options = given(args, "profile memory scoring reference results")
    standing = rank(args.specs, input=_image(args), records=records, **options)
    show(args, document(standing, args.ranks))
    return said(standing.failed)


def _image(args: argparse.Namespace) -> str | None:
    """The one image at which every figure is taken; None is the challenge's own for each."""
    if not args.input:
        return None
    if len(args.input) > 1:
        raise InputError("--input: a ranking takes every figure at one image, so give one size")
    parse_size(args.input[0])
    return str(args.input[0])
