"""`srprof sweep`: a network at every point of a grid of arguments and inputs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.figures import names
from srprof.options import (
    add_output,
    add_tensor_format,
    add_trace_on,
    check_ending,
    check_figure,
    format_of,
    show,
)
from srprof.output import check_output, write

if TYPE_CHECKING:
    from srprof.sweeping.journal import Journal
    from srprof.sweeping.record import Row, SweepPlan

_DESCRIPTION = """\
Analyze a network at every combination of arguments and inputs, in several processes or on a Dask
cluster, without a GPU. The rows are in the order of the grid.

With -o FILE each row is kept in FILE.journal as soon as it is there; after an interruption the same
command goes on from it. A configuration that fails has its reason in the column `error`.

Ranges include both ends: 2..6, 64..1024:64. Values are Python literals and never evaluated.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sweep",
        help="a table, and a Pareto plot, of a network's variants and input sizes",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spec", metavar="SPEC", help="the model, as for analyze")
    parser.add_argument(
        "--input",
        metavar="SIZES",
        action="append",
        help="LR inputs: HxW, NxCxHxW, or ranges, 64..1024:64 (square), 64..128:64x96; between "
        "commas or again for more (default 256x256)",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUES",
        action="append",
        default=[],
        help="values of an argument of the SPEC's factory: nf=32,40,48 or num_blocks=2..6",
    )
    parser.add_argument(
        "--metric",
        metavar="NAMES",
        action="append",
        default=[],
        help=f"{', '.join(names())}; between commas or again for more (default: all but net, macs "
        "and reserved)",
    )
    parser.add_argument(
        "--device", metavar="PROFILE", help="predict latency_ms for it (srprof devices)"
    )
    add_tensor_format(parser)
    add_trace_on(parser)
    parser.add_argument(
        "--jobs", metavar="N", type=int, help="processes (default: one for each processor)"
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="run on this Dask cluster, tcp://host:8786"
    )
    parser.add_argument(
        "--restart", action="store_true", help="forget the rows of an interrupted sweep"
    )
    parser.add_argument(
        "--figure", metavar="FILE", help="the Pareto plot of two metrics: .svg, .png or .pdf"
    )
    parser.add_argument(
        "--pareto",
        metavar="X,Y",
        help="its metrics, eager,params:max; :max says that more is better (default: latency_ms or "
        "eager, and params:max)",
    )
    add_output(parser, more={"parquet": ".parquet"})
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Sweep and write."""
    check_output(args.output)
    check_ending(args)
    check_figure(args.figure)
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: give a number of processes, 1 or more")
    if args.dask is None and (args.jobs or _processors()) > 1:
        from srprof.sweeping.server import start_server

        start_server()  # it loads torch while the grid is read

    from srprof.sweeping.frame import check_parquet
    from srprof.sweeping.journal import Journal

    if format_of(args) == "parquet":
        check_parquet()
    plan = _plan(args)
    axes = None
    if args.figure is not None:
        from srprof.render.figures.pareto import axes_of, write_pareto

        axes = axes_of(args.pareto, plan.metrics, args.device)
    path = None if args.output is None else Path(f"{args.output}.journal")
    with Journal(path, plan.basis, args.restart) as journal:
        if journal.found:
            print(f"srprof: {journal.found} rows were in {path} already", file=sys.stderr)
        try:
            rows = _rows(plan, journal, args)
        except KeyboardInterrupt:
            _say_interrupted(journal)
            return 130
        _write(args, plan, rows)
        if axes is not None:
            write_pareto(plan, rows, axes, args.figure)
        journal.remove()
    failed = sum(bool(row["error"]) for row in rows)
    if failed:
        print(
            f"srprof: {failed} of {len(rows)} configurations failed; column error says why",
            file=sys.stderr,
        )
    return 0


def _write(args: argparse.Namespace, plan: SweepPlan, rows: list[Row]) -> None:
    if format_of(args) == "parquet":
        from srprof.sweeping.frame import parquet

        write(parquet(plan, rows), args.output)
    else:
        from srprof.render.views.sweep import document

        show(args, document(plan, rows))


def _plan(args: argparse.Namespace) -> SweepPlan:
    from srprof.sweeping.grid import parse_set
    from srprof.sweeping.run import plan as make_plan

    arguments: dict[str, tuple[Any, ...]] = {}
    for text in args.set:
        name, values = parse_set(text)
        if name in arguments:
            raise InputError(f"--set {name} is given twice: put its values between commas")
        arguments[name] = values
    return make_plan(
        args.spec,
        args.input or ["256x256"],
        arguments,
        metrics=args.metric,
        device=args.device,
        dtype=args.dtype,
        channels_last=args.channels_last,
        trace_on=args.trace_on,
    )


def _rows(plan: SweepPlan, journal: Journal, args: argparse.Namespace) -> list[Row]:
    from srprof.progress import TerminalProgress
    from srprof.sweeping.run import rows_of

    jobs = args.jobs or _processors()
    with TerminalProgress(sys.stderr) as progress:
        return rows_of(plan, journal, jobs=jobs, dask=args.dask, progress=progress)


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _say_interrupted(journal: Journal) -> None:
    kept = (
        f"{len(journal.rows)} rows are kept in {journal.path}, and the same command goes on"
        if journal.path is not None
        else "nothing was written; with -o FILE rows are kept"
    )
    print(f"srprof: interrupted; {kept}", file=sys.stderr)
