"""What a run must not change for the caller: his settings, random states, hooks of all modules."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from srprof.copying import hooks_copied
from srprof.running import alone, surely
from srprof.tracing.settings import put_back, read, settings


@contextmanager
def collector_resting() -> Iterator[None]:
    """Python's garbage collector rests: a large graph is many objects, each of which is needed.

    It would look at all of torch each time that there are some more, and find nothing.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def isolated(notes: list[str]) -> Iterator[None]:
    """Run a network alone, and put everything back at the end.

    Adds a line to `notes` for each setting that the network changed. Random states are put back
    silently. Python's garbage collector rests meanwhile: what it frees and when depends on the
    recorder's own allocations, and would make lifetimes random.
    """
    with alone(), kept(notes), _resting(), hooks_copied():
        yield


@contextmanager
def kept(notes: list[str]) -> Iterator[None]:
    """Put the caller's settings and random states back, and add the lines of `isolated`."""
    rows = settings()
    before = list(map(read, rows))
    python_state = random.getstate()
    numpy: Any = sys.modules.get("numpy")
    numpy_state = None if numpy is None else numpy.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        steps = [
            lambda: random.setstate(python_state),
            lambda: numpy is None or numpy.random.set_state(numpy_state),
            lambda: notes.extend(put_back(rows, before)),
        ]
        surely(steps)


@contextmanager
def _resting() -> Iterator[None]:
    """Python's garbage collector rests."""
    collecting = gc.isenabled()
    known = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            if len(sys.modules) != known:
                # what those imports left behind; now, not in the caller's next lines. All of it is
                # young, as the collector rested; to look at old objects too takes half a second
                gc.collect(1)
            gc.enable()
