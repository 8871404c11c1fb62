"""`srprof advise`: which lines to change for a lower peak, and what each change saves."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.figures import lowered_names
from srprof.leaning.levels import LEVELS
from srprof.options import (
    add_input,
    add_output,
    add_tensor_format,
    add_trace_on,
    add_weights,
    call_shapes,
    show,
)
from srprof.output import check_output, write
from srprof.paths import short_path

if TYPE_CHECKING:
    from srprof.advising.patching import Applied

_DESCRIPTION = """\
List changes of a network's source that lower its peak, the most saving first: `del` of a variable
after a line, an activation or a sum in place, the order of two statements, a concatenation and its
1x1 convolution as a sum of partial ones. Each is tried on the recorded run, together with all that
stand above it; a change of a line that runs many times is one change.

The model runs without data, as for analyze. Nothing is rewritten without --apply, which makes the
edits in the source files and keeps comments (pip install 'srprof[apply]').
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "advise",
        help="list changes of a network's source by the memory that they save",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spec", metavar="SPEC", help="the model, as for analyze")
    add_input(parser)
    parser.add_argument(
        "--memory",
        choices=lowered_names(),
        default="eager",
        help="the peak to lower (default eager)",
    )
    parser.add_argument(
        "--budget",
        metavar="SIZE",
        help="only the fewest changes that bring the peak down to this, 400MiB; exit 1 if none do",
    )
    parser.add_argument(
        "--level",
        choices=tuple(LEVELS),
        default="equivalent",
        help="exact: only what leaves every bit of the results; equivalent (default): splits too, "
        "which change them by rounding",
    )
    add_weights(parser)
    add_tensor_format(parser)
    add_trace_on(parser)
    parser.add_argument(
        "--granularity",
        metavar="BYTES",
        type=int,
        default=512,
        help="each storage counts as a multiple of this (default 512, as on CUDA)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--apply", action="store_true", help="make the edits in the source files: all or none"
    )
    how.add_argument(
        "--diff", action="store_true", help="print the edits as a unified diff instead"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search and print, or carry out; 1 if a budget is not reached."""
    from srprof import spec

    if args.diff and args.format is not None:
        raise InputError("--diff prints a unified diff: leave --format out")
    check_output(args.output)
    shapes = call_shapes(args, spec.parse(args.spec))

    from srprof.advising.run import advise

    advice = advise(
        args.spec,
        *shapes,
        weights=args.weights,
        dtype=args.dtype,
        channels_last=args.channels_last,
        trace_on=args.trace_on,
        granularity=args.granularity,
        memory=args.memory,
        budget=args.budget,
        level=args.level,
    )
    if args.diff:
        write(advice.diff(), args.output)
        return 0 if advice.within_budget else 1
    if args.apply:
        _report(advice.apply())
    show(args, advice.document())
    return 0 if advice.within_budget else 1


def _report(applied: Applied) -> None:
    """Say on stderr which files were written."""
    for file, edits in applied.written:
        print(f"{short_path(file)}: edits made: {edits}", file=sys.stderr)
    for file, edits in applied.left:
        print(
            f"{short_path(file)}: an installed package's, left as it is; edits left out: {edits}",
            file=sys.stderr,
        )
