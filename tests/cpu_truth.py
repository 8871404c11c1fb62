"""What PyTorch's own CPU allocator says is live at every op boundary.

Independent of srprof's recorder: a bare dispatch mode labels each call, torch's profiler reports
every allocation and free with its time, and the sum of those up to a label's end is what was
live there.
"""

from __future__ import annotations

import copy
import gc
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

_LABEL = "op boundary "


class _Labels(TorchDispatchMode):
    """Wraps each call in a labelled range."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.ops: dict[int, str] = {}  # of the calls that did not raise

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        call = self.calls
        with record_function(f"{_LABEL}{call}"):
            result = func(*args, **(kwargs or {}))
        namespace, _, op = func._schema.name.partition("::")
        self.ops[call] = op if namespace == "aten" else f"{namespace}.{op}"
        return result


def live_bytes(model: nn.Module, *inputs: torch.Tensor) -> tuple[list[str], list[int]]:
    """Ops of one forward, and the bytes allocated since its start that live when each has ended.

    The inputs and the weights exist before, and are not in it. Nothing else does: the first call,
    in which oneDNN and friends set themselves up, is a copy's. A tensor that the model cached in it
    would be freed in the profiled one, and the profiler, which knows blocks by address, can take
    such a block for one of an earlier profile.
    """
    model.eval()
    with torch.no_grad():
        copy.deepcopy(model)(*(image.clone() for image in inputs))
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        labels = _Labels()
        with (
            torch.no_grad(),
            profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof,
            labels,
        ):
            result = model(*inputs)
        del result
    finally:
        if collecting:
            gc.enable()
    ends: list[tuple[int, int]] = []
    changes: list[tuple[int, int]] = []
    for event in prof.profiler.kineto_results.events():
        name = event.name()
        if name.startswith(_LABEL):
            ends.append((event.start_ns() + event.duration_ns(), int(name[len(_LABEL) :])))
        elif name == "[memory]":
            changes.append((event.start_ns(), event.nbytes()))
    ends.sort()
    changes.sort()
    ends = [(end, call) for end, call in ends if call in labels.ops]
    assert [call for _, call in ends] == list(labels.ops)
    live, position, found = 0, 0, []
    for end, _ in ends:
        while position < len(changes) and changes[position][0] <= end:
            live += changes[position][1]
            position += 1
        found.append(live)
    return list(labels.ops.values()), found
