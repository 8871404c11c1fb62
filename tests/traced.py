"""Traces of zoo networks for tests of what is computed from them, each made once in a process."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import srprof
from srprof.call import Call
from srprof.records import Trace
from srprof.tracing.run import trace_call

#: LR height and width of the test images of DIV2K, in order.
TEST_IMAGES = [
    (height, width)
    for height, width in json.loads(
        (Path(srprof.__file__).parent / "data" / "div2k_test_lr_sizes.json").read_text()
    )["hw"]
]


@cache
def traced(name: str, size: tuple[int, int]) -> Trace:
    """Without the run that finds variables, which the allocator does not know."""
    return trace_call(Call(name, ((1, 3, *size),)), holders=False)
