"""`srprof diff`: what changed between two models, revisions, inputs or analyses."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.inputs import RUN_DTYPES, check_shape, parse_size
from srprof.options import add_output, show
from srprof.output import check_output
from srprof.paths import working_in

if TYPE_CHECKING:
    from srprof.analysis import AnalysisRecord

_DESCRIPTION = """\
Compare the memory and complexity of two models: how the peaks changed and where they moved, which
tensors came to the peak and which went, by variable and line, and which nodes changed.

A and B are each one of:
  fmen_s, net.py:Net(nf=48), weights.pth   a SPEC, as for analyze
  HEAD~1:net.py:Net                        a file, and what it imports, as it was in git
  before.json                              what `srprof analyze --format json -o FILE` wrote
Without B, A is compared with itself at --input and --input-b.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "diff",
        help="compare two models, revisions, inputs or analyses: what changed at the peak",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", metavar="A", help="before")
    parser.add_argument("after", metavar="B", nargs="?", help="after (default A)")
    parser.add_argument(
        "--input",
        metavar="SIZE",
        action="append",
        help="LR input: HxW, or NxCxHxW; again for each further input (default 256x256, or a "
        "JSON analysis's)",
    )
    parser.add_argument(
        "--input-b", metavar="SIZE", action="append", help="the same for B (default --input)"
    )
    parser.add_argument("--dtype", choices=RUN_DTYPES, default="float32", help="default float32")
    parser.add_argument(
        "--top", metavar="N", type=int, default=10, help="rows of each long table; 0 is all"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    check_output(args.output)
    if args.top < 0:
        raise InputError(f"--top {args.top}: give a number of rows, or 0 for all")
    if args.after is None and not args.input_b:
        raise InputError("there is nothing to compare with: give B, or --input-b")

    from srprof.analysis.record import load
    from srprof.compare.diff import diff

    texts = (args.before, args.after or args.before)
    sizes = (args.input, args.input_b or args.input)
    loaded = [load(t) if t.endswith(".json") else None for t in texts]
    for text, given, file in zip(texts, (args.input, args.input_b), loaded, strict=True):
        if file is not None and given and (all(loaded) or given is args.input_b):
            raise InputError(f"{text} was analyzed already: leave its input out")
    other = next((file for file in loaded if file is not None), None)
    before, after = (
        file if file is not None else _analysis(text, size, args.dtype, other)
        for text, size, file in zip(texts, sizes, loaded, strict=True)
    )

    from srprof.render.views.diff import document

    show(args, document(diff(before, after), args.top or None))
    return 0


def _analysis(
    text: str, sizes: Sequence[str] | None, dtype: str, other: AnalysisRecord | None
) -> AnalysisRecord:
    """The analysis of a SPEC; without sizes, at the inputs of the other one, if that is a file."""
    from srprof import revision
    from srprof.compare.diff import relocated

    revised = revision.split(text)
    if revised is None:
        return _traced(text, sizes, dtype, other)
    with revision.laid_out(revised) as tree, working_in(tree.folder):
        record = _traced(tree.spec, sizes, dtype, other)
    record = relocated(record, tree.root, f"{revised.revision}:")
    return replace(record, model=replace(record.model, spec=text))


def _traced(
    text: str, sizes: Sequence[str] | None, dtype: str, other: AnalysisRecord | None
) -> AnalysisRecord:
    from srprof import spec
    from srprof.analysis import analyze

    parsed = spec.parse(text)
    channels = parsed.channels
    if sizes is None and other is not None:
        shapes = [tensor.shape for tensor in other.inputs]
    else:
        shapes = [check_shape(parse_size(s, channels), dtype) for s in sizes or ["256x256"]]
    return analyze(text, *shapes, dtype=dtype).record
