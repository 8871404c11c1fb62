"""Lean networks: the issue's figures, every bit as it was, and what is refused."""

from __future__ import annotations

import copy
import io
import pickle
import re
import warnings
from collections.abc import Callable
from functools import cache
from itertools import count, product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

import srprof
from srprof import models
from srprof.call import Call
from srprof.leaning import capture
from srprof.leaning.levels import LEVELS
from srprof.leaning.module import Lean
from srprof.leaning.run import Savings, bound_of, savings
from srprof.leaning.source import _origin
from srprof.memory.model import rounded
from srprof.workload import resolve
from tests.cpu_truth import by_the_allocator
from tests.random_networks import RandomNetwork, random_networks

MIB = 2**20

#: MiB at LR 510x510: the network as it is, and the most at each level, which is what was reached.
#: The limits that were set are higher: 303, 354, 291, 243 and 210 at `equivalent` for E-RFDN, IMDN,
#: Super, MegSR and rainbow, 170.8 for NEESR; elsewhere they are these, rounded up.
PEAKS = {
    "e_rfdn": (788.13, 451.16, 252.72),
    "imdn": (466.78, 403.28, 292.15),
    "fmen_s": (202.74, 169.00, 169.00),
    "rlfn": (375.68, 190.74, 190.74),  # ByteESR
    "neesr": (572.42, 158.85, 158.85),
    "repafdn": (662.70, 432.89, 242.39),  # Super
    "megsr": (638.76, 361.32, 202.57),
    "rainbow": (307.69, 236.25, 176.72),
}

#: At which the CPU's allocator is asked.
SHAPE = (1, 3, 64, 64)

levels = pytest.mark.parametrize("level", ["exact", "equivalent"])
#: What is not in the table, whose outputs are compared there.
others = pytest.mark.parametrize(
    "network", [n for n in models.ZOO if n.name not in PEAKS], ids=lambda network: network.name
)

some = settings(max_examples=25)


