"""`srprof analyze --train`: the memory of one training step."""

from __future__ import annotations

import argparse

from srprof.errors import InputError
from srprof.options import format_of, show
from srprof.render.writers import formats

#: Options that say nothing of a training step, with what they are when nobody gave them.
_NOT_OF_TRAINING = {
    "protocol": "single",
    "repeat": 1,
    "alloc_conf": None,
    "workspace": None,
    "device": None,
    "view": "summary",
    "figure": None,
    "cross_check": False,
}


def run_training(args: argparse.Namespace, shapes: list[tuple[int, ...]]) -> int:
    """Predict the memory of a training step and print it."""
    for option, default in _NOT_OF_TRAINING.items():
        if getattr(args, option) != default:
            raise _not_of_training(f"--{option.replace('_', '-')}")
    if format_of(args) not in formats():
        raise _not_of_training(f"--format {format_of(args)}")

    from srprof.render.views.training import document
    from srprof.training.analysis import analyze_training

    analysis = analyze_training(
        args.spec,
        *shapes,
        weights=args.weights,
        dtype=args.dtype,
        channels_last=args.channels_last,
        trace_on=args.trace_on,
        granularity=args.granularity,
    )
    show(args, document(analysis, args.top))
    return 0


def _not_of_training(option: str) -> InputError:
    return InputError(f"{option} is of a forward pass: leave it out with --train")
