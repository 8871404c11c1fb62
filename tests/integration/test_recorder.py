"""Corners of the recorder: storages that change, tensors made without a call, what it forgets."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import nn

import srprof
from srprof.memory.model import memory_model
from tests.cpu_truth import live_bytes


class Steps(nn.Module):
    """A network of one function."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.steps(self, x)


SHAPE = (1, 4, 16, 16)


def check(steps):
    """Traced on both devices: identity holds, and the CPU's allocator agrees."""
    model = Steps(steps)
    image = torch.rand(SHAPE)
    ops, live = live_bytes(Steps(steps), image)
    for device in ("meta", "cpu"):
        trace = srprof.trace(model, SHAPE, trace_on=device)
        memory = memory_model(trace, granularity=1)
        assert [p.eager - p.net for p in memory.parts] == [n.live for n in trace.nodes]
        trace.graph.lint()
        if device == "cpu":
            assert [n.op for n in trace.nodes] == ops
            assert [n.live - image.nbytes for n in trace.nodes] == live
    return trace


def test_an_alias_made_without_a_call():
    trace = check(lambda self, x: self.conv(x).data.relu() + self.conv.weight.data.sum())
    assert not [e for e in trace.externals if e.role == "constant"]


def test_an_output_that_is_resized():
    def steps(self, x):
        out = torch.empty(0, device=x.device)
        torch.cat([x, x], dim=1, out=out)
        return out

    trace = check(steps)
    assert trace.nodes[-1].live == 3 * 4 * 16 * 16 * 4


def test_a_storage_that_is_swapped():
    def steps(self, x):
        y = self.conv(x)
        y.set_(torch.zeros_like(x))
        return y.relu()

    check(steps)


def test_an_expanded_tensor_takes_what_its_storage_has():
    trace = check(lambda self, x: x.mean().expand(1, 64, 16, 16) + x[:, :1])
    expand = next(n for n in trace.nodes if n.op == "expand")
    assert expand.created == ()
    assert expand.outputs[0].nbytes == 64 * 16 * 16 * 4


def test_in_place_through_a_view():
    def steps(self, x):
        y = self.conv(x)
        y[:, :2].mul_(2)
        y[:, 2:] += 1
        return y

    trace = check(steps)
    changed = [n for n in trace.nodes if n.op in ("mul_", "add_")]
    assert all(n.inplace and not n.created for n in changed)
    assert {n.written for n in changed} == {trace.nodes[0].created}


def test_an_exception_inside_the_model_is_its_own_business():
    def steps(self, x):
        try:
            self.conv(x[:, :2])
        except RuntimeError:
            y = self.conv(x)
        return y.relu()

    trace = check(steps)
    assert trace.nodes[-1].module == ""


def test_inference_mode_takes_composite_calls_apart_as_torch_does():
    """Not by torch's reference implementations, which make 37 calls of an interpolation."""

    def steps(self, x):
        with torch.inference_mode():
            return nn.functional.interpolate(x, scale_factor=2, mode="bilinear")

    trace = srprof.trace(Steps(steps), SHAPE)
    assert [n.op for n in trace.nodes] == ["upsample_bilinear2d"]


def test_foreach_changes_several():
    def steps(self, x):
        a, b = self.conv(x), self.conv(x)
        torch._foreach_mul_([a, b], 2.0)
        return a + b

    trace = check(steps)
    foreach = next(n for n in trace.nodes if n.op == "_foreach_mul_")
    assert len(foreach.written) == 2


def test_tensors_on_the_cpu_are_brought_along_and_noted():
    def steps(self, x):
        return x * torch.linspace(0, 1, 16) + torch.ones(4, 1, 1)

    trace = srprof.trace(Steps(steps), SHAPE)
    assert trace.device == "meta"
    assert any("mul" in note and "device=x.device" in note for note in trace.notes)
    memory = memory_model(trace, granularity=1)
    assert [p.eager - p.net for p in memory.parts] == [n.live for n in trace.nodes]


def test_nothing_stays_alive_afterwards():
    """Neither the caller's model nor a tensor of the run hangs on the trace or on torch."""
    model = Steps(lambda self, x: self.conv(x).relu())
    before = {id(t) for t in gc.get_objects() if isinstance(t, torch.Tensor)}
    reference = weakref.ref(model)
    trace = srprof.trace(model, SHAPE)
    del model
    gc.collect()
    assert reference() is None
    after = [t for t in gc.get_objects() if isinstance(t, torch.Tensor) and id(t) not in before]
    assert not after
    assert len(trace.nodes) == 2


def test_two_traces_are_equal():
    first, second = (srprof.trace("e_rfdn", "64x64") for _ in range(2))
    assert first == second


def test_no_activation_is_allocated():
    """16384 x 16384 would be 50 GiB a feature map."""
    trace = srprof.trace("fmen_s", "16384x16384")
    assert max(n.live for n in trace.nodes) > 100 * 2**30
