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

import srprof
from srprof.memory.model import memory_model

_LABEL = "op boundary "

#: At which the allocator is asked, if nothing else is said.
SHAPE = (1, 3, 64, 64)


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


def live_bytes(
    model: nn.Module, *inputs: Any, twin: nn.Module | None = None
) -> tuple[list[str], list[int]]:
    """Ops of one forward, and the bytes allocated since its start that live when each has ended.

    The inputs and the weights exist before, and are not in it; nor are other tensors that modules
    have then, which are held on to, as a block that is freed would count as less than none. Nothing
    else does: the first call, in which oneDNN and friends set themselves up, is its twin's, by
    default a copy's. A tensor that the model cached in it would be freed in the profiled one, and
    the profiler, which knows blocks by address, can take such a block for one of an earlier
    profile.
    """
    model.eval()
    twin = copy.deepcopy(model) if twin is None else twin
    with torch.no_grad():
        twin.eval()(*copy.deepcopy(inputs))
    del twin
    had = [value for module in model.modules() for value in vars(module).values()]
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
        del result, had
    finally:
        if collecting:
            gc.enable()
    return list(labels.ops.values()), _sums(prof, labels)


def _sums(prof: profile, labels: _Labels) -> list[int]:
    """Bytes allocated since the profile began that live at the end of each labelled call."""
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
    return found


def live_bytes_of_step(
    model: nn.Module, image: torch.Tensor, targets: list[torch.Tensor], ops: list[str]
) -> list[int]:
    """Bytes that live at the end of each of these calls of the second training step.

    No dispatch mode is active: under one, autograd's engine adds gradients up out of place, and
    some formulas take other ways. The profiler names every call with its time, composite ones and
    those inside kernels too; `ops` says which of them are meant, in order.

    Weights, image and targets, one for each tensor that the model gives and that can be trained,
    exist before and are not in it; Adam's state, which the first step makes under the same
    profile, is.
    """
    model.train()
    first = copy.deepcopy(model)
    _train_once(first, torch.optim.Adam(first.parameters(), foreach=False), image, targets)
    del first
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
            optimizer = torch.optim.Adam(model.parameters(), foreach=False)
            _train_once(model, optimizer, image, targets)
            optimizer.zero_grad()
            with record_function(_LABEL):
                pass
            _train_once(model, optimizer, image, targets)
    finally:
        if collecting:
            gc.enable()
    events = prof.profiler.kineto_results.events()
    start = next(e.start_ns() for e in events if e.name() == _LABEL)
    ends = _ends_of([e for e in events if e.start_ns() > start], ops)
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    live, position, found = 0, 0, []
    for end in ends:
        while position < len(changes) and changes[position][0] <= end:
            live += changes[position][1]
            position += 1
        found.append(live)
    return found


def _ends_of(events: list[Any], ops: list[str]) -> list[int]:
    """When each of these calls ended: the next of its name that is in no call found before."""
    found: list[int] = []
    inside = 0
    for event in sorted(events, key=lambda e: (e.start_ns(), -e.duration_ns())):
        if len(found) == len(ops):
            break
        if event.start_ns() >= inside and event.name() == f"aten::{ops[len(found)]}":
            inside = event.start_ns() + event.duration_ns()
            found.append(inside)
    assert len(found) == len(ops), f"no call of {ops[len(found)]} after {len(found)} calls"
    return found


def _train_once(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    image: torch.Tensor,
    targets: list[torch.Tensor],
) -> None:
    optimizer.zero_grad()
    loss = _loss(_flat(model(image)), targets)
    loss.backward()
    optimizer.step()


def _loss(results: list[torch.Tensor], targets: list[torch.Tensor]) -> torch.Tensor:
    trained = (result for result in results if result.requires_grad)
    loss, *others = (
        torch.nn.functional.l1_loss(a, b) for a, b in zip(trained, targets, strict=True)
    )
    for other in others:
        loss = loss + other
    return loss


def _flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [tensor for item in items for tensor in _flat(item)]


def by_the_allocator(
    module: nn.Module, shape: tuple[int, ...] = SHAPE, kept: int = 0
) -> tuple[int, int]:
    """The peak at op boundaries, by the analysis and the allocator to the byte, and the whole one.

    Within a call it can be higher by what oneDNN takes for itself there. `kept` are bytes that the
    module keeps from earlier calls beside its weights.
    """
    image = torch.rand(shape)
    there = image.nbytes + kept + sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
    measured = srprof.measure(module, shape, device="cpu", repeat=0).memory.warm
    assert measured is not None and measured.max_allocated is not None
    trace = srprof.trace(module, shape, trace_on="cpu")
    ops, live = live_bytes(copy.deepcopy(module), image)
    assert [node.op for node in trace.nodes] == ops
    assert [node.live - image.nbytes for node in trace.nodes] == live
    peak = memory_model(trace, granularity=1).eager.nbytes
    assert peak == max(live) + there <= measured.max_allocated
    return peak, measured.max_allocated