class Small(nn.Module):
    """A network with a residual, a concatenation, a batch norm and a list of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)])
        self.fuse = nn.Conv2d(32, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.norm(self.head(x))]
        for layer in self.body:
            maps.append(F.relu(layer(maps[-1])) + maps[-1])
        return F.pixel_shuffle(self.fuse(torch.cat(maps, 1)), 2)


class Coded(nn.Module):
    """A network of one function, with a convolution and a table to use."""

    def __init__(self, code: Callable[..., Any]) -> None:
        super().__init__()
        self.code = code
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.table = torch.tensor([0.5, -2.0, 3.0]).view(3, 1, 1)  # no buffer
        self.pos = nn.Parameter(torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8))

    def forward(self, x: Tensor) -> Any:
        return self.code(self, x)


def small() -> Small:
    torch.manual_seed(0)
    network = Small().eval()
    network.norm.running_mean.uniform_(-1, 1)
    network.norm.running_var.uniform_(0.5, 2)
    return network


def leaves(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def error(before: Any, after: Any) -> float:
    """The largest difference relative to the largest output; 0 only if every bit is the same."""
    assert pytree.tree_structure(before) == pytree.tree_structure(after)
    found = 0.0
    for one, other in zip(leaves(before), leaves(after), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if not torch.equal(one, other):
            difference = float((one.double() - other.double()).abs().max())
            found = max(found, difference / max(float(one.double().abs().max()), 1e-30), 1e-30)
    return found


def compare(network: nn.Module, lean: nn.Module, *shapes: tuple[int, ...]) -> float:
    """The largest error at these inputs; a lean network that falls back is an error."""
    found = 0.0
    like = next((p for p in network.parameters()), torch.empty(0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        for seed, shape in enumerate(shapes):
            torch.manual_seed(seed)
            image = torch.rand(shape).to(like.dtype)
            found = max(found, error(network(image.clone()), lean(image.clone())))
    return found


@pytest.fixture(scope="module", params=product(PEAKS, LEVELS), ids="-".join)
def lean_at_510(request: pytest.FixtureRequest) -> tuple[str, str, Savings]:
    """A network, a level, and what it saves at 510x510: made once for all that is asked of it."""
    name, level = request.param
    return name, level, savings(resolve(Call(name, ((1, 3, 510, 510),))), level)


def test_the_issues_table(lean_at_510: tuple[str, str, Savings]):
    name, level, found = lean_at_510
    eager, exact, equivalent = PEAKS[name]
    peaks = [stage.peaks["eager"] for stage in found.stages]
    assert round(peaks[0] / MIB, 2) == eager
    assert round(peaks[-1] / MIB, 2) <= (exact if level == "exact" else equivalent)
    assert peaks == sorted(peaks, reverse=True)  # no pass raises the peak
    assert [stage.name for stage in found.stages] == ["eager", *LEVELS[level]]
    assert peaks[0] == found.before.memory.eager.nbytes
    assert peaks[-1] == found.after.memory.eager.nbytes == found.bound  # no order is lower


@cache
def as_it_is(name: str) -> tuple[int, int]:
    """The same of a network of the zoo, for both levels."""
    return by_the_allocator(getattr(models, name)().eval())


def test_the_cpus_allocator_agrees(lean_at_510: tuple[str, str, Savings]):
    """Both peaks fall at 64x64."""
    name, _, found = lean_at_510
    for before, after in zip(as_it_is(name), by_the_allocator(found.lean), strict=True):
        assert after < before


def test_outputs_stay(lean_at_510: tuple[str, str, Savings]):
    """To the bit, or up to rounding."""
    _, level, found = lean_at_510
    shapes = [(1, 3, 21, 27), (2, 3, 20, 19)]
    limit = 0 if level == "exact" else 1e-5
    assert compare(found.lean.network.eval(), found.lean, *shapes) <= limit


@others
def test_outputs_of_the_zoo_stay_to_the_bit(network):
    torch.manual_seed(0)
    module = network.load()().eval()
    sizes = [(20, 20), (17, 23)] if network.channels == 3 else [(6, 6), (5, 7)]  # deep, at HR
    shapes = [(1, network.channels, *size) for size in sizes]
    lean = srprof.lean(module, shapes[0])
    analysis = srprof.analyze(lean, shapes[0])
    assert bound_of(lean.plans[0], analysis) == analysis.memory.eager.nbytes  # no order is lower
    assert compare(module, lean, *shapes) == 0


@some
@given(random_networks(wide=True))
def test_made_up_networks_stay_and_take_no_more(random: RandomNetwork):
    network = random.build().eval()
    reference = random.build().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # networks that keep values on `self` are refused
        lean = srprof.lean(network, random.asked)
        with torch.no_grad():
            for seed in range(2):
                mutated = random.example(seed), random.example(seed)
                assert error(reference(mutated[0]), lean(mutated[1])) == 0, random.source
                assert error(*mutated) == 0, random.source
        before = srprof.analyze(reference, random.asked).memory
        analysis = srprof.analyze(lean, random.asked)
        after = analysis.memory.eager.nbytes
        limit = before.planned if lean.plans else before.eager
        # tensors of the code's own, which may be views of weights there, a plan has copies of
        constants = [t for plan in lean.plans[:1] for t in plan.constants.values()]
        copies = sum(rounded(t.untyped_storage().nbytes()) for t in constants)
        assert after <= limit.nbytes + copies, random.source
        for plan in lean.plans[:1]:
            assert bound_of(plan, analysis) <= after, random.source


class Crops(nn.Module):
    """Crops a large feature map early, which at another size need not make a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 32, 3, padding=1)
        self.body = nn.Conv2d(32, 32, 3, padding=1, stride=2)
        self.tail = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.head(x)
        skip = F.pad(wide, (-8, -8, -8, -8))
        deep = F.interpolate(self.body(wide), size=skip.shape[-2:])
        return torch.relu(self.tail(deep)) + skip


def test_what_is_cropped_early_is_let_go_early():
    network, shape = Crops().eval(), (1, 3, 48, 48)
    lean = srprof.lean(network, shape)
    planned = srprof.analyze(network, shape).memory.planned.nbytes
    assert srprof.analyze(lean, shape).memory.eager.nbytes <= planned
    assert compare(network, lean, shape, (2, 3, 33, 50)) == 0


