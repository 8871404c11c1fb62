"""`srprof lean`: the same outputs in less memory, with the proof."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from srprof.errors import InputError
from srprof.leaning.levels import LEVELS
from srprof.options import add_output, add_tensor_format, add_weights, call_shapes, show
from srprof.output import check_output

_DESCRIPTION = """\
Rewrite a network so that it computes the same in less memory, and prove it: values die after
their last use, element-wise calls write in place, independent calls are put in the order with
the lowest peak; with --level equivalent, concatenations before 1x1 convolutions are split too.

  srprof lean e_rfdn --input 510x510                    peaks after each pass, and the proof
  srprof lean e_rfdn --level equivalent --verify        outputs, allocator and time compared
  srprof lean net.py:Net --weights net.pth --emit lean.pt2

In Python: srprof.lean(network, (1, 3, 510, 510)) is the lean network.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "lean",
        help="rewrite a network to the same outputs in less memory, and prove it",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spec", metavar="SPEC", help="the model, as for analyze")
    parser.add_argument(
        "--input",
        metavar="SIZE",
        action="append",
        help="LR input for which the peak is to be lowest: HxW, or NxCxHxW; again for each "
        "further input (default 256x256)",
    )
    parser.add_argument(
        "--level",
        choices=tuple(LEVELS),
        default="exact",
        help="exact: the same bits (default); equivalent: up to rounding, for a lower peak",
    )
    parser.add_argument(
        "--tiles",
        metavar="HxW",
        help="run in overlapping tiles of this LR size; only for networks that are local",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare outputs at more sizes, and the CPU allocator's peaks and the times too",
    )
    parser.add_argument(
        "--emit", metavar="FILE", help="write it: .pt2 (torch.export) or .py (readable, for torch)"
    )
    add_weights(parser)
    add_tensor_format(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Rewrite, prove, write and print; 1 if the proof fails."""
    from srprof import spec

    check_output(args.output)
    _check_emit(args)
    parsed = spec.parse(args.spec)
    shapes = call_shapes(args, parsed)
    tiles = None if args.tiles is None else _tiles(args.tiles)

    from srprof.leaning.emit import check_target, emit
    from srprof.leaning.proof import prove
    from srprof.leaning.run import savings
    from srprof.progress import TerminalProgress
    from srprof.render.views.lean import document
    from srprof.workload import resolve

    if args.emit is not None:
        check_target(args.emit)
    workload = resolve(
        args.spec,
        shapes,
        weights=args.weights,
        dtype=args.dtype,
        channels_last=args.channels_last,
    )
    with TerminalProgress(sys.stderr) as progress:
        progress("rewriting", 0, 1)
        found = savings(workload, args.level, tiles)
        proof = prove(workload, found.lean, full=args.verify, progress=progress)
    if args.emit is not None and proof.holds:
        emit(workload, found.lean, args.emit)
    emitted = args.emit if proof.holds else None
    show(args, document(found, proof, emitted))
    return 0 if proof.holds else 1


def _check_emit(args: argparse.Namespace) -> None:
    target = args.emit
    if target is None:
        return
    check_output(target, "--emit")
    if args.output is not None and os.path.realpath(target) == os.path.realpath(args.output):
        raise InputError(f"--emit and -o both name {target}: give each a file of its own")
    if args.tiles is not None:
        raise InputError(
            "--emit writes the network for whole images: leave --tiles out, or in Python save "
            "srprof.lean(..., tiles=(H, W))"
        )


def _tiles(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.split("x"))
    except ValueError:
        height = width = 0
    if height < 1 or width < 1:
        raise InputError(f"--tiles {text!r}: give LR height and width in pixels, as 256x256")
    return height, width
