"""`srprof analyze`: the memory and complexity of one model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

from srprof import options
from srprof.call import Call
from srprof.errors import InputError
from srprof.output import write
from srprof.protocol import PROTOCOLS
from srprof.render.exports import EXPORTS, export
from srprof.render.figures import KINDS
from srprof.render.views import VIEWS
from srprof.render.writers import formats
from srprof.topics import SPEC

#: Options that say nothing of a training step, with what they are when nobody gave them.
_NOT_OF_TRAINING = {
    "protocol": "single",
    "rounds": 1,
    "alloc_conf": None,
    "workspace": None,
    "profile": None,
    "view": "summary",
    "depth": None,
    "figure": None,
    "cross_check": False,
}

DESCRIPTION = f"""\
Trace one forward pass and explain its memory: what every node needs and holds, who holds it,
and what the network costs; with --profile, how long it takes there, and why.

{SPEC}"""


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_call(parser)
    # fmt: off
    options.add(parser, "--batch", "--train", "--granularity")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="single",
        help="for allocated and reserved: a fresh program's one image (default), or ntire: a list "
             "of images before it")
    parser.add_argument("--sizes", metavar="LIST",
        help="of --protocol ntire: a file with one LR size HxW a line, or a folder of LR images "
             "(default: the DIV2K test set)")
    parser.add_argument("--rounds", metavar="N", type=options.count(1), default=1,
        help="of --protocol ntire: go through the images N times")
    options.add_older(parser, "--repeat", "--rounds")
    options.add(parser, "--alloc-conf", "--workspace")
    options.add_profile(parser)
    parser.add_argument("--cross-check", action="store_true",
        help="set the counts of fvcore, which runs the network on the CPU, beside ours")
    parser.add_argument("--view", choices=VIEWS, default="summary", help="which tables")
    options.add(parser, "--top")
    parser.add_argument("--depth", metavar="N", type=options.count(0),
        help="of --view modules: levels of modules below the model (default all)")
    options.add(parser, "--figure")
    parser.add_argument("--figure-kind", choices=KINDS, default="roofline",
        help="roofline: each node under the device's roofs (default); modules: time by module")
    options.add_output(parser, EXPORTS)


def run(args: argparse.Namespace) -> int:
    """Analyze and print."""
    if args.sizes is not None and args.protocol == "single":
        raise InputError("--sizes is of --protocol ntire: give both")
    if args.depth is not None and args.view != "modules":
        raise InputError("--depth is of --view modules: give both")
    if args.figure is not None and args.profile is None:
        raise InputError("--figure draws the predicted latency: give --profile (srprof devices)")
    form = options.format_of(args)
    if args.cross_check:
        from srprof.compare.cross_check import check_fvcore

        if form in EXPORTS:
            raise InputError(f"--format {form} has no place for --cross-check: leave it out")
        check_fvcore()
    call = options.read_call(args, args.batch)
    if args.train:
        return _run_training(args, call)

    from srprof.analysis import analyze
    from srprof.compare.published import beside
    from srprof.render.charts import times
    from srprof.render.views.analysis import document

    analysis = analyze(
        call,
        allocator=args.alloc_conf,
        repeat=args.rounds,
        **options.given(args, "granularity protocol sizes workspace profile"),
    )
    if args.figure is not None:
        from srprof.render.figures.latency import write_figure

        write_figure(analysis, args.figure_kind, args.figure)
    if form in EXPORTS:
        write(export(analysis, form), args.output)
        return 0
    compared = args.view == "summary" or form == "json"
    record = replace(analysis.record, published=beside(analysis) if compared else ())
    timed = None if args.profile is None else partial(times, analysis)
    shown = document(record, args.view, args.top, args.depth, timed)
    if args.cross_check:
        from srprof.compare.cross_check import cross_check
        from srprof.render.views.cross_check import added
        from srprof.workload import resolve

        shown = added(shown, cross_check(resolve(call), analysis.trace))
    options.show(args, shown)
    return 0


def _run_training(args: argparse.Namespace, call: Call) -> int:
    """Predict the memory of a training step and print it."""
    given = [name for name, default in _NOT_OF_TRAINING.items() if getattr(args, name) != default]
    others = [f"--{name.replace('_', '-')}" for name in given]
    form = options.format_of(args)
    others += [] if form in formats() else [f"--format {form}"]
    if others:
        raise InputError(f"{others[0]} is of a forward pass: leave it out with --train")

    from srprof.render.views.training import document
    from srprof.training.analysis import analyze_training

    options.show(args, document(analyze_training(call, granularity=args.granularity), args.top))
    return 0
