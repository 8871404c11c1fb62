"""`srprof lean`: the same outputs in less memory, with the proof."""

from __future__ import annotations

import argparse
import os

from srprof.errors import InputError
from srprof.options import (
    add,
    add_call,
    add_older,
    add_output,
    ending,
    progress_line,
    read_call,
    show,
)
from srprof.output import say

DESCRIPTION = """\
Rewrite a network so that it computes the same in less memory, and prove it: values die after
their last use, element-wise calls write in place, independent calls are put in the order with
the lowest peak; with --level equivalent, concatenations before 1x1 convolutions are split too.
The peak is lowest at --input, and other sizes work as well.

  srprof lean e_rfdn --input 510x510                    peaks after each pass, and the proof
  srprof lean e_rfdn --level equivalent --verify        outputs, allocator and time compared
  srprof lean net.py:Net --weights net.pth --emit lean.pt2
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_call(parser, "--trace-on")
    add(parser, "--level", "--tile")
    add_older(parser, "--tiles", "--tile")
    # fmt: off
    parser.add_argument("--verify", action="store_true",
        help="compare outputs at more sizes, and the CPU allocator's peaks and the times too")
    parser.add_argument("--emit", metavar="FILE", type=ending(".pt2", ".py"),
        help="write it: .pt2 (torch.export) or .py (readable, for torch)")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Rewrite, prove, write and print; 1 if the proof fails."""
    if args.emit is not None:
        _check_emit(args)
    call = read_call(args)

    from srprof.leaning.emit import emit
    from srprof.leaning.proof import prove
    from srprof.leaning.run import savings
    from srprof.render.views.lean import document
    from srprof.weights import AS_BUILT, as_built
    from srprof.workload import resolve

    workload = resolve(call)
    with progress_line() as progress:
        progress("rewriting", 0, 1)
        saved = savings(workload, args.level, args.tile)
        proof = prove(workload, saved.lean, full=args.verify, progress=progress)
    emitted = args.emit if proof.holds else None
    if emitted is not None:
        emit(workload, saved.lean, emitted)
        params = saved.before.record.complexity.params
        if emitted.endswith(".pt2") and as_built(args.spec, args.weights, params):
            say(f"srprof: {emitted}: {AS_BUILT}")
    show(args, document(saved, proof, emitted))
    return 0 if proof.holds else 1


def _check_emit(args: argparse.Namespace) -> None:
    if args.output is not None and os.path.realpath(args.emit) == os.path.realpath(args.output):
        raise InputError(f"--emit and -o both name {args.emit}: give each a file of its own")
    if args.tile is not None:
        mend = "leave --tile out, or in Python save srprof.lean(..., tiles=(H, W))"
        raise InputError(f"--emit writes the network for whole images: {mend}")
