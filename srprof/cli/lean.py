"""`srprof lean`: the same outputs in less memory, with the proof."""

from __future__ import annotations

import argparse
import os

from srprof.errors import InputError
from srprof.leaning.levels import BACKENDS, OBJECTIVES
from srprof.options import (
    add,
    add_call,
    add_older,
    add_output,
    add_profile,
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
The peak is lowest at --input, and other sizes work as well. With --profile the network is given the
form that pays on that device, by what is predicted of the whole, at level equivalent.

  srprof lean e_rfdn --input 510x510                    peaks after each pass, and the proof
  srprof lean e_rfdn --level equivalent --verify        outputs, allocator and time compared
  srprof lean e_rfdn --profile h200 --dtype float16     milliseconds too, and what pays there
  srprof lean net.py:Net --weights net.pth --emit lean.pt2
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_call(parser, "--trace-on")
    add(parser, "--level", "--tile", default=None)
    add_older(parser, "--tiles", "--tile")
    add_profile(parser)
    # fmt: off
    parser.add_argument("--objective", metavar="WHAT", default="both",
        choices=OBJECTIVES,
        help="with --profile: memory, time, or both (default), what is to be least there")
    parser.add_argument("--backend", metavar="WHAT", default="eager",
        choices=BACKENDS,
        help="what runs the plans: eager (default), inductor (torch.compile), cudagraph (on a GPU)")
    parser.add_argument("--verify", action="store_true",
        help="compare outputs at more sizes, and the CPU allocator's peaks and the times too; on a "
             "GPU, if there is one, what was predicted for it")
    parser.add_argument("--emit", metavar="FILE", type=ending(".pt2", ".py"),
        help="write it: .pt2 (torch.export) or .py (readable, for torch)")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Rewrite, prove, write and print; 1 if the proof fails."""
    if args.emit is not None:
        _check_emit(args)
    call = read_call(args)

    from srprof.cost.profiles import read_profile
    from srprof.leaning.backends import check_backend
    from srprof.leaning.emit import emit
    from srprof.leaning.proof import prove
    from srprof.leaning.run import default_level, savings
    from srprof.render.views.lean import document
    from srprof.weights import AS_BUILT, as_built
    from srprof.workload import resolve

    check_backend(args.backend)
    profile = read_profile(args.profile)
    level = args.level or default_level(profile)
    workload = resolve(call)
    with progress_line() as progress:
        progress("rewriting", 0, 1)
        how = {"profile": profile, "objective": args.objective, "backend": args.backend}
        saved = savings(workload, level, args.tile, **how)
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
