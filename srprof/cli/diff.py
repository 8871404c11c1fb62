"""`srprof diff`: what changed between two models, revisions, inputs or analyses."""

from __future__ import annotations

import argparse

from srprof.call import Call
from srprof.errors import InputError
from srprof.options import add, add_output, show, tensor

DESCRIPTION = """\
Compare the memory and complexity of two models: how the peaks changed and where they moved, which
tensors came to the peak and which went, by variable and line, and which nodes changed.

A and B are each one of:
  fmen_s, net.py:Net(nf=48), weights.pth   a SPEC, as for analyze
  HEAD~1:net.py:Net                        a file, and what it imports, as it was in git
  before.json                              what `srprof analyze --format json -o FILE` wrote
A file alone, net.py:Net, is compared with itself as the last commit has it (HEAD:net.py:Net); with
--input-b, A is compared with itself at both inputs. What --input leaves out is as in the analysis,
if one of them is that.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="before")
    parser.add_argument(
        "after", metavar="B", nargs="?", help="after (default A, before which is then HEAD:A)"
    )
    add(parser, "--input")
    # fmt: off
    parser.add_argument("--input-b", metavar="SIZE", action="append", type=tensor,
        help="the same for B (default --input)")
    add(parser, "--dtype", "--top")
    add(parser, "--ops", "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    if args.after is None and not args.input_b:
        args.before, args.after = _committed(args.before), args.before

    from srprof.analysis.record import load
    from srprof.compare.diff import diff
    from srprof.render.views.diff import document
    from srprof.revision import analysis_of

    texts = (args.before, args.after or args.before)
    loaded = [load(text) if text.endswith(".json") else None for text in texts]
    for text, sizes, record in zip(texts, (args.input, args.input_b), loaded, strict=True):
        if record is not None and sizes and (all(loaded) or sizes is args.input_b):
            raise InputError(f"{text} was analyzed already: leave its input out")
    other = next((record for record in loaded if record is not None), None)
    usual = ["256x256"] if other is None else [tensor.shape for tensor in other.inputs]
    before, after = (
        record or analysis_of(Call(text, tuple(sizes or usual), dtype=args.dtype))
        for text, sizes, record in zip(
            texts, (args.input, args.input_b or args.input), loaded, strict=True
        )
    )
    rows = 10 if args.top is None else args.top or None
    show(args, document(diff(before, after), rows, (before, after)))
    return 0


def _committed(text: str) -> str:
    """The SPEC of a file as HEAD has it; an InputError if it names no file of the working tree."""
    from srprof.revision import split
    from srprof.spec import parse

    if text.endswith(".json") or split(text) or not parse(text).location.endswith(".py"):
        raise InputError(
            f"there is nothing to compare with: give B, or --input-b; {text} is no file of the "
            "working tree, which alone is compared with HEAD"
        )
    return f"HEAD:{text}"
