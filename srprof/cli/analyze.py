"""`srprof analyze`: the memory and complexity of one model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.memory.model import GRANULARITY
from srprof.options import (
    add_input,
    add_output,
    add_tensor_format,
    add_weights,
    call_shapes,
    check_figure,
    format_of,
    show,
)
from srprof.output import check_output, write
from srprof.protocol import PROTOCOLS
from srprof.render.exports import EXPORTS, export
from srprof.render.figures import KINDS
from srprof.render.views import VIEWS

if TYPE_CHECKING:
    from srprof.analysis import Analysis
    from srprof.analysis.record import Comparison
    from srprof.cost.profiles import Profile
    from srprof.render.document import Document
    from srprof.spec import Spec

_DESCRIPTION = """\
Trace one forward pass and explain its memory: what every node needs and holds, who holds it,
and what the network costs; with --device, how long it takes there, and why.

SPEC is one of:
  fmen_s                         a network of the zoo (srprof list)
  fmen_s(scale=2)                the same with hyper-parameters
  path/to/net.py:Net(nf=48)      a class or function in a file, with literal arguments
  package.module:Net             the same in an importable module
  weights.pth                    a checkpoint that spandrel recognises ('srprof[spandrel]')
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "analyze",
        help="explain the peak memory of a network, node by node and line by line",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spec", metavar="SPEC", help="the model")
    add_input(parser)
    parser.add_argument(
        "--batch", metavar="N", type=int, help="images of an --input HxW (default 1)"
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="the memory of one training step instead: forward, L1 loss, backward, Adam",
    )
    add_weights(parser)
    add_tensor_format(parser)
    parser.add_argument(
        "--trace-on",
        choices=("auto", "meta", "cpu", "cuda-fake"),
        default="auto",
        help="meta allocates nothing; cpu makes one real run; auto takes cpu where meta fails; "
        "cuda-fake takes composite ops apart as CUDA does, without a GPU",
    )
    parser.add_argument(
        "--granularity",
        metavar="BYTES",
        type=int,
        default=512,
        help="count each storage as a multiple of this: 512 as CUDA allocates (default), 1 exact",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="single",
        help="for allocated and reserved: a fresh program's one image (default), or ntire: a list "
        "of images before it",
    )
    parser.add_argument(
        "--sizes",
        metavar="LIST",
        help="of --protocol ntire: a file with one LR size HxW a line, or a folder of LR images "
        "(default: the DIV2K test set)",
    )
    parser.add_argument(
        "--repeat", metavar="N", type=int, default=1, help="go through the images N times"
    )
    parser.add_argument(
        "--alloc-conf",
        metavar="SETTINGS",
        help="of CUDA's caching allocator, max_split_size_mb:128 (default: the environment's "
        "PYTORCH_CUDA_ALLOC_CONF)",
    )
    parser.add_argument(
        "--workspace",
        metavar="FILE",
        help="scratch inside nodes: a table that `srprof validate --save DIR` wrote on the device, "
        "or tensor-cores, what cuDNN copies on GPUs that have them (float32 as TF32)",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        help="predict the latency on it: a name (srprof devices) or a profile of your own (.toml)",
    )
    parser.add_argument(
        "--cross-check",
        action="store_true",
        help="set the counts of fvcore, which runs the network on the CPU, beside ours",
    )
    parser.add_argument("--view", choices=VIEWS, default="summary", help="which tables")
    parser.add_argument(
        "--top",
        metavar="N",
        type=int,
        help="rows of each long table, the largest; 0 is all (default 10 in the summary, else all)",
    )
    parser.add_argument(
        "--figure",
        metavar="FILE",
        help="draw the prediction too: .svg, .png or .pdf; needs --device",
    )
    parser.add_argument(
        "--figure-kind",
        choices=KINDS,
        default="roofline",
        help="roofline: each node under the device's roofs (default); modules: time by module",
    )
    add_output(parser, EXPORTS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Analyze and print."""
    from srprof import spec

    check_output(args.output)
    if args.top is not None and args.top < 0:
        raise InputError(f"--top {args.top}: give a number of rows, or 0 for all")
    if args.sizes is not None and args.protocol == "single":
        raise InputError("--sizes is of --protocol ntire: give both")
    check_figure(args.figure)
    if args.figure is not None and args.device is None:
        raise InputError("--figure draws the predicted latency: give --device too (srprof devices)")
    if args.cross_check:
        _check_cross_check(args)
    device = None if args.device is None else _device(args.device)
    parsed = spec.parse(args.spec)
    shapes = call_shapes(args, parsed)
    if args.train:
        from srprof.cli.analyze_training import run_training

        return run_training(args, shapes)

    from srprof.analysis import analyze
    from srprof.render.views.analysis import document

    analysis = analyze(
        args.spec,
        *shapes,
        weights=args.weights,
        dtype=args.dtype,
        channels_last=args.channels_last,
        trace_on=args.trace_on,
        granularity=args.granularity,
        protocol=args.protocol,
        sizes=args.sizes,
        repeat=args.repeat,
        allocator=args.alloc_conf,
        workspace=args.workspace,
        device=device,
    )
    if args.figure is not None:
        from srprof.render.figures.latency import write_figure

        write_figure(analysis, args.figure_kind, args.figure)
    form = format_of(args)
    if form in EXPORTS:
        write(export(analysis, form), args.output)
        return 0
    compared = args.view == "summary" or form == "json"
    record = replace(analysis.record, published=_published(analysis, parsed) if compared else ())
    shown = document(record, args.view, args.top)
    show(args, _cross_checked(shown, args, shapes, analysis) if args.cross_check else shown)
    return 0


def _device(name: str) -> Profile:
    from srprof.cost.profiles import load_profile

    return load_profile(name)


def _check_cross_check(args: argparse.Namespace) -> None:
    """Refuse it where it cannot be made or shown, before any work is done."""
    from srprof.compare.cross_check import check_fvcore

    if format_of(args) in EXPORTS:
        raise InputError(f"--format {format_of(args)} has no place for --cross-check: leave it out")
    check_fvcore()


def _cross_checked(
    shown: Document, args: argparse.Namespace, shapes: list[tuple[int, ...]], analysis: Analysis
) -> Document:
    """An analysis with the counts of fvcore for the same call."""
    from srprof.compare.cross_check import cross_check
    from srprof.render.views.cross_check import added
    from srprof.workload import resolve

    call = resolve(
        args.spec,
        shapes,
        weights=args.weights,
        dtype=args.dtype,
        channels_last=args.channels_last,
    )
    return added(shown, cross_check(call, analysis.trace))


def _published(analysis: Analysis, parsed: Spec) -> tuple[Comparison, ...]:
    """The network's published figures beside ours, if they are of this variant."""
    from srprof.compare.published import compare

    network, scale = parsed.network, analysis.trace.scale
    if network is None or parsed.args or not {"scale"}.issuperset(dict(parsed.kwargs)):
        return ()
    if scale is None or scale not in network.published:
        return ()
    same = analysis.trace.device == "meta" and analysis.granularity == GRANULARITY
    images = [e.info for e in analysis.trace.inputs]
    same = same and all(
        i.dtype == "float32" and i.shape[:2] == (1, network.channels) for i in images
    )
    return tuple(compare(network, scale, [analysis] if same else []))
