"""`srprof lint`: an entry held against what a challenge asks, before it is sent."""

from __future__ import annotations

import argparse

from srprof import options

DESCRIPTION = """\
Hold an entry against what a challenge asks of one, before it is sent: one file, builds without a
GPU and without network, weights load strictly, sizes and values of results, no warm-up in the
constructor, custom operators with a fallback, the quality floor. Then what its score is, as
predicted, what one ms, one G and one K of parameters are worth in it, and what srprof advise
finds, priced by it.

  srprof lint net.py:Net --weights net.pth           a network of a file
  srprof lint models/team18_DISP.py --script test_demo.py
                                                     a team of a challenge's repository, as its
                                                     script builds it (--team N if it is not clear)
  srprof evaluate net.py:Net --weights net.pth --hr DIV2K_LSDIR_test_HR -o test.json
  srprof lint net.py:Net --weights net.pth --record test.json

The entry's code is run, without a GPU, with network and other programs refused. The exit code is 1
if a check failed.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "entry",
        metavar="ENTRY",
        help="a SPEC, or a file of a challenge's repository that --script builds",
    )
    options.add(parser, "--weights", "--script", "--team", "--year", "--scale", "--record")
    options.add(parser, "--timeout")
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 if a check failed."""
    from srprof.linting.run import lint

    with options.progress_line() as progress:
        found = lint(
            args.entry,
            records=args.record,
            progress=progress,
            **options.given(args, "weights script team year scale"),
        )
    options.show(args, found.document())
    return int(found.failed)
