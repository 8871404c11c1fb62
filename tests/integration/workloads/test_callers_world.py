"""What a caller's hooks, lambdas and globals hold stays his: no meta tensor, no gradient."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import srprof
from tests.cases import attention, inputs, masks, weights
from tests.workloads import state_of

SHAPE = (1, 3, 16, 16)
#: How a caller's model is run.
RUNS: dict[str, Callable[[nn.Module], object]] = {
    "meta": lambda model: srprof.analyze(model, SHAPE),
    "cpu": lambda model: srprof.analyze(model, SHAPE, trace_on="cpu"),
    "cuda-fake": lambda model: srprof.analyze(model, SHAPE, trace_on="cuda-fake"),
    "advise": lambda model: srprof.advise(model, SHAPE),
    "measure": lambda model: srprof.measure(model, SHAPE, device="cpu", repeat=1),
}

Holder = Callable[[], object]
World = Callable[[], tuple[nn.Module, Holder]]


def body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 3, 3, 1, 1))


class Steps(nn.Module):
    def __init__(self, steps: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.steps = nn.Conv2d(3, 3, 1), steps

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self.conv(x))


def a_list() -> tuple[nn.Module, Holder]:
    model, features = body(), []
    model[0].register_forward_hook(lambda _module, _args, output: features.append(output))
    return model, lambda: features


def a_dict_of_detached() -> tuple[nn.Module, Holder]:
    model, features = body(), {}

    def save(name: str) -> Any:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            features[name] = output.detach()

        return hook

    for name, child in model.named_children():
        child.register_forward_hook(save(name))
    return model, lambda: features


def a_default() -> tuple[nn.Module, Holder]:
    model, features = body(), []

    def hook(_module: Any, _args: Any, output: Tensor, features: list[Any] = features) -> None:
        features.append(output)

    model[0].register_forward_hook(hook)
    return model, lambda: features


def a_partial() -> tuple[nn.Module, Holder]:
    model, features = body(), []
    keep = lambda kept, _module, _args, output: kept.append(output)  # noqa: E731
    model[0].register_forward_hook(functools.partial(keep, features))
    return model, lambda: features


class Extractor:
    def __init__(self) -> None:
        self.features: dict[int, Tensor] = {}

    def hook(self, _module: Any, _args: Any, output: Tensor) -> None:
        self.features[len(self.features)] = output


def a_method() -> tuple[nn.Module, Holder]:
    model, extractor = body(), Extractor()
    model[0].register_forward_hook(extractor.hook)
    return model, lambda: extractor.features


def a_variable_of_the_outer_function() -> tuple[nn.Module, Holder]:
    model, last = body(), None

    def hook(_module: Any, _args: Any, output: Tensor) -> None:
        nonlocal last
        last = output

    model[0].register_forward_hook(hook)
    return model, lambda: last


def a_list_with_features_of_a_real_call() -> tuple[nn.Module, Holder]:
    model, holder = a_list()
    model(torch.rand(SHAPE))
    return model, holder


def a_replaced_forward() -> tuple[nn.Module, Holder]:
    model, features = body(), []
    forward = model[0].forward

    def kept(x: Tensor) -> Tensor:
        features.append(forward(x))
        return features[-1]

    model[0].forward = kept
    return model, lambda: features


def a_parameter() -> tuple[nn.Module, Holder]:
    gain = nn.Parameter(torch.ones(1))
    return Steps(lambda x: x * gain), lambda: (gain, gain.grad, float(gain))


def a_counter() -> tuple[nn.Module, Holder]:
    calls = torch.zeros(1)
    return Steps(lambda x: x + calls.add_(1)), lambda: float(calls)


GLOBAL: list[Tensor] = []
GLOBAL_EXTRACTOR = Extractor()
GLOBAL_LAST: Any = None


def globals_of_a_module() -> tuple[nn.Module, Holder]:
    def hook(_module: Any, _args: Any, output: Tensor) -> None:
        global GLOBAL_LAST  # noqa: PLW0603
        GLOBAL.append(output)
        GLOBAL_LAST = output
        GLOBAL_EXTRACTOR.features[0] = output

    model = body()
    model[0].register_forward_hook(hook)
    return model, lambda: (GLOBAL, GLOBAL_LAST, GLOBAL_EXTRACTOR.features)


class OfTheClass(nn.Module):
    features: list[Tensor] = []  # noqa: RUF012
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        self.features.append(self.conv(x))
        return self.features[-1]


def an_attribute_of_the_class() -> tuple[nn.Module, Holder]:
    return OfTheClass(), lambda: (OfTheClass.features, OfTheClass.calls)


class Features(nn.Module):
    """A feature extractor: its hooks fill a dict of its own, which forward reads."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.features = body(), {}
        self.body[0].register_forward_hook(self._save("first"))

    def _save(self, name: str) -> Any:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            self.features[name] = output

        return hook

    def forward(self, x: Tensor) -> Tensor:
        self.body(x)
        return self.features["first"]