def test_folding_never_raises_the_peak():
    """The folded weights of these would stand beside two feature maps as large as before."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1)]
    for _ in range(3):
        layers += [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    network = nn.Sequential(*layers).eval()
    shape = (1, 3, 24, 24)
    exact, equivalent = (srprof.lean(network, shape, level=level) for level in LEVELS)
    peaks = [srprof.analyze(m, shape).memory.eager.nbytes for m in (network, exact, equivalent)]
    assert peaks[0] >= peaks[1] >= peaks[2]
    assert compare(network, equivalent, shape, (2, 3, 40, 31)) <= 1e-5


TRAPS = {
    "transposed": lambda net, x: (y := net.conv(x)) + y.permute(0, 1, 3, 2),
    "part of itself": lambda net, x: (y := net.conv(x)) * y[:, :1],
    "parameter": lambda net, x: x + torch.sigmoid(net.pos.view(3, 64)).sum(),
    "table at its size": lambda net, x: torch.sigmoid(
        net.pos[:, :, : x.shape[2], : x.shape[3]].reshape(1, 3, -1)
    ).sum() + x,
    "two results": lambda net, x: (y := net.conv(x), torch.relu(y), y[:, :1]),
    "the input": lambda net, x: {"x": x, "relu": torch.relu(x)},
    "a result twice": lambda net, x: [y := torch.relu(net.conv(x)), (y,)],
    "in place": lambda net, x: (y := net.conv(x)).mul_(2).add_(y.chunk(3, 1)[1].clone()),
    "written through a view": lambda net, x: (
        (y := net.conv(x))[:, :1].add_(1), torch.sigmoid(y), y.sum()
    )[1:],
    "the input is changed": lambda net, x: net.conv(x.add_(1)) + x,
    "literals": lambda net, x: x * torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1).abs(),
    "a tensor that is no buffer": lambda net, x: net.conv(x) * net.table.abs(),
    "python numbers": lambda net, x: x * x.shape[2] / (x.shape[3] - 0.5) ** 2 + float("1e-30"),
    "integers": lambda net, x: (net.conv(x) > 0).long().cumsum(1).float() + x,
    "table enlarged": lambda net, x: net.conv(x) + F.interpolate(net.pos, size=x.shape[-2:]),
    "sorted": lambda net, x: torch.topk(net.conv(x), 2, dim=1).values * 2,
    "whole by slices": lambda net, x: torch.sigmoid(net.conv(x)[:, :, 0:, : x.shape[3]]) * 2,
    "made where the input is": lambda net, x: (
        torch.sigmoid(net.conv(x)) * torch.arange(3.0, device=x.device).view(1, 3, 1, 1)
    ),
    "moved to where the input is": lambda net, x: (
        torch.sigmoid(net.conv(x)) * net.table.to(x.device, non_blocking=True).to(x)
    ),
    "shared": lambda net, x: net.conv(torch.relu(net.conv(x)) + net.conv(x)),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
@levels
def test_traps(trap: str, level: str):
    torch.manual_seed(0)
    network = Coded(TRAPS[trap]).eval()
    before = copy.deepcopy(network.state_dict())
    lean = srprof.lean(network, (1, 3, 6, 6), level=level)
    shapes = [(1, 3, 6, 6), (1, 3, 6, 6), (2, 3, 6, 6), (1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 5, 5)]
    assert compare(network, lean, *shapes) == 0
    after = lean.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    image = torch.rand(1, 3, 6, 6)
    images = image.clone(), image.clone()
    with torch.no_grad():
        network(images[0]), lean(images[1])
    assert torch.equal(*images)


@levels
def test_the_state_dict_is_the_networks(level: str):
    network = small()
    untouched = copy.deepcopy(network.state_dict())
    lean = srprof.lean(network, (1, 3, 16, 16), level=level)
    assert list(lean.state_dict()) == list(network.state_dict())
    assert [name for name, _ in lean.named_modules()] == [n for n, _ in network.named_modules()]
    other = copy.deepcopy(network)
    for tensor in other.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1.5)
    lean.load_state_dict(other.state_dict())
    assert compare(other, lean, (1, 3, 16, 16)) <= (0 if level == "exact" else 1e-5)
    lean.load_state_dict(untouched, assign=True)
    assert compare(network, lean, (1, 3, 16, 16)) <= (0 if level == "exact" else 1e-5)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, untouched[name])
    assert all(parameter.requires_grad for parameter in network.parameters())


def saved(lean: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(lean, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied", [lambda m: pickle.loads(pickle.dumps(m)), saved, copy.deepcopy],
    ids=["pickle", "torch.save", "deepcopy"],
)  # fmt: skip
@levels
def test_copies_are_as_lean(copied, level: str):
    network = small()
    lean = srprof.lean(network, (1, 3, 16, 16), level=level)
    other = copied(lean)
    assert isinstance(other, Lean)
    assert [plan.source for plan in other.plans] == [plan.source for plan in lean.plans]
    assert compare(lean, other, (1, 3, 16, 16), (1, 3, 9, 13)) == 0
    next(other.parameters()).data.mul_(2)
    assert compare(network, lean, (1, 3, 16, 16)) <= (0 if level == "exact" else 1e-5)


def test_other_sizes_need_no_other_plan():
    lean = srprof.lean(small(), (1, 3, 16, 16))
    assert compare(small(), lean, (1, 3, 16, 16), (1, 3, 33, 7), (1, 3, 64, 48)) == 0
    assert len(lean.plans) == 1
    assert compare(small(), lean, (2, 3, 16, 16), (5, 3, 8, 9)) == 0
    assert len(lean.plans) == 2  # one image is a plan of its own


@pytest.mark.filterwarnings("error:.*not lean in this call")
def test_a_plan_is_made_while_a_lean_network_is_analysed():
    lean, shape = srprof.lean(small(), (1, 3, 16, 16)), (2, 3, 16, 16)
    peaks = [srprof.analyze(network, shape).memory.eager.nbytes for network in (small(), lean)]
    assert peaks[1] < peaks[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_converted_network_is_the_converted_networks(dtype):
    network = small().to(dtype)
    lean = srprof.lean(small(), (1, 3, 16, 16)).to(dtype)
    assert compare(network, lean, (1, 3, 16, 16), (2, 3, 9, 13)) == 0
    if dtype == torch.float64:  # which srprof analyses do not take
        return
    made = srprof.lean(network, (1, 3, 16, 16))
    assert next(made.parameters()).dtype == dtype
    assert compare(network, made, (1, 3, 16, 16)) == 0


def test_a_literal_stays_what_it_was_when_the_network_is_converted():
    """A conversion changes parameters and buffers, never what the code makes."""

    class Scaled(nn.Module):
        def forward(self, x):
            return x * torch.tensor([1.1, 2.2, 3.3]).view(1, 3, 1, 1)

    lean = srprof.lean(Scaled().eval(), (1, 3, 8, 8))
    assert compare(Scaled(), lean, (1, 3, 8, 8)) == 0
    assert compare(Scaled(), lean.half(), (1, 3, 8, 8)) == 0


def test_layouts_other_than_the_examples():
    network = small()
    lean = srprof.lean(network, (1, 3, 16, 16))
    images = [
        torch.rand(1, 3, 16, 16).to(memory_format=torch.channels_last),
        torch.rand(1, 16, 12, 3).permute(0, 3, 1, 2),
        torch.rand(1, 3, 12, 16).transpose(2, 3),
        torch.rand(1, 3, 40, 40)[:, :, 4:20, 8:24],
        torch.rand(1, 1, 12, 16).expand(1, 3, 12, 16),
    ]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in images:
            before, after = network(image), lean(image)
            assert torch.equal(before, after)
            assert before.stride() == after.stride()
    network = network.to(memory_format=torch.channels_last)
    lean = lean.to(memory_format=torch.channels_last)
    assert compare(network, lean, (1, 3, 16, 16)) == 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("inside", [True, False])
def test_modes(mode, inside: bool):
    """Made in one mode, called in another."""
    network = small()
    if inside:
        with mode():
            lean = srprof.lean(network, (1, 3, 16, 16))
    else:
        lean = srprof.lean(network, (1, 3, 16, 16))
    image = torch.rand(1, 3, 16, 12)
    with mode():
        assert torch.equal(network(image), lean(image))
        assert torch.equal(network(image[..., :1]), lean(image[..., :1]))  # a plan made in it
    with torch.no_grad():
        assert torch.equal(network(image), lean(image))


class Chooses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class Reads(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.max().item()


class Picks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0.5]


class Statistics(nn.Module):
    """Changes its running statistics in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("variance", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.variance, training=True)


