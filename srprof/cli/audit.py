"""`srprof audit`: a challenge's published results, against themselves and against its code."""

from __future__ import annotations

import argparse

from srprof import options
from srprof.challenge.script import SCRIPT
from srprof.errors import InputError

DESCRIPTION = """\
Hold a results file of the NTIRE challenge's form against its own lists of times, and, where the
repository that made it is given, each published figure against what srprof predicts of the code.

  srprof audit results.json --year ntire2026                  the file alone
  srprof audit results.json --year ntire2026 --models DIR     and the networks, without a GPU

Of times it finds first images that were cold and others out of line, with the mean without them,
and the places that the images settle. Of figures it says which are the published digits, and what
a peak of memory is of: an image, scratch of libraries, the constructor, the script's own warm-up.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    # fmt: off
    parser.add_argument("results", metavar="RESULTS.json",
        help="what the challenge's test_demo.py writes, also packed (.gz), or such files by year")
    parser.add_argument("--models", metavar="DIR",
        help="the repository that made the file: its networks are run, without weights, each in a "
             "process of its own")
    parser.add_argument("--only", metavar="NUMBER", type=int, action="append", default=[],
        help="run the network of this number; again for more (default all)")
    # fmt: on
    options.add(parser, "--script", "--year", "--ops", "--timeout", "--figure")
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Audit and print."""
    for name in ("script", "only", "figure"):
        if getattr(args, name) and args.models is None:
            raise InputError(
                f"--{name} needs the networks: name their repository with --models DIR"
            )

    from srprof.auditing.run import audit

    with options.progress_line() as progress:
        found = audit(
            args.results,
            args.models,
            script=args.script or SCRIPT,
            progress=progress,
            **options.given(args, "year only"),
        )
    options.show(args, found.document())
    if args.figure:
        from srprof.render.figures import save
        from srprof.render.figures.errors import draw

        save(lambda: draw(found.errors()), args.figure)
    return 0
