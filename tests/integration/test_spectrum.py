"""`srprof spectrum`: what it prints and draws of a network's modules."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srprof import models
from srprof.cli import main
from srprof.quality.images import read_image
from srprof.quality.metrics import luma
from srprof.quality.spectrum import Spectrum, spectra
from tests.made_up_images import photograph, save
from tests.shown import check_shown


@pytest.fixture
def image(tmp_path: Path) -> str:
    return str(save(photograph(40, 64), tmp_path / "lr.png"))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.manual_seed(5)
    torch.save(models.fmen_s().state_dict(), tmp_path / "fmen_s.pth")
    return str(tmp_path / "fmen_s.pth")


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["spectrum", *argv]) == 0
    captured = capsys.readouterr()
    figure = dict(pairwise(argv)).get("--figure")
    assert captured.err == (f"srprof: wrote {figure}\n" if figure else "")
    return captured.out


def refused(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    assert main(["spectrum", *argv]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    return captured.err


def test_the_hfabs_of_fmen(image, weights, capsys):
    """Its feature maps, taken by hand."""
    report = json.loads(
        printed(capsys, "fmen_s", "--weights", weights, "--image", image, "--format", "json")
    )
    assert report["schema"] == 1
    assert report["input"]["shape"] == [1, 3, 40, 64]
    assert [m["module"] for m in report["modules"]] == [
        "warmup.1",
        *(f"HFABs.{i}" for i in range(4)),
    ]
    torch.manual_seed(5)
    model = models.fmen_s().eval()
    pixels = read_image(image).pixels.transpose(2, 0, 1)[None] / 255
    with torch.no_grad():
        h = model.warmup[0](model.head(torch.from_numpy(np.ascontiguousarray(pixels)).float()))
        maps = [h, model.warmup[1](h)]
        for erb, hfab in zip(model.ERBs, model.HFABs, strict=True):
            maps.append(erb(maps[-1]))
            maps.append(hfab(maps[-1]))
    for item in report["modules"]:
        for side in ("before", "after"):
            expected = Spectrum(50, maps.pop(0)[0].double().mean(0).numpy())
            assert item[side]["shape"] == [50, 40, 64]
            assert item[side]["density"] == pytest.approx(expected.density.tolist(), rel=1e-5)
            assert sum(item[side]["density"]) == pytest.approx(1)
            assert item[side]["radius"][:3] == [0, 1 / 40, 2 / 40]


def test_any_network_by_module_name(image, capsys):
    text = printed(capsys, "imdn", "--image", image, "--module", "model.1.sub.?", "model.0")
    assert [line.split()[0] for line in text.splitlines()[5:15]] == [
        "model.0",
        *(f"model.1.sub.{i}" for i in range(9)),
    ]
    assert "3x40x64" in text


def test_networks_for_luma(image, tmp_path, capsys):
    (found,) = spectra("vdsr(scale=1)", image, ["input"]).modules
    assert np.array_equal(
        found.before.mean, (luma(read_image(image).pixels) / 255).astype(np.float32)
    )
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(1, 4, 3))\n"
    )
    assert "1x40x64" in printed(capsys, f"{net}:net", "--image", image, "--module", "0")


def test_the_range_of_values(image):
    one, hundreds = (
        spectra("fmen_s", image, ["head"], pixel_range=r).modules[0].before for r in (1, 255)
    )
    assert hundreds.mean == pytest.approx(255 * one.mean, rel=1e-5)
    assert hundreds.density == pytest.approx(one.density, rel=1e-4, abs=1e-12)


def test_it_shows_itself(image):
    found = spectra("fmen_s", image, ["head", "warmup.1"])
    check_shown(found, "1x3x40x64", "warmup.1", f"{found.modules[0].after.constant:.1%}"[:-1])


def test_csv_has_every_ring(image, capsys):
    argv = ("fmen_s", "--image", image, "--module", "head", "tail", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *argv))))
    for module in ("head", "tail"):
        for side in ("before", "after"):
            ours = [r for r in rows if (r["module"], r["side"]) == (module, side)]
            assert sum(float(row["density"]) for row in ours) == pytest.approx(1)
            assert [int(row["ring"]) for row in ours] == list(range(len(ours)))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_figure(ending, image, tmp_path, capsys):
    path = tmp_path / f"spectra.{ending}"
    argv = ("fmen_s", "--image", image, "--module", "warmup.1", "HFABs.3", "--figure", str(path))
    assert "HFABs.3" in printed(capsys, *argv)
    if ending == "svg":
        text = path.read_text()
        assert all(
            word in text for word in ("warmup.1", "HFABs.3", "map before", "share of the power")
        )
        assert text.count("<image") == 8  # two maps and two spectra of each
    elif ending == "png":
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert picture.shape[0] > 500
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 200
    else:
        assert path.read_bytes().startswith(b"%PDF")


def test_maps_of_another_size_have_other_rings(image, tmp_path, capsys):
    """The tail enlarges: nothing is said of what it moves, and the picture has no ratio."""
    path = tmp_path / "spectra.svg"
    argv = ("fmen_s", "--image", image, "--module", "tail", "--figure", str(path))
    (item,) = json.loads(printed(capsys, *argv, "--format", "json"))["modules"]
    assert (item["moved"], item["moved_of_rest"]) == (None, None)
    assert item["after"]["high_of_all"] > 0
    assert "tail" in path.read_text()


def test_the_same_figure_is_the_same_file(image, tmp_path, capsys):
    for name in ("a.svg", "b.svg"):
        printed(capsys, "fmen_s", "--image", image, "--figure", str(tmp_path / name))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_what_is_refused(image, tmp_path, capsys):
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "class Raises(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.ReLU())\n"
        "    def forward(self, x):\n"
        "        raise ValueError('no luck')\n"
        "class Idle(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.part = nn.ReLU()\n"
        "        self.hfab = nn.ReLU()\n"
        "    def forward(self, x):\n"
        "        return x\n"
    )
    base = ("fmen_s", "--image", image)
    assert "--module HFAB.0: FMEN has none, did you mean HFABs.0" in refused(
        capsys, *base, "--module", "HFAB.0"
    )
    assert "IMDN has no HFAB: name modules with --module" in refused(
        capsys, "imdn", "--image", image
    )
    assert "part: nothing of it ran on this image" in refused(
        capsys, f"{net}:Idle", "--image", image, "--module", "part"
    )
    error = refused(capsys, f"{net}:Raises", "--image", image, "--module", "*", code=3)
    assert "no luck" in error and "in Raises.forward" in error
    assert "cannot be read as an image" in refused(capsys, "fmen_s", "--image", str(net))
    assert "name a file that ends in .svg, .png, .pdf" in refused(
        capsys, *base, "--figure", "spectra.gif"
    )
    assert "--figure" in refused(capsys, *base, "--figure", str(tmp_path / "no" / "a.png"))
    assert "there is no file 'no.pth'" in refused(capsys, *base, "--weights", "no.pth")
    figure = tmp_path / "a.png"
    argv = ("--module", "*", "--figure", str(figure))
    assert "modules are more than one picture can show (24)" in refused(capsys, *base, *argv)
    assert not figure.exists()


def test_random_weights_are_named(image, weights):
    assert any("no --weights were given" in note for note in spectra("fmen_s", image).notes)
    given = spectra("fmen_s", image, weights=weights).notes
    assert not any("no --weights" in note for note in given)
    assert any("0 to 255 cannot be told" in note for note in given), "its weights are random"