class Elsewhere(nn.Module):
    """Has a result that is on another device than its input."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, torch.zeros(3, device="meta")


@pytest.mark.parametrize(
    "network, reason",
    [
        (Chooses, "values of a tensor"),
        (Reads, "values? of a tensor"),
        (Picks, "size of a result depends on values|torch.export fails"),
        (Statistics, "running statistics"),
    ],
)
def test_networks_that_cannot_be_lean(network, reason: str):
    expected, plain = network().eval(), network().eval()
    with pytest.warns(UserWarning, match=f"cannot be lean: .*({reason})") as caught:
        lean = srprof.lean(plain, (1, 3, 8, 8))
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=reason) as caught, torch.no_grad():
        for seed in range(3):
            torch.manual_seed(seed)
            image = torch.rand(1, 3, 8, 8)
            assert error(expected(image), lean(image)) == 0
    assert len(caught) == 1
    for key, tensor in lean.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[key])


def test_a_network_that_puts_a_result_elsewhere_is_left_as_it_is():
    with pytest.warns(UserWarning, match="its code moves tensors to meta"):
        lean = srprof.lean(Elsewhere(), (1, 3, 8, 8))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        assert lean(torch.rand(1, 3, 8, 8))[1].is_meta


def test_training_mode_runs_the_network():
    network = small()
    lean = srprof.lean(network, (1, 3, 16, 16))
    network.train(), lean.train()
    image = torch.rand(2, 3, 16, 16)
    with pytest.warns(UserWarning, match="training mode") as caught:
        assert torch.equal(network(image), lean(image))
        assert torch.equal(network(image), lean(image))
    assert len(caught) == 1
    assert torch.equal(network.norm.running_mean, lean.norm.running_mean)
    assert compare(network.eval(), lean.eval(), (1, 3, 16, 16)) == 0


def test_gradients_run_the_network():
    network = small()
    lean = srprof.lean(network, (1, 3, 16, 16)).requires_grad_(True)
    image = torch.rand(1, 3, 16, 16)
    with pytest.warns(UserWarning, match="gradients") as caught:
        lean(image).sum().backward()
        lean(image)
    assert len(caught) == 1
    network(image).sum().backward()
    for one, other in zip(network.parameters(), lean.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_autocast_runs_the_network():
    network = small()
    lean = srprof.lean(network, (1, 3, 16, 16))
    image = torch.rand(1, 3, 16, 16)
    with (
        pytest.warns(UserWarning, match="autocast") as caught,
        torch.autocast("cpu", torch.bfloat16),
        torch.no_grad(),
    ):
        assert torch.equal(network(image), lean(image))
        assert torch.equal(network(image), lean(image))
    assert len(caught) == 1


class Padded(nn.Module):
    """Pads to a multiple of 8 where it must, as window attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        down, right = -height % 8, -width % 8
        if down or right:
            x = F.pad(x, (0, right, 0, down), mode="reflect")
        windows = x.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2))
        y = F.relu(self.conv(x)) + F.interpolate(windows, size=x.shape[-2:])
        return y[:, :, :height, :width]


