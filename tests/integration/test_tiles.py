"""Networks in tiles: the halo that is found, the result that stays, the memory that is taken."""

from __future__ import annotations

import copy
import io
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import srprof
from srprof import models
from srprof.call import Call
from srprof.errors import InputError
from srprof.leaning.run import savings
from srprof.tiling.locality import locality
from srprof.tiling.tiled import Tiled
from srprof.workload import resolve


class Convolutions(nn.Module):
    """Two convolutions and a pixel shuffle; it looks two pixels far and one in HR."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 5, padding=2)
        self.tail = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.tail(F.pixel_shuffle(F.relu(self.head(image)), 2))


class Unshuffled(nn.Module):
    """Works on pairs of pixels, so tiles must begin at even ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(12, 48, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return F.pixel_shuffle(self.body(F.pixel_unshuffle(image, 2)), 4)


class Resized(nn.Module):
    """Enlarges by one and a half and makes a third of it, in images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        enlarged = F.interpolate(self.body(image), scale_factor=1.5)
        return F.pixel_shuffle(F.avg_pool2d(enlarged, 3), 2)


class Squeezed(nn.Module):
    """A map that is a third of the image's size, whatever that is, and back."""

    def forward(self, image: Tensor) -> Tensor:
        small = F.max_pool2d(image, 7, 3)
        return F.interpolate(small, image.shape[-2:], mode="bilinear")


class Hidden(nn.Module):
    """A comparison hides the NaN, so that only the proof shows how far it looks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 9, padding=4)

    def forward(self, image: Tensor) -> Tensor:
        return torch.where(self.body(image) > 0, image, -image)


class Pooled(nn.Module):
    """Channel attention: each pixel depends on the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return image * F.adaptive_avg_pool2d(self.body(image), 1)


class Normalised(Pooled):
    """Instance normalisation: statistics of the whole image."""

    def forward(self, image: Tensor) -> Tensor:
        return F.instance_norm(self.body(image))


class Positioned(nn.Module):
    """What a pixel becomes depends on where it is."""

    def forward(self, image: Tensor) -> Tensor:
        return image * torch.linspace(0, 1, image.shape[-1], dtype=image.dtype)


class Fixed(nn.Module):
    """Takes one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 3, 48, 48))

    def forward(self, image: Tensor) -> Tensor:
        return image + self.position


class InPlace(Convolutions):
    """Changes its input."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.sub_(0.5))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("network", "halo", "multiple"),
    [(Convolutions(), 3, 1), (Unshuffled(), 3, 2), (Resized(), 1, 2), (Hidden(), 4, 1)],
    ids=lambda value: type(value).__name__,
)
def test_a_local_networks_halo(network: nn.Module, halo: int, multiple: int) -> None:
    found = locality(network)

    assert (found.local, found.multiple) == (True, multiple)
    assert halo <= found.halo <= halo + multiple
    assert found.difference < 1e-12


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Pooled(), "mean depends on the whole image"),
        (Normalised(), "depends on the whole image"),
        (Positioned(), "depends on where a tile begins"),
        (Fixed(), "images of 48x48 only"),
        (Squeezed(), r"upsample_bilinear2d resizes to the image's size \(20x20 to 64x64 in"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_why_a_network_is_not_local(network: nn.Module, reason: str) -> None:
    found = locality(network)

    assert not found.local
    assert re.search(reason, found.reason)
    with pytest.raises(InputError, match=reason):
        Tiled(network, 32)


def test_the_papers_networks() -> None:
    assert locality(models.fmen_s()).halo == 34
    found = locality(models.neesr())

    assert not found.local
    assert "upsample_bilinear2d in B1.esa resizes to the image's size" in found.reason
    assert "cca" in locality(models.imdn_715k()).reason


def test_a_refusal_comes_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compared for a resizing network, and nothing is rewritten for tiles too small."""
    monkeypatch.setattr("srprof.tiling.locality._proved", lambda *_: pytest.fail("compared"))
    assert not locality(Squeezed()).local
    monkeypatch.undo()
    monkeypatch.setattr("srprof.leaning.run.capture_call", lambda *_: pytest.fail("captured"))
    for network, tiles in ((Pooled(), (32, 32)), (Convolutions(), (6, 6))):
        with pytest.raises(InputError, match=r"mean depends on the whole image|give at least 7"):
            savings(resolve(Call(network, ((1, 3, 48, 48),))), tiles=tiles)


def test_the_network_is_left_as_it_is() -> None:
    network = Convolutions().half().train()
    before = copy.deepcopy(network.state_dict())

    assert locality(network).local
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_channel_count_that_it_does_not_take_is_refused() -> None:
    with pytest.raises(InputError, match="takes no image of 7 channels"):
        locality(Convolutions(), channels=7)


@pytest.mark.parametrize("size", [(40, 61), (16, 16), (5, 90), (33, 17)])
@pytest.mark.parametrize("network", [Convolutions(), InPlace()], ids=lambda n: type(n).__name__)
def test_tiles_give_the_whole_images_result(network: nn.Module, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    network = network.double().eval()
    tiled = Tiled(network, (17, 20))
    with torch.no_grad():
        whole = network(image.clone())
        found = tiled(image.clone())

    assert found.shape == whole.shape
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-14)


def test_a_smaller_halo_gives_another_result() -> None:
    network, image = Convolutions().double(), torch.rand(1, 3, 40, 40, dtype=torch.float64)
    with torch.no_grad():
        whole = network(image)
        assert not torch.allclose(Tiled(network, 16, halo=2)(image), whole)
        assert torch.allclose(Tiled(network, 16, halo=3)(image), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_memory_format(dtype: torch.dtype) -> None:
    network = Convolutions().to(dtype).to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 40, 50).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        whole, found = network(image), Tiled(network, 20)(image)

    assert found.dtype == dtype
    assert found.stride() == whole.stride()
    torch.testing.assert_close(found, whole)


def test_gradients_pass_through() -> None:
    network, image = Convolutions().double(), torch.rand(1, 3, 30, 30, dtype=torch.float64)
    network(image).sum().backward()
    whole = network.head.weight.grad.clone()
    network.zero_grad()
    Tiled(network, 16)(image).sum().backward()

    torch.testing.assert_close(network.head.weight.grad, whole)


def test_state_dict_is_the_networks() -> None:
    network = Convolutions()
    tiled = Tiled(network, 16, halo=3)
    pair = nn.ModuleDict({"first": Tiled(Convolutions(), 16, halo=3), "second": Convolutions()})
    plain = nn.ModuleDict({"first": Convolutions(), "second": Convolutions()})

    assert list(tiled.state_dict()) == list(network.state_dict())
    assert list(pair.state_dict()) == list(plain.state_dict())
    tiled.load_state_dict(Convolutions().state_dict())
    pair.load_state_dict(plain.state_dict())
    assert torch.equal(pair["first"].module.head.weight, plain["first"].head.weight)


def test_pickles_without_its_progress() -> None:
    told: list[tuple[int, int]] = []
    tiled = Tiled(Convolutions(), 16, progress=lambda done, total: told.append((done, total)))
    image = torch.rand(1, 3, 30, 20)
    again = pickle.loads(pickle.dumps(tiled))
    saved = io.BytesIO()
    torch.save(tiled, saved)

    assert torch.equal(again(image), tiled(image))
    assert told == [(i, 6) for i in range(1, 7)]
    assert again.progress is None


def test_what_gives_no_image_is_refused() -> None:
    shrinking = nn.Conv2d(3, 3, 2, stride=2)
    with pytest.raises(InputError, match="1x3x8x8 for a tile of 16x16"):
        Tiled(shrinking, 16, halo=0)(torch.rand(1, 3, 40, 40))
    with pytest.raises(InputError, match="one image NxCxHxW"):
        Tiled(Convolutions(), 16, halo=3)(torch.rand(3, 40, 40))
    with pytest.raises(InputError, match="give at least 7"):
        Tiled(Convolutions(), 6, halo=3)


def test_beside_image_and_result_one_tile_is_alive() -> None:
    tiled = srprof.analyze(Tiled(models.fmen_s(), 96), (1, 3, 250, 170))
    tile = srprof.analyze("fmen_s", (1, 3, 96, 96))
    image, result = 4 * 3 * 250 * 170, 4 * 3 * 1000 * 680

    expected = tile.requested.eager.nbytes + image + result
    assert tiled.requested.eager.nbytes == pytest.approx(expected, rel=1e-3)
    assert tiled.requested.eager.nbytes <= expected
