"""`srprof sweep`: a network at every point of a grid of arguments and inputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from srprof import options
from srprof.call import Call
from srprof.figures import names
from srprof.output import say, write

DESCRIPTION = """\
Analyze a network at every combination of arguments and inputs, in several processes or on a Dask
cluster, without a GPU. With -o FILE each row is kept in FILE.journal; after an interruption the
same command goes on from it. What fails has its reason in the column `error`.

Ranges include both ends: 2..6, 64..1024:64. Values are Python literals and never evaluated.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_call(parser, "--input", "--weights")
    # fmt: off
    options.add(parser, "--inputs")
    options.add_older(parser, "--input", "--inputs")
    parser.add_argument("--set", metavar="NAME=VALUES", action="append", default=[],
        help="values of an argument of the SPEC's factory: nf=32,40,48 or num_blocks=2..6")
    parser.add_argument("--metric", metavar="NAMES", action="append", default=[],
        help=f"{', '.join(names())}; between commas or again for more (default: all but net, macs "
             "and reserved)")
    options.add_profile(parser)
    parser.add_argument("--jobs", metavar="N", type=options.count(1),
        help="processes (default: one for each processor)")
    parser.add_argument("--dask", metavar="ADDRESS",
        help="run on this Dask cluster, tcp://host:8786")
    parser.add_argument("--restart", action="store_true",
        help="forget the rows of an interrupted sweep")
    options.add(parser, "--figure")
    parser.add_argument("--pareto", metavar="X,Y",
        help="metrics of the figure, a Pareto plot: eager,params:max; :max says that more is "
             "better (default: latency_ms or eager, and params:max)")
    options.add_output(parser, more={"parquet": ".parquet"})


def run(args: argparse.Namespace) -> int:
    """Sweep and write."""
    options.check_ending(args)

    from srprof.sweeping.server import processors, start_server

    jobs = args.jobs or processors()
    if args.dask is None and jobs > 1:
        start_server()  # it loads torch while the grid is read

    from srprof.render.figures import save
    from srprof.render.figures.pareto import axes_of, pareto
    from srprof.render.views.sweep import document
    from srprof.sweeping.grid import parse_sets
    from srprof.sweeping.journal import Journal
    from srprof.sweeping.record import check_parquet, parquet
    from srprof.sweeping.run import make_plan, rows_of

    if options.format_of(args) == "parquet":
        check_parquet()
    form = options.given(args, "dtype channels_last trace_on")
    call = Call(args.spec, tuple(args.inputs or ()), **form)
    plan = make_plan(call, parse_sets(args.set), args.metric, args.profile)
    axes = args.figure and axes_of(args.pareto, plan.metrics, args.profile)
    path = None if args.output is None else Path(f"{args.output}.journal")
    with Journal(path, plan.basis, args.restart) as journal:
        if journal.found:
            say(f"srprof: {journal.found} rows were in {path} already")
        try:
            with options.progress_line() as progress:
                rows = rows_of(plan, journal, jobs=jobs, dask=args.dask, progress=progress)
        except KeyboardInterrupt:
            say(f"srprof: interrupted; {journal.kept}")
            return 130
        if options.format_of(args) == "parquet":
            write(parquet(plan, rows), args.output)
        else:
            options.show(args, document(plan, rows))
        if axes:
            save(lambda: pareto(plan, rows, axes), args.figure)
        journal.remove()
    failed = sum(bool(row["error"]) for row in rows)
    if failed:
        what = f"{failed} of {len(rows)} configurations failed"
        say(f"srprof: {what}; column error says why")
    return 0
