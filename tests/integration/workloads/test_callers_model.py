"""The caller's model stays as it is."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from tests.workloads import (
    IMAGE,
    Net,
    ops,
    state_of,
)


class Trained(nn.Module):
    """With all that behaves differently in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.deep = nn.Sequential(nn.InstanceNorm2d(4, track_running_stats=True), nn.Dropout2d())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.deep(self.drop(self.norm(self.body(x))))
        return found


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
@pytest.mark.parametrize("training", [True, False])
def test_training_mode_stays_and_evaluation_is_analysed(trace_on: str, training: bool):
    model = Trained().train(training)
    model.deep.train(not training)
    before = state_of(model)
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert state_of(model) == before
    assert not {"native_dropout", "bernoulli", "bernoulli_"} & set(ops(found))
    assert any("batch_norm" in op for op in ops(found))
    assert ops(found) == ops(srprof.analyze(Trained().eval(), IMAGE, trace_on=trace_on))


def test_model_that_refuses_eval():
    class Refuses(Net):
        def train(self, mode: bool = True) -> Any:
            super().train(mode)  # and forgets to return itself

    model = Refuses()
    assert ops(srprof.analyze(model, IMAGE)) == ["convolution", "relu"]
    assert model.training


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_hooks_survive(trace_on: str):
    seen: Counter[str] = Counter()
    model = nn.Sequential(Net(), nn.Sigmoid())
    handles = [
        model[0].register_forward_hook(lambda *_: seen.update(["after"])),
        model[0].body.register_forward_pre_hook(lambda *_: seen.update(["before"])),
        model.register_full_backward_hook(lambda *_: seen.update(["backward"])),
        model.register_state_dict_post_hook(lambda *_: seen.update(["state"])),
        torch.nn.modules.module.register_module_forward_hook(lambda *_: seen.update(["global"])),
    ]
    try:
        before = state_of(model)
        global_hooks = dict(torch.nn.modules.module._global_forward_hooks)
        srprof.analyze(model, IMAGE, trace_on=trace_on)
        assert dict(torch.nn.modules.module._global_forward_hooks) == global_hooks
        assert state_of(model) == before
        seen.clear()
        model(torch.rand(IMAGE)).sum().backward()
        model.state_dict()
        assert seen == {"after": 1, "before": 1, "backward": 1, "state": 1, "global": 4}
    finally:
        for handle in handles:
            handle.remove()
    seen.clear()
    model(torch.rand(IMAGE))
    assert not seen


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_model_that_changes_itself(trace_on: str):
    class Caches(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))
            self.history: list[torch.Tensor] = []
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            self.count += 1
            self.cache = self.body(x)
            self.history.append(self.cache)
            self.register_buffer("late", x)
            self.extra = nn.Conv2d(4, 4, 1)
            self.body.bias.fill_(1)
            return self.cache * 2

    model = Caches()
    before = state_of(model)
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert "convolution" in ops(found)
    assert state_of(model) == before
    assert (model.calls, model.history) == (0, [])


def test_gradients_stay():
    model = Net()
    model(torch.rand(IMAGE)).sum().backward()
    before = [(id(p.grad), p.grad.tolist()) for p in model.parameters() if p.grad is not None]
    srprof.analyze(model, IMAGE)
    srprof.analyze(model, IMAGE, dtype="float16", channels_last=True, trace_on="cpu")
    after = [(id(p.grad), p.grad.tolist()) for p in model.parameters() if p.grad is not None]
    assert len(before) == 2
    assert after == before
    assert model.body.weight.dtype == torch.float32


class RaisesLate(Trained):
    """Changes itself, then raises deep inside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.cache = self.norm(self.body(x))
        self.train()
        self.register_forward_hook(lambda *_: None)
        raise ValueError("enough")


@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_model_that_raises_leaves_nothing_behind(trace_on: str):
    inner = RaisesLate()
    model = nn.Sequential(nn.Identity(), inner)
    before = state_of(model)
    torch.manual_seed(7)
    random_state = torch.get_rng_state()
    with pytest.raises(srprof.ModelError, match="enough") as raised:
        srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert raised.value.module == "1"
    assert raised.value.file == __file__
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert not torch.nn.modules.module._global_forward_hooks_always_called
    assert state_of(model) == before
    assert not hasattr(inner, "cache")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert ops(srprof.analyze(Net(), IMAGE)) == ["convolution", "relu"], "and the next one works"


def test_random_state_stays():
    model = Net()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    srprof.analyze(model, IMAGE, trace_on="cpu")
    srprof.analyze("fmen_s", IMAGE)
    assert torch.equal(torch.get_rng_state(), before)


def test_model_that_cannot_be_copied_says_so():
    class Locked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    with pytest.raises(srprof.InputError, match=r"cannot be copied.*file\.py:Factory"):
        srprof.analyze(Locked(), IMAGE)