class Branches(nn.Module):
    """Takes another way for large images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] * x.shape[3] > 200:
            return self.conv(F.avg_pool2d(x, 2))
        return self.conv(x) if x.shape[2] % 2 else self.conv(x) + 1


@pytest.mark.parametrize("network", [Padded, Branches])
@levels
def test_a_plan_for_each_way_that_the_code_takes(network, level: str):
    torch.manual_seed(0)
    plain = network().eval()
    lean = srprof.lean(plain, (1, 3, 16, 16), level=level)
    shapes = [(1, 3, 16, 16), (1, 3, 13, 16), (1, 3, 16, 13), (1, 3, 9, 11), (2, 3, 12, 12),
              (1, 3, 24, 24), (1, 3, 11, 30), (1, 3, 8, 8), (1, 3, 10, 20)]  # fmt: skip
    assert compare(plain, lean, *shapes, *shapes) == 0
    assert len(lean.plans) < len(shapes)


def test_a_network_whose_sizes_take_too_long_to_follow(monkeypatch):
    """Each size takes a plan; what the first attempt marked on the tensors does not stay."""
    monkeypatch.setattr(capture, "SYMBOLIC_SECONDS", 0.0)
    lean = srprof.lean(small(), (1, 3, 16, 16))
    assert "x.size(2) == 16" in lean.plans[0].conditions
    assert compare(small(), lean, (1, 3, 16, 16), (1, 3, 33, 7), (1, 3, 16, 16)) == 0
    assert len(lean.plans) == 2


@pytest.mark.parametrize("layers, any_size", [(10, True), (40, False)])
def test_sizes_are_followed_as_long_as_it_will_be_done_in_time(layers, any_size, monkeypatch):
    """Here a second for each module, of the 15 that there are; 40 modules would take twice that."""
    clock = count(0.0)
    monkeypatch.setattr(capture, "thread_time", lambda: next(clock))
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(layers))).eval()
    lean = srprof.lean(network, (1, 3, 16, 16))
    assert ("input.size(2) == 16" not in lean.plans[0].conditions) == any_size
    assert next(clock) < 15


def test_in_tiles_with_progress():
    network = nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.ReLU(), nn.PixelShuffle(2)).eval()
    told: list[tuple[int, int]] = []
    tiled = srprof.lean(
        network, (1, 3, 40, 40), tiles=(24, 24), progress=lambda done, of: told.append((done, of))
    )
    assert compare(network, tiled, (1, 3, 40, 37)) == 0
    assert told == [(number, 4) for number in (1, 2, 3, 4)]
    assert tiled.state_dict().keys() == network.state_dict().keys()


class Keeps(nn.Module):
    """Keeps feature maps on itself, and uses those of the call before."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None
        self.all: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.last = x if self.last is None else self.last + x
        self.all.append(self.last)
        return self.last * 2