def its_own_dict() -> tuple[nn.Module, Holder]:
    model = Features()
    return model, lambda: model.features


class Remembers(nn.Module):
    """Keeps results by size: in a default, and by a function that is cached."""

    def __init__(self, scale: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 3, 1), scale

    def forward(self, x: Tensor, kept: dict[int, Tensor] = {}) -> Tensor:  # noqa: B006  (the case)
        if x.shape[2] not in kept:
            kept[x.shape[2]] = torch.ones(1)
        return self.conv(x) * kept[x.shape[2]] * self.scale(x.shape[2])


def a_default_of_forward() -> tuple[nn.Module, Holder]:
    return Remembers(torch.ones), lambda: Remembers.forward.__defaults__


def results_of_a_cached_function() -> tuple[nn.Module, Holder]:
    @functools.cache
    def scale(size: int) -> Tensor:
        return torch.ones(size)

    return Remembers(scale), lambda: scale.cache_info().currsize


WORLDS: tuple[World, ...] = (
    *(a_list, a_dict_of_detached, a_default, a_partial, a_method, a_replaced_forward),
    *(a_variable_of_the_outer_function, a_list_with_features_of_a_real_call, a_parameter),
    *(a_counter, globals_of_a_module, an_attribute_of_the_class, its_own_dict),
    *(a_default_of_forward, results_of_a_cached_function),
)


def contents(value: Any) -> Any:
    """What there is, and which tensors."""
    if isinstance(value, Tensor):
        return id(value), type(value), value.device, value.requires_grad
    if isinstance(value, dict):
        return {key: contents(item) for key, item in value.items()}
    return [contents(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_what_the_caller_holds_stays(world: World, run: str):
    model, holder = world()
    before, state = contents(holder()), state_of(model)
    try:
        RUNS[run](model)
    except srprof.ModelError as error:  # what is closed over is not on a fake GPU
        assert run == "cuda-fake" and "devices" in str(error)
    assert contents(holder()) == before
    assert state_of(model) == state


def test_hooks_on_all_modules_see_nothing():
    seen: list[Tensor] = []
    handle = register_module_forward_hook(lambda _module, _args, output: seen.append(output))
    try:
        srprof.analyze(body(), SHAPE)
        srprof.analyze("fsrcnn", (1, 1, 16, 16))
        assert seen == []
        body()(torch.rand(SHAPE))
        assert len(seen) == 4
    finally:
        handle.remove()


def test_a_hook_that_changes_the_result_still_does():
    scale = [2.0]
    model = body()
    model[0].register_forward_hook(lambda _module, _args, output: output * scale[0])
    assert [n.op for n in srprof.trace(model, SHAPE).nodes].count("mul") == 1


def test_training_leaves_no_gradient():
    gain = nn.Parameter(torch.ones(1))
    model = Steps(lambda x: x * gain)
    from srprof.training.analysis import analyze_training

    analyze_training(model, SHAPE, trace_on="cpu")
    assert gain.grad is None and float(gain) == 1.0
    assert all(p.grad is None for p in model.parameters())


CASES: dict[Callable[[], nn.Module], Any] = {
    **dict.fromkeys((weights.Parametrized, weights.Fused, masks.Swin), SHAPE),
    **dict.fromkeys((attention.Sdpa, attention.Kept, attention.Mha), SHAPE),
    **dict.fromkeys((inputs.OwnHalf, inputs.Warp, inputs.Threads, inputs.CustomOp), SHAPE),
    **dict.fromkeys((inputs.RefusesInTrain, inputs.SquareOnly, inputs.OwnBackward), SHAPE),
    **dict.fromkeys((inputs.Tokens, inputs.SameName), SHAPE),
    inputs.Video: (1, 2, 3, 16, 16),
    inputs.DictInput: {"batch": {"lq": torch.rand(SHAPE), "mask": torch.rand(1, 1, 16, 16)}},
}


@pytest.fixture
def _same_flags() -> Iterator[None]:
    """Random states and flags, where a test itself draws nothing."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    flags = torch.is_grad_enabled(), torch.get_default_dtype(), torch.backends.cudnn.benchmark
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    now = torch.is_grad_enabled(), torch.get_default_dtype(), torch.backends.cudnn.benchmark
    assert now == flags


@pytest.mark.usefixtures("_same_flags")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_every_case_is_as_it_was(build: Callable[[], nn.Module], training: bool):
    with torch.random.fork_rng(devices=[]):
        model = build()
    nn.Module.train(model, training)
    features: list[Tensor] = []
    handle = model.register_forward_hook(lambda _module, _args, output: features.append(output))
    before = state_of(model)
    for trace_on in ("auto", "cpu"):
        # whether it runs is the case's own test
        with contextlib.suppress(srprof.SrprofError, RuntimeError):
            srprof.analyze(model, CASES[build], trace_on=trace_on)
    assert state_of(model) == before and features == []
    assert all(p.grad is None for p in model.parameters())
    handle.remove()
