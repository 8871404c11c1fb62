"""What ran on the device while a model was built, and what it left there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from srprof.memory.model import counted
from srprof.networks import named_modules
from srprof.records import Construction, Pass, Program, Storage, Trace
from srprof.tracing.recorder import Recorder, user_line


class BuildRecorder(Recorder):
    """Records what a constructor does on the meta device, which stands for a GPU.

    The model's paths are not known before it is built. Those of a pass's nodes begin at the module
    that was called.
    """

    def __init__(self) -> None:
        super().__init__(nn.Module(), "meta")
        self.passes: list[Pass] = []

    def enter_module(self, module: nn.Module, args: Any) -> None:
        """Hook: a module's `forward` is about to run; if in no other's, a pass begins."""
        if len(self.module_stack) == 1:
            self._paths = {id(part): path for path, part in named_modules(module)}
            file, line, _ = user_line()
            here = len(self.nodes)
            recorded = torch.is_grad_enabled()
            self.passes.append(Pass(type(module).__name__, file, line, recorded, here, here))
        super().enter_module(module, args)

    def leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        """Hook: a module's `forward` has returned or raised."""
        super().leave_module(module, args, output)
        if len(self.module_stack) == 1 and self.passes:
            self.passes[-1] = replace(self.passes[-1], end=len(self.nodes))


def same_calls(one: Trace, other: Trace) -> bool:
    """Whether two runs made the same calls with results of the same shapes and dtypes."""
    runs = ([(n.op, n.module, _formats(n.outputs)) for n in trace.nodes] for trace in (one, other))
    first, second = runs
    return first == second


def _formats(infos: Any) -> list[tuple[Any, ...]]:
    return [(info.shape, info.dtype) for info in infos]


def with_construction(trace: Trace, program: Program) -> Trace:
    """The trace of a call with what its model's constructor did on the device, and left there.

    Args:
        trace: of a call of a fresh instance. program: its constructor, and the same call.
    """
    construction, call = program.construction, program.calls[0]
    if construction is None or not same_calls(trace, call):
        return trace
    read = {external.info.storage for external in call.externals}
    found = {
        external.info.storage: call.carried[same.info.storage]
        for external, same in zip(trace.externals, call.externals, strict=True)
        if same.info.storage in call.carried
    }
    left = [
        index
        for index, storage in enumerate(call.storages)
        if index in call.carried and index not in read and counted(storage)
    ]
    storages = tuple(call.storages[index] for index in left)
    places = range(len(trace.storages), len(trace.storages) + len(left))
    found |= {place: call.carried[index] for place, index in zip(places, left, strict=True)}
    again = trace.again and _with_left(trace.again, dict(zip(places, storages, strict=True)))
    live = [
        node.live + sum(s.nbytes for s in storages if not s.resident and node.index < s.death)
        for node in trace.nodes
    ]
    return replace(
        trace,
        storages=(*trace.storages, *storages),
        nodes=tuple(replace(n, live=more) for n, more in zip(trace.nodes, live, strict=True)),
        construction=Construction(construction, found),
        again=again,
    )


def _with_left(again: Trace, left: dict[int, Storage]) -> Trace:
    """A second call, with what the constructor left and the first call let be."""
    stay = {place: storage for place, storage in left.items() if storage.resident}
    end = len(again.nodes)
    storages = tuple(replace(storage, death=end) for storage in stay.values())
    places = range(len(again.storages), len(again.storages) + len(stay))
    carried = dict(again.carried) | dict(zip(places, stay, strict=True))
    return replace(again, storages=(*again.storages, *storages), carried=carried)
