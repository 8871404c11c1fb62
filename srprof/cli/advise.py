"""`srprof advise`: which lines to change for a lower peak, and what each change saves."""

from __future__ import annotations

import argparse

from srprof.errors import InputError
from srprof.figures import lowered_names
from srprof.leaning.levels import LEVELS
from srprof.options import (
    add,
    add_call,
    add_older,
    add_output,
    add_profile,
    given,
    progress_line,
    read_call,
    show,
)
from srprof.output import say, write
from srprof.paths import short_path

DESCRIPTION = """\
List changes of a network's source that lower its peak, the most saving first: `del` of a variable
after a line, an activation or a sum in place, the order of two statements, a concatenation and its
1x1 convolution as a sum of partial ones (not with --exact). Each is tried on the recorded
run, together with all that stand above it; a change of a line that runs many times is one change.
With --budget it is only the fewest that bring the peak down to that; the exit code is 1 if none do.

With --profile it also says what the architecture pays for there: what the nearest other widths of
the network would cost. --widths has a table of those that it names, with time, peak, parameters and
FLOPs, each from a trace of its own; no GPU is asked.

The model runs without data, as for analyze. Nothing is rewritten without --apply, which makes the
edits in the source files and keeps comments (pip install 'srprof[apply]').
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_call(parser)
    # fmt: off
    parser.add_argument("--lower", choices=lowered_names(), default="eager",
        help="the peak to lower (default eager)")
    add_older(parser, "--memory", "--lower")
    add(parser, "--budget")
    parser.add_argument("--exact", dest="level", action="store_const", const="exact",
        default="equivalent", help="only changes that leave every bit of the results")
    add_older(parser, "--level", "--exact", nargs=None, choices=tuple(LEVELS))
    add(parser, "--granularity")
    add_profile(parser)
    parser.add_argument("--widths", metavar="NAME=VALUES",
        help="values of an argument of the SPEC's factory that is a width: nf=32..80, nf=32..80:8 "
             "or nf=48,50,64; with --profile")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--apply", action="store_true",
        help="make the edits in the source files: all or none")
    how.add_argument("--diff", action="store_true",
        help="print the edits as a unified diff instead")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Search and print, or carry out; 1 if a budget is not reached."""
    for name in ("format", "profile", "widths"):
        if args.diff and getattr(args, name) is not None:
            raise InputError(f"--diff prints a unified diff: leave --{name} out")
    call = read_call(args)

    from srprof.advising.run import advise

    how = given(args, "granularity budget level profile widths")
    with progress_line() as progress:
        advice = advise(call, memory=args.lower, progress=progress, **how)
    if args.diff:
        write(advice.diff(), args.output)
        return 0 if advice.within_budget else 1
    if args.apply:
        applied = advice.apply()
        left = "an installed package's, left as it is; edits left out"
        for what, edited in (("edits made", applied.written), (left, applied.left)):
            for file, edits in edited:
                say(f"{short_path(file)}: {what}: {edits}")
    show(args, advice.document())
    return 0 if advice.within_budget else 1