def test_a_network_that_keeps_values_is_left_without_those_of_export():
    expected, plain = Keeps().eval(), Keeps().eval()
    with pytest.warns(UserWarning, match="cannot be lean"):
        lean = srprof.lean(plain, (1, 3, 8, 8))
    assert (lean.network.last, lean.network.all) == (None, [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            image = torch.rand(1, 3, 8, 8)
            assert torch.equal(expected(image), lean(image))


class WithAGraph(nn.Module):
    """A part is a traced graph, which the network calls, and another that it makes as it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.part = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.ReLU()))

    def forward(self, x: Tensor) -> Tensor:
        return copy.copy(self.part)(x) + self.part(x)


class Windows(nn.Module):
    """Attention within windows, whose sizes are long expressions, with parts whose names nest."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"norm": nn.LayerNorm(4), "mix@1": nn.Linear(4, 12)})
        self.parts["mix"] = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(3, 4, 3, padding=1))
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.parts["mix"][1](x)[..., ::2, ::2].permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape
        x = torch.nn.functional.pad(x, (0, 0, 0, -width % 4, 0, -height % 4))
        high, wide = x.shape[1] // 4, x.shape[2] // 4
        windows = self.parts["norm"](x).view(batch, high, 4, wide, 4, channels)
        windows = windows.permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, channels)
        query, key, value = self.parts["mix@1"](windows).chunk(3, -1)
        mixed = (query @ key.transpose(1, 2) * self.scale).softmax(-1) @ value
        mixed = self.parts["mix"][0](mixed).view(batch, high, wide, 4, 4, channels)
        mixed = mixed.permute(0, 1, 3, 2, 4, 5).reshape(batch, high * 4, wide * 4, channels)
        return x + mixed + torch.arange(channels)


@pytest.mark.parametrize(
    ("made", "layout"), [(WithAGraph, torch.channels_last), (Windows, torch.contiguous_format)]
)
def test_a_quick_export_is_the_same(made, layout):
    network = made().eval().requires_grad_(requires_grad=False).to(memory_format=layout)
    image = torch.rand(2, 3, 18, 16).to(memory_format=layout)
    plain = capture.capture.__wrapped__(network, (image,), {})
    quick = capture.capture(network, (image,), {})
    assert str(quick.graph) == str(plain.graph)
    assert {*quick.conditions} <= {*plain.conditions}
    values = [[str(node.meta.get("val")) for node in found.graph.nodes] for found in (quick, plain)]
    assert values[0] == values[1]
    assert quick.constants.keys() == plain.constants.keys()
    assert quick.result == plain.result
    lines = ["\n".join(map(_origin, found.graph.nodes)) for found in (quick, plain)]
    assert len({re.sub(r"key>\.\d+", "", line) for line in lines}) == 1
    assert "test_lean.py" in lines[0]
    lean = srprof.lean(network, image)
    for size in ((2, 3, 18, 16), (3, 3, 33, 7)):
        other = torch.rand(size).to(memory_format=layout)
        assert torch.equal(lean(other), network(other))


def test_modules_of_an_export_are_not_compiled(monkeypatch):
    network = WithAGraph().eval().requires_grad_(requires_grad=False)
    image = torch.rand(1, 3, 16, 16)
    compiled: list[GraphModule] = []
    recompile = capture._recompile
    monkeypatch.setattr(capture, "_recompile", lambda m: (compiled.append(m), recompile(m)))
    capture.capture(network, (image,), {})
    assert len(compiled) <= 2  # the network's own graph, which it calls twice
    assert torch.equal(srprof.lean(network, image)(image), network(image))
    assert GraphModule.recompile is recompile
