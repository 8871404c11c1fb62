"""`srprof analyze --train`: the memory of one training step."""

from __future__ import annotations

import argparse

from srprof.call import Call
from srprof.errors import InputError
from srprof.options import format_of, show
from srprof.render.writers import formats

#: Options that say nothing of a training step, with what they are when nobody gave them.
_NOT_OF_TRAINING = {
    "protocol": "single",
    "repeat": 1,
    "alloc_conf": None,
    "workspace": None,
    "profile": None,
    "view": "summary",
    "figure": None,
    "cross_check": False,
}


def run_training(args: argparse.Namespace, call: Call) -> int:
    """Predict the memory of a training step and print it."""
    given = [name for name, default in _NOT_OF_TRAINING.items() if getattr(args, name) != default]
    options = [f"--{name.replace('_', '-')}" for name in given]
    options += [] if format_of(args) in formats() else [f"--format {format_of(args)}"]
    if options:
        raise InputError(f"{options[0]} is of a forward pass: leave it out with --train")

    from srprof.render.views.training import document
    from srprof.training.analysis import analyze_training

    show(args, document(analyze_training(call, granularity=args.granularity), args.top))
    return 0
