"""srprof traces every network of spandrel, explains every byte, and leaves the network alone.

The table is `tests/spandrel_zoo.py`; `benchmarks/robustness.py` shows the figures.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import pytest

if importlib.util.find_spec("spandrel") is None:
    pytest.skip("spandrel is not installed (the extra `spandrel`)", allow_module_level=True)

import torch
from torch import nn

import srprof
from srprof.memory.model import memory_model
from srprof.ops import OPS
from srprof.records import TensorInfo, TensorRef, Trace
from tests import spandrel_zoo
from tests.spandrel_zoo import ENTRIES, Entry

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_architecture_has_an_entry_or_a_reason() -> None:
    missing = spandrel_zoo.unknown_architectures()
    assert not missing, f"add to tests/spandrel_zoo.py: {', '.join(sorted(missing))}"


def test_entries_are_told_apart_by_name() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_network_is_traced(entry: Entry) -> None:
    if entry.architecture in spandrel_zoo.vanished_architectures():
        pytest.skip(f"this spandrel has no {entry.architecture}")
    model = entry.build()
    before = _state_of(model)

    trace = srprof.trace(model, *entry.inputs)

    assert trace.device == entry.device, trace.fallback
    assert bool(trace.fallback) == bool(entry.fallback)
    output = _first_output(trace)
    assert (output.shape, output.dtype) == (entry.output, "float32")
    assert _unexplained(trace) == []
    assert _state_of(model) == before
    assert not {node.op for node in trace.nodes} - OPS.keys(), "give them a row in srprof/ops.py"


def _unexplained(trace: Trace) -> list[tuple[int, int, int]]:
    """Nodes whose parts do not sum to the bytes referenced: index, sum and bytes."""
    memory = memory_model(trace, granularity=1)
    resident = sum(s.nbytes for s in trace.storages if s.resident and not s.host)
    return [
        (node.index, parts.eager, node.live + resident)
        for node, parts in zip(trace.nodes, memory.parts, strict=True)
        if parts.eager != node.live + resident or min(astuple(parts)) < 0
    ]


def _first_output(trace: Trace) -> TensorInfo:
    """The first tensor that the network returned."""
    result = trace.result
    while not isinstance(result, TensorRef):
        result = next(iter(result.values())) if isinstance(result, dict) else result[0]
    if result.node < 0:
        return trace.externals[result.output].info
    return trace.nodes[result.node].outputs[result.output]


def _state_of(model: nn.Module) -> dict[str, Any]:
    """All that a tool may change of a model by mistake, in comparable form."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [len(vars(module)[hook]) for module in model.modules() for hook in hooks],
        "global hooks": len(torch.nn.modules.module._global_forward_hooks),
        "keys": list(model.state_dict()),
        "tensors": [
            (name, id(t), t.device, t.dtype, t.data_ptr(), t._version, t.requires_grad)
            for name, t in tensors
        ],
        "random state": torch.get_rng_state().tolist(),
    }
