"""The memory model's identity, and its truth on the CPU, on networks that nobody wrote."""

from __future__ import annotations

import copy
import gc

import torch
from hypothesis import given, settings
from torch import nn

import srprof
from srprof.memory.model import memory_model
from tests.cpu_truth import live_bytes
from tests.random_networks import RandomNetwork, random_networks

many = settings(max_examples=100)
some = settings(max_examples=40)


def referenced(trace):
    """Bytes that the program references at each node, as counted while it ran."""
    return [node.live for node in trace.nodes]


@some
@given(random_networks(wide=True))
def test_parts_sum_to_the_bytes_referenced(network: RandomNetwork):
    trace = srprof.trace(network.build(), network.asked)
    memory = memory_model(trace, granularity=1)
    assert [p.eager - p.net for p in memory.parts] == referenced(trace)
    assert all(min(p.input, p.output, p.kept, p.held) >= 0 for p in memory.parts)


@many
@given(random_networks(wide=True))
def test_live_bytes_are_the_cpu_allocators(network: RandomNetwork):
    model = network.build()
    image = network.example()
    given = sum(tensor.nbytes for tensor in flat(image))
    ops, live = live_bytes(network.build(), image, twin=network.build())
    gc.collect()
    for device in ("cpu", "meta"):
        trace = srprof.trace(model, network.asked, trace_on=device)
        assert trace.device == device
        assert [node.op for node in trace.nodes] == ops
        ours = [bytes_ - given for bytes_ in referenced(trace)]
        if device == "meta":  # numbers wrapped as tensors (`x * 2`) are in main memory there
            for storage in trace.storages:
                if storage.host and storage.name == "number":
                    ours[storage.birth] += storage.nbytes
        assert ours == live, f"traced on {device}"


@some
@given(random_networks(wide=True))
def test_the_model_is_left_as_it_was(network: RandomNetwork):
    model = network.build()
    before = snapshot(model)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    srprof.analyze(model, network.asked)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), state)


def snapshot(model):
    """All that a person could miss: attributes, flags, hooks, parameters and where they are."""
    return [
        (
            path,
            module.training,
            {key: id(value) for key, value in vars(module).items()},
            [
                (name, id(p), p.device, p.data_ptr(), p.grad)
                for name, p in module._parameters.items()
            ],
            len(module._forward_hooks) + len(module._forward_pre_hooks),
        )
        for path, module in model.named_modules()
    ]


@some
@given(random_networks(wide=True))
def test_who_holds_it_is_known(network: RandomNetwork):
    analysis = srprof.analyze(network.build(), network.asked)
    held = analysis.held_at_peak
    peak = analysis.memory.eager.node  # None where nothing is computed
    assert sum(h.nbytes for h in held) == (0 if peak is None else analysis.memory.parts[peak].held)
    for storage in held:
        assert storage.holder.variable != "(unknown)"


@some
@given(random_networks(wide=True))
def test_the_graph_lints_and_computes_the_same(network: RandomNetwork):
    model = network.build()
    trace = srprof.trace(model, network.asked)
    trace.graph.lint()
    assert len([n for n in trace.graph.nodes if "index" in n.meta]) >= len(trace.nodes)
    runnable = torch.fx.GraphModule(model, trace.graph)
    torch.manual_seed(1)
    image = network.example()
    with torch.no_grad():
        expected = model(copy.deepcopy(image))
        found = runnable(*flat(copy.deepcopy(image)))
    for a, b in zip(flat(expected), flat(found), strict=True):
        assert torch.equal(a, b)


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [tensor for item in items for tensor in flat(item)]


class TwoInputs(nn.Module):
    """Reads a part of a weight that it keeps, and its images in another order than they come."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.part = self.conv.weight.detach().flatten()

    def forward(self, image, mask):
        return self.conv(mask) * self.part - image


def test_a_graph_takes_inputs_in_their_order_and_kept_tensors_by_their_path():
    model = TwoInputs()
    trace = srprof.trace(model, (1, 1, 4, 4), (1, 1, 4, 4))
    assert "part" in [external.name for external in trace.externals]
    image, mask = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    runnable = torch.fx.GraphModule(model, trace.graph)
    with torch.no_grad():
        assert torch.equal(runnable(image, mask), model(image, mask))
