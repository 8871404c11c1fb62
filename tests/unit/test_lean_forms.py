"""Forms for a device: filled channels, layout, steps and what is kept change no result."""

import copy
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from srprof.leaning.capture import Captured, RefusedError
from srprof.leaning.channels import Channels, joined
from srprof.leaning.filling import Widths, filled
from srprof.leaning.forming import Form, formed
from srprof.leaning.functional import functional
from srprof.leaning.levels import LEVELS
from srprof.leaning.module import Lean
from srprof.leaning.plan import capture_call, planner
from tests.random_networks import RandomNetwork, random_networks

SHAPES = ((1, 3, 11, 14), (2, 3, 9, 16))
WIDTHS = {5: 8, 6: 8, 7: 16, 12: 16}


class Mixed(nn.Module):
    """Most of what channels go through: parts, sums, joins, pooling, groups, a shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 6, 3, padding=1)
        self.body = nn.Conv2d(6, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.PReLU(6)
        self.near = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.far = nn.Conv2d(6, 6, 3, padding=2, dilation=2, bias=False)
        self.down = nn.Conv2d(6, 7, 3, stride=2)
        self.up = nn.ConvTranspose2d(7, 6, 3, stride=2, padding=1)
        self.gate = nn.Conv2d(6, 6, 1)
        self.fuse = nn.Conv2d(24, 6, 1)
        self.tail = nn.Conv2d(6, 12, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(1, 6, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.head(x), 0.1, inplace=True)
        one, two = self.body(x).chunk(2, 1)
        one = self.act(self.norm(one)) * self.scale
        two = F.silu(self.near(two)) + one
        low = self.up(F.relu(self.down(F.pad(x, (1, 1, 1, 1), mode="reflect"))))
        low = F.interpolate(low, x.shape[2:], mode="bilinear", align_corners=False)
        gated = two * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(two, 1)))
        deep = self.far(gated)
        deep = deep / (1 + deep.std((2, 3), keepdim=True))
        x = self.fuse(torch.cat([x, gated, deep, low], 1)) + x
        x = F.relu(self.far(x) + self.gate(x))
        return F.pixel_shuffle(self.tail(x), 2)


class Split(nn.Module):
    """Information distillation: some channels are put by, the rest goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(i, 7, 3, padding=1) for i in (3, 5, 5)])
        self.fuse = nn.Conv2d(2 + 2 + 7, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for number, layer in enumerate(self.layers):
            x = F.leaky_relu(layer(x), 0.05)
            if number < 2:
                small, x = torch.split(x, (2, 5), 1)
                kept.append(small)
        return self.fuse(torch.cat([*kept, x], 1))


class Ending(nn.Module):
    """Calls that mix channels, count them, or are not finite at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 6, 3, padding=1)
        self.next = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.softmax(self.head(x), 1)
        y = self.next(x)
        y = (
            y * torch.log(y.abs() + 0.1)
            + 1 / (y.sigmoid() - 0.0)
            + torch.log(y.relu() + 0.0).clamp(-5)
        )
        y = self.next(y).flatten(2).transpose(1, 2)
        return y.reshape(y.shape[0], -1)


FORMS = [
    Form(widths=WIDTHS),
    Form(widths=WIDTHS, biases=True),
    Form(widths=WIDTHS, biases=True, compact=False, steps=True, constants=True),
    Form(layout=True, constants=True),
    Form(widths=WIDTHS, layout=True, whole=True, biases=True, steps=True, constants=True),
    Form(widths=WIDTHS, layout=True, whole=True, compact=False, biases=True, constants=True),
    Form(steps=True),
]


X = torch.rand(SHAPES[0], dtype=torch.float64)


@cache
def captured_of(kind: type[nn.Module]) -> Captured:
    return capture_call(network_of(kind), (X,), {})


def made(kind: type[nn.Module], form: Form) -> Lean:
    """A lean form of a network, with its plan for this call."""
    network, passes = network_of(kind), LEVELS["equivalent"]
    lean = Lean(network, "equivalent", passes, form)
    lean.plans = [planner(network, captured_of(kind), (X,), {}, form)(passes)]
    return lean.eval()


def network_of(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = kind().double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return network.requires_grad_(False)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    assert one.stride() == other.stride()
    return float((one - other).abs().max() / one.abs().max())


@pytest.mark.parametrize(
    ("kind", "form"),
    [*product((Split, Ending), FORMS), *((Mixed, form) for form in FORMS if form.biases)],
)
def test_a_form_computes_the_same(kind: type[nn.Module], form: Form):
    network = network_of(kind)
    lean = made(kind, form)
    with torch.no_grad():
        for shape in (*SHAPES, (1, 3, 16, 9)):
            image = torch.rand(shape, dtype=torch.float64)
            assert difference(network(image.clone()), lean(image)) < 1e-12
        assert len(lean.plans) <= 2  # one for a batch of one


@pytest.mark.parametrize("kind", [Mixed, Split])
@pytest.mark.parametrize("compact", [True, False])
def test_nothing_of_extra_channels_reaches_an_output(kind: type[nn.Module], compact: bool):
    """They hold large numbers in the place of zeros."""
    network = network_of(kind)
    plain = functional(captured_of(kind).graph, {})
    assert plain is not None
    large = Widths(WIDTHS, value=512.0, whole=True, compact=compact)
    graph = filled(plain, large, {})
    widest = [n.meta["val"].shape[1] for n in graph.graph.nodes if "conv2d" in str(n.target)]
    assert max(widest) == 16
    for name, value in graph.constants.items():
        network.register_buffer(name, value, persistent=False)
    module = torch.fx.GraphModule(network, graph.graph)
    assert difference(network(X), module(X)[0]) < 1e-10


def test_where_filled_channels_end_is_said():
    ended = formed(captured_of(Ending).graph, Form(widths=WIDTHS), {}).ended
    assert any(text.startswith("aten.softmax") and "test_lean_forms.py:" in text for text in ended)
    assert any(text.startswith("aten.log") for text in ended)  # not finite at zero


def test_biases_are_no_calls_of_their_own():
    text = made(Mixed, Form(widths=WIDTHS, biases=True, constants=True)).plans[0].source
    forward = text[text.index("def forward") :]
    calls = [line for line in forward.splitlines() if "aten.conv2d.default" in line]
    biased = [line for line in calls if ", None, " not in line]
    assert len(calls) > 5
    assert len(biased) <= len(calls) / 2


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops.append(func._opname)
        return func(*args, **(kwargs or {}))


def ops_of(module: nn.Module, x: torch.Tensor) -> list[str]:
    with torch.no_grad(), _Counting() as counting:
        module(x)
    return counting.ops


class Masked(nn.Module):
    """A mask and a kernel that no value of the input decides."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(3, 3, 3, 3))
        self.blend = nn.Parameter(torch.rand(3, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.linspace(0, 1, x.shape[2], device=x.device, dtype=x.dtype)
        mask = torch.sin(
            rows[:, None] * torch.ones_like(x[0, 0, :1, :]).cumsum(1) * 0 + rows[:, None]
        )
        return (
            F.conv2d(x, self.kernel * self.blend + F.pad(self.blend, (1, 1, 1, 1)), padding=1)
            * mask
        )


def test_what_sizes_and_weights_decide_is_made_once():
    network, lean = network_of(Masked), made(Masked, Form(constants=True))
    first, again = ops_of(lean, X), ops_of(lean, X)
    assert "linspace" in first
    assert not {"linspace", "constant_pad_nd"} & set(again)
    other = torch.rand(1, 3, 16, 9, dtype=torch.float64)
    with torch.no_grad():
        assert difference(network(other), lean(other)) < 1e-12  # another size has its own
        assert difference(network(X), lean(X)) < 1e-12


def test_what_is_kept_follows_the_weights():
    network, lean = network_of(Masked), made(Masked, Form(constants=True))
    with torch.no_grad():
        lean(X)
        for change in (
            lambda one: one.kernel.add_(1),
            lambda one: one.load_state_dict({k: 2 * v for k, v in one.state_dict().items()}),
            lambda one: setattr(one.kernel, "data", torch.ones_like(one.kernel)),
        ):
            torch.manual_seed(1)
            change(lean)
            torch.manual_seed(1)
            change(network)
            assert difference(network(X), lean(X)) < 1e-12


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 6, 3, padding=1)
        self.tail = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(x)
        return self.tail(F.relu(x + torch.randn_like(x)))


@pytest.mark.parametrize("form", FORMS, ids=range(len(FORMS)))
def test_random_numbers_are_drawn_as_by_the_network(form: Form):
    """What is drawn for a map is drawn in the order in which that lies in memory."""
    network, lean = network_of(Noisy), made(Noisy, form)
    with torch.no_grad():
        torch.manual_seed(3)
        before = network(X)
        torch.manual_seed(3)
        assert difference(before, lean(X)) < 1e-12


def test_a_step_that_does_not_compile_runs_call_by_call(monkeypatch: pytest.MonkeyPatch):
    from types import SimpleNamespace

    from srprof.leaning import steps

    def fails(*_: Any) -> torch.Tensor:
        raise torch._dynamo.exc.BackendCompilerFailed(str, RuntimeError("no ptxas"), None)

    monkeypatch.setattr(steps, "_compiles", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    plain = torch.rand(2, 3)
    code = "aten.add_.Tensor(x, others[0]); aten.relu_.default(x)"
    x = SimpleNamespace(is_cuda=True)
    monkeypatch.setitem(steps._FUNCTIONS, code, lambda x, others: plain)
    with pytest.warns(UserWarning, match="steps run call by call: torch.compile fails"):
        assert steps._run(x, [plain], code) is plain  # type: ignore[arg-type]  # stands for a tensor
    assert steps._run(x, [plain], code) is plain  # type: ignore[arg-type]  # and does not try again
    monkeypatch.delitem(steps._COMPILED, code)


def test_maps_are_brought_into_the_layout_once():
    lines = made(Mixed, Form(layout=True, constants=True)).plans[0].lines
    conversions = [line for line in lines if "channels_last" in line]
    assert len(conversions) == 2  # the image, and a part of a map, which kernels would copy


def test_channels_say_where_they_lie():
    filled_up = Channels.first(3, 5)
    assert filled_up.rows() == [0, 1, 2, 3, 3]
    part = filled_up.part(1, 3)
    assert (part.places, part.total, part.together) == ((1, 2), 5, True)
    both = joined([filled_up, Channels.first(2, 2)])
    assert both.places == (0, 1, 2, 5, 6)
    assert both.rows() == [0, 1, 2, 5, 5, 3, 4]
    assert Channels.first(3, 4, 1.0).constant == (3, 1.0)
    assert Channels.first(3, 4, 0.3).constant is None  # no dtype has it exactly


@settings(max_examples=15)
@given(
    random_networks(),
    st.sampled_from(FORMS),
    st.dictionaries(st.integers(1, 12), st.sampled_from([1, 2, 5]), max_size=6),
)
def test_random_networks_are_the_same_in_every_form(
    network: RandomNetwork, form: Form, more: dict[int, int]
):
    widths = {width: width + extra for width, extra in more.items()}
    form = replace(form, widths=widths)
    built = network.build().eval().requires_grad_(False)
    example = network.example(0)
    args, kwargs = ((), example) if isinstance(example, dict) else ((example,), {})
    try:
        captured = capture_call(built, args, kwargs)
    except RefusedError:
        return
    lean = Lean(built, "equivalent", LEVELS["equivalent"], form)
    lean.plans = [planner(built, captured, args, kwargs, form)(LEVELS["equivalent"])]
    with torch.no_grad():
        before = built(*copy.deepcopy(args), **copy.deepcopy(kwargs))
        after = lean(*args, **kwargs)
    assert near(before, after)


def near(before: Any, after: Any) -> bool:
    pairs = zip(
        torch.utils._pytree.tree_leaves(before),
        torch.utils._pytree.tree_leaves(after),
        strict=True,
    )
    return all(
        torch.allclose(one.double(), other.double(), rtol=1e-4, atol=1e-5 * (1 + one.abs().max()))
        for one, other in pairs
        if isinstance(one, torch.Tensor)
    )
