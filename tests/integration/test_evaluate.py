"""`srprof evaluate`: what it prints is what its images are worth."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from math import inf
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import nn

import srprof
from srprof import models
from srprof.cli import main
from srprof.measuring.cuda import CudaBackend
from srprof.quality import upscaling
from srprof.quality.images import read_image, to_bits8
from srprof.quality.metrics import luma, luma8, modcrop, psnr, ssim
from srprof.quality.record import FILE
from srprof.quality.resize import bicubic
from srprof.registry import networks
from tests.fake_cuda import Blur, FakeCuda, running_on
from tests.made_up_images import photograph, png_of_16_bits, save
from tests.shown import check_shown


class Same(nn.Module):
    """Does not enlarge: its LR image is enlarged for it."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, self.weight, groups=len(self.weight))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """LR and HR images of odd sizes, the LR images by bicubic."""
    for i, (height, width) in enumerate([(77, 90), (97, 83)]):
        image = photograph(height, width, 40 + 30 * i, 150)
        save(image, tmp_path / "hr" / f"080{i}.png")
        small = to_bits8(bicubic(modcrop(image, 4), Fraction(1, 4)))
        save(small, tmp_path / "lr" / f"080{i}x4.png")
    return tmp_path / "lr", tmp_path / "hr"


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> dict:
    assert main(["evaluate", *map(str, argv), "--device", "cpu", "--format", "json"]) == 0
    captured = capsys.readouterr()
    wrote = "--save" in map(str, argv)
    assert captured.err.startswith("srprof: wrote ") if wrote else captured.err == ""
    assert captured.err.count("\n") == wrote  # progress is for terminals
    return json.loads(captured.out, parse_constant=lambda name: pytest.fail(name))


# -- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["fmen_s", "imdn", "e_rfdn", "srcnn", "lapsrn", "bicubic"])
def test_networks_of_the_zoo(spec, folders, tmp_path, capsys):
    """The figures are those of the images that it saved, and they are the network's."""
    lr, hr = folders
    record = run(capsys, spec, "--lr", lr, "--hr", hr, "--save", tmp_path / "sr")
    network = getattr(models, spec)
    torch.manual_seed(0)
    model = network().eval()
    for image in record["images"]:
        truth = modcrop(read_image(hr / f"{image['name']}.png").bits8, 4)
        made = read_image(tmp_path / "sr" / f"{image['name']}x4.png").bits8
        assert image["rgb"]["psnr_dB"] == psnr(made, truth, 4)
        assert image["rgb"]["ssim"] == ssim(made, truth, 4)
        small = read_image(lr / f"{image['name']}x4.png").pixels
        assert image["lr_size"] == list(small.shape[:2])
        enlarged = to_bits8(bicubic(small, 4))
        assert image["bicubic_rgb_dB"] == psnr(enlarged, truth, 4)
        assert image["bicubic_y_dB"] == psnr(luma8(enlarged), luma8(truth), 4)
        planes = luma(small)[None] if is_luma(spec) else small.transpose(2, 0, 1)
        tensor = torch.from_numpy(np.ascontiguousarray(planes[None]) / 255).float()
        with torch.no_grad():
            result = model(tensor)[0].double().numpy()
        if is_luma(spec):
            y = to_bits8(255 * result[0])
        else:
            assert np.array_equal(made, to_bits8(255 * result.transpose(1, 2, 0)))
            y = luma8(made)
        assert image["y"]["psnr_dB"] == psnr(y, luma8(truth), 4)
        assert image["y"]["ssim"] == ssim(y, luma8(truth), 4)
        assert image["runtime_ms"] > 0
    mean = record["mean"]
    assert mean["rgb"]["psnr_dB"] == fmean(i["rgb"]["psnr_dB"] for i in record["images"])
    assert mean["y"]["ssim"] == fmean(i["y"]["ssim"] for i in record["images"])


@pytest.mark.parametrize("name", [n.name for n in networks() if n.scale is not None])
def test_every_network_of_the_zoo_that_enlarges(name, tmp_path):
    height, width = (33, 39) if is_luma(name) else (65, 70)  # deep at HR, or with ESA
    hr = save(photograph(height, width), tmp_path / "a.png")
    found = srprof.evaluate(name, hr=hr, device="cpu")
    (image,) = found.images
    assert (found.scale, image.lr_size) == (4, (height // 4, width // 4))
    assert 0 < image.rgb.psnr_dB < 40
    assert image.measured_peak >= image.predicted_peak  # which knows of no scratch


def is_luma(spec: str) -> bool:
    return srprof.registry.find(spec).channels == 1


def test_without_lr_images_they_are_made_by_bicubic(folders, capsys):
    lr, hr = folders
    given = run(capsys, "fmen_s", "--lr", lr, "--hr", hr)
    made = run(capsys, "fmen_s", "--hr", hr)
    assert (given["lr"], made["lr"]) == (str(lr), "")
    for one, other in zip(given["images"], made["images"], strict=True):
        assert (one["rgb"], one["y"]) == (other["rgb"], other["y"])


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_does_not_enlarge_gets_bicubic(channels, scale, folders):
    found = srprof.evaluate(Same(channels), hr=folders[1], scale=scale, device="cpu")
    for image in found.images:
        assert image.rgb.psnr_dB == pytest.approx(image.bicubic_rgb_dB, abs=0.01)
        assert image.y.psnr_dB == pytest.approx(image.bicubic_y_dB, abs=0.05)  # not via RGB


def test_the_sizes_say_the_scale(folders):
    lr, hr = folders
    assert srprof.evaluate(Same(), lr=lr, hr=hr, device="cpu").scale == 4


def test_vdsr_as_published(folders, capsys):
    """The network itself on the luma of the enlarged image; chroma is bicubic's."""
    record = run(capsys, "vdsr(scale=1, depth=3)", "--hr", folders[1], "--scale", 4)
    torch.manual_seed(0)
    model = models.vdsr(scale=1, depth=3).eval()
    truth = modcrop(read_image(folders[1] / "0800.png").bits8, 4)
    small = to_bits8(bicubic(truth, Fraction(1, 4))).astype(float)
    with torch.no_grad():
        y = model(torch.from_numpy(luma(bicubic(small, 4))[None, None] / 255).float())
    y8 = to_bits8(255 * y[0, 0].double().numpy())
    assert record["images"][0]["y"]["psnr_dB"] == pytest.approx(psnr(y8, luma8(truth), 4), abs=0.02)


def test_pixel_range(folders):
    class Halves(nn.Module):
        """Adds half of a range of 1: visible only if that is its range."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 0.5

    one, hundreds = (
        srprof.evaluate(Halves(), hr=folders[1], scale=4, pixel_range=r, device="cpu")
        for r in (1, 255)
    )
    assert one.mean.rgb.psnr_dB < 10
    assert hundreds.mean.rgb.psnr_dB == pytest.approx(hundreds.mean.bicubic_rgb_dB, abs=0.05)
    assert "--range 255 is the other way" in one.notes[-1]
    assert hundreds.notes == ()


def test_identical_images(folders, tmp_path, capsys):
    """Infinite in every format, and left out of the mean."""
    image = photograph(40, 40)
    save(image, tmp_path / "both" / "a.png")
    save(image, tmp_path / "low" / "a.png")
    other = image.copy()
    other[20, 20] += 9
    save(image, tmp_path / "both" / "b.png")
    save(other, tmp_path / "low" / "b.png")
    net = tmp_path / "net.py"
    net.write_text("from torch import nn\nNet = nn.Identity\n")
    argv = [f"{net}:Net", "--lr", tmp_path / "low", "--hr", tmp_path / "both"]
    record = run(capsys, *argv)
    same, differs = record["images"]
    assert (same["rgb"], same["y"]) == ({"psnr_dB": None, "ssim": 1}, {"psnr_dB": None, "ssim": 1})
    assert record["mean"]["rgb"]["psnr_dB"] == differs["rgb"]["psnr_dB"]
    assert (record["mean"]["same_rgb"], record["mean"]["same_y"]) == (1, 1)
    assert main(["evaluate", *map(str, argv), "--format", "csv", "--device", "cpu"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(rows[0]["psnr_rgb_dB"]) == inf
    assert main(["evaluate", *map(str, argv), "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "1 of 2 images are the same as their HR image, of infinite PSNR" in text
    assert "inf" in text.splitlines()[6]


@pytest.mark.parametrize("kind", ["grey", "rgba", "16", "grey16", "jpg"])
def test_kinds_of_images(kind, tmp_path):
    image = photograph(45, 50)
    hr = tmp_path / "hr"
    hr.mkdir()
    if kind == "grey":
        save(image[..., 1], hr / "a.png")
    elif kind == "rgba":
        alpha = np.full((45, 50, 1), 200, np.uint8)
        save(np.concatenate([image, alpha], axis=2), hr / "a.png")
    elif kind == "jpg":
        save(image, hr / "a.jpg")
    else:
        samples = image.astype(int) * 257 + 3
        (hr / "a.png").write_bytes(png_of_16_bits(samples[..., 0] if "grey" in kind else samples))
    found = srprof.evaluate("bicubic", hr=hr, device="cpu")
    assert 20 < found.mean.rgb.psnr_dB < 40
    plain = save(image, tmp_path / "plain" / "a.png").parent
    if kind in ("rgba", "16"):
        assert found.images[0].rgb == srprof.evaluate("bicubic", hr=plain, device="cpu").mean.rgb
    assert found.notes == (("an alpha channel was left out: a",) if kind == "rgba" else ())


# -- networks -------------------------------------------------------------------------------------


def test_a_user_s_file_and_its_weights(folders, tmp_path, capsys):
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, nf=4):\n"
        "        super().__init__(nn.Conv2d(1, nf, 3, padding=1), nn.PixelShuffle(2))\n"
    )
    spec = f"{net}:Net"
    state = {"0.weight": torch.zeros(4, 1, 3, 3), "0.bias": torch.full((4,), 0.5)}
    torch.save(state, tmp_path / "net.pth")
    record = run(
        capsys,
        spec,
        "--weights",
        tmp_path / "net.pth",
        "--hr",
        folders[1],
        "--save",
        tmp_path / "s",
    )
    assert record["scale"] == 2  # and one channel, which nobody said
    made = read_image(tmp_path / "s" / "0800x2.png").bits8
    assert abs(luma(made)[20:60, 20:60].mean() - 127.5) < 3  # clipped colours change it


def test_a_checkpoint_by_itself_and_in_another_form(folders, tmp_path, capsys):
    torch.manual_seed(3)
    train = models.fmen_s(form="train").eval()
    torch.save(train.state_dict(), tmp_path / "train.pth")
    torch.save(models.fmen_s.merge(train).state_dict(), tmp_path / "merged.pth")
    hr = folders[1]
    merged = run(capsys, "fmen_s", "--weights", tmp_path / "merged.pth", "--hr", hr)
    alone = run(capsys, tmp_path / "merged.pth", "--hr", hr)
    assert merged["mean"]["rgb"] == alone["mean"]["rgb"]
    assert "training form" not in str(alone["notes"])
    trained = run(capsys, tmp_path / "train.pth", "--hr", hr)
    assert trained["mean"]["rgb"]["psnr_dB"] == pytest.approx(
        merged["mean"]["rgb"]["psnr_dB"], abs=1e-4
    )
    assert "srprof merge" in trained["notes"][0]
    argv = ["evaluate", "fmen_s", "--weights", str(tmp_path / "train.pth"), "--hr", str(hr)]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert "is the training form" in error and "srprof merge CHECKPOINT -o OUT" in error
    assert error.count("\n") == 1


def test_random_weights_are_said_and_the_same_each_time(folders, capsys):
    first = run(capsys, "fmen_s", "--hr", folders[1])
    torch.rand(3)
    second = run(capsys, "fmen_s", "--hr", folders[1])
    assert first["mean"]["rgb"] == second["mean"]["rgb"]
    assert "no --weights were given" in first["notes"][0]


def test_tiles_give_the_same(folders, tmp_path, capsys):
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))\n"
    )
    argv = [f"{net}:Net", "--hr", folders[1]]
    whole = run(capsys, *argv)
    tiled = run(capsys, *argv, "--tile", "12x16")
    assert (whole["tile"], tiled["tile"]) == (None, [12, 16])
    assert tiled["mean"]["rgb"]["psnr_dB"] == pytest.approx(
        whole["mean"]["rgb"]["psnr_dB"], abs=1e-3
    )
    assert max(i["predicted_peak"] for i in tiled["images"]) < whole["images"][1]["predicted_peak"]
    given = run(capsys, *argv, "--tile", 12, "--halo", 0)
    assert "the halo of 0 was given" in given["notes"][-1]


# -- memory and time ------------------------------------------------------------------------------


def test_peaks_on_the_cpu(folders):
    """Predicted without scratch; on one thread a network that only copies takes hardly any."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = srprof.evaluate(Same(), hr=folders[1], scale=4, device="cpu")
    finally:
        torch.set_num_threads(threads)
    measured = [image.measured_peak for image in found.images]
    assert [m is not None for m in measured] == [i is found.largest for i in found.images]
    top = found.largest
    pixels = 3 * 4 * 16 * top.lr_size[0] * top.lr_size[1]
    assert top.predicted_peak == 2 * pixels + 12
    assert top.measured_peak >= top.predicted_peak
    assert top.measured_peak < 4 * pixels


def test_on_a_gpu_that_is_a_fake(folders, monkeypatch):
    """Runtime by CUDA's events, the peak by its allocator, image by image."""
    cuda = FakeCuda(times=(7.0, 9.0))
    backend = CudaBackend(cuda=cuda, where="cpu", nvml=lambda uuid: (None, "no NVML"))
    monkeypatch.setattr(upscaling, "CudaBackend", lambda device: backend)
    with running_on(cuda):
        found = srprof.evaluate(Blur(1000), hr=folders[1], scale=4, device="cuda")
    assert [image.runtime_ms for image in found.images] == [7.0, 9.0]
    sizes = [3 * 4 * 16 * h * w for h, w in (image.lr_size for image in found.images)]
    blocks = [512 * (-(-size // 512) + 2) for size in sizes]
    assert [image.measured_peak for image in found.images] == blocks
    assert found.device.name == "Fake GPU"
    assert "max_memory_allocated" in found.peak_is


def test_a_gpu_too_small_for_an_image(folders, monkeypatch):
    cuda = FakeCuda(memory=20_000)
    backend = CudaBackend(cuda=cuda, where="cpu", nvml=lambda uuid: (None, "no NVML"))
    monkeypatch.setattr(upscaling, "CudaBackend", lambda device: backend)
    with running_on(cuda), pytest.raises(srprof.DeviceMemoryError, match="give --tile"):
        srprof.evaluate(Blur(1000), hr=folders[1], scale=4, device="cuda")


# -- output ---------------------------------------------------------------------------------------


def test_the_record_comes_back(folders, tmp_path):
    found = srprof.evaluate("bicubic", hr=folders[1], device="cpu")
    path = tmp_path / "record.json"
    path.write_text(found.to_json())
    assert FILE.is_one(path)
    assert FILE.load(path) == found
    assert json.loads(found.to_json())["schema"] == 1
    assert "bicubic on 2 images" in repr(found)
    check_shown(found, "bicubic, x4, on", "0800", f"{found.mean.rgb.psnr_dB:.2f}")


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_text_and_markdown(form, folders, capsys):
    assert (
        main(["evaluate", "bicubic", "--hr", str(folders[1]), "--format", form, "--device", "cpu"])
        == 0
    )
    text = capsys.readouterr().out
    found = srprof.evaluate("bicubic", hr=folders[1], device="cpu")
    for image in found.images:
        assert f"{image.rgb.psnr_dB:.2f}" in text
        assert f"{image.y.ssim:.4f}" in text
    assert f"{found.mean.bicubic_rgb_dB:.2f}" in text
    assert f"predicted {found.largest.predicted_peak / 2**20:.2f} MiB" in text
    assert ("| image" in text) == (form == "markdown")


def test_rank_takes_it(folders, tmp_path, capsys):
    path = tmp_path / "fmen_s.json"
    argv = ["fmen_s", "--hr", str(folders[1]), "--device", "cpu", "--format", "json"]
    assert main(["evaluate", *argv, "-o", str(path)]) == 0
    assert main(["rank", "fmen_s", "imdn", "--record", str(path), "--format", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    record = json.loads(path.read_text())
    assert rows["fmen_s"]["psnr_dB"] == record["mean"]["rgb"]["psnr_dB"]
    origin = rows["fmen_s"]["origins"]["psnr_dB"]
    assert (origin["kind"], origin["source"]) == ("measured", str(path))
    assert "2 images" in origin["what"]
    assert rows["imdn"]["origins"]["psnr_dB"]["kind"] == "published"
    assert main(["rank", "--record", str(path)]) == 0  # the record names the model
    assert "measured on" in capsys.readouterr().out


def test_rank_refuses_what_does_not_fit(folders, tmp_path, capsys):
    path = tmp_path / "record.json"
    found = srprof.evaluate("bicubic", hr=folders[1], device="cpu")
    record = found.to_dict()

    def ranked(**changes: object) -> str:
        path.write_text(json.dumps(record | changes))
        assert main(["rank", "fmen_s", "--record", str(path)]) == 2
        return capsys.readouterr().err

    assert "is of bicubic, which is not among the models" in ranked()
    assert "is another network (its parameters differ)" in ranked(spec="fmen_s")
    assert "has schema 2" in ranked(schema=2)
    assert "is damaged: images is 3, not a list" in ranked(images=3)
    assert "is damaged: there are no images" in ranked(images=[])


# -- the range of values --------------------------------------------------------------------------


class Checkpoint(nn.Module):
    """Bicubic's image in one range of values; in another it saturates, as trained biases do."""

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.interpolate(x, scale_factor=4, mode="bicubic")
        dark = (0.5 * self.largest - y.max()).relu()
        return y.clamp(0, self.largest) + dark


@pytest.mark.parametrize("largest", [1, 255])
def test_the_range_that_a_checkpoint_wants_is_found_on_one_image(largest, folders):
    network = Checkpoint(largest)
    found, given = (
        srprof.evaluate(network, hr=folders[1], scale=4, pixel_range=r, device="cpu")
        for r in (None, largest)
    )
    assert found.pixel_range == largest
    assert [image.rgb for image in found.images] == [image.rgb for image in given.images]
    (note,) = found.notes
    assert note.startswith(f"it takes values of 0 to {largest} (PSNR of its result, shrunk")
    assert "on 0800.png); --range says otherwise" in note
    assert given.notes == ()


class Detailed(nn.Module):
    """Bicubic's image in the wrong range of values; in its own, detail that the LR image implies.

    As MegSR's checkpoint, whose biases drown the detail of values that are 255 times too small.
    """

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def resized(image: torch.Tensor, factor: float) -> torch.Tensor:
            return torch.nn.functional.interpolate(
                image, scale_factor=factor, mode="bicubic", antialias=factor < 1
            )

        plain = detailed = resized(x, 4)
        for _ in range(3):
            detailed = detailed + resized(x - resized(detailed, 0.25), 4)
        most = x.max() / self.largest
        return torch.where((most > 0.5) & (most < 2), detailed, plain)


@pytest.mark.parametrize("largest", [1, 255])
def test_the_wrong_range_may_be_the_nearer_one_to_bicubic(largest, folders):
    found = srprof.evaluate(Detailed(largest), hr=folders[1], scale=4, device="cpu")
    other = srprof.evaluate(
        Detailed(largest), hr=folders[1], scale=4, device="cpu", pixel_range=256 - largest
    )
    assert found.pixel_range == largest
    assert found.mean.rgb.psnr_dB > other.mean.rgb.psnr_dB
    assert other.mean.rgb.psnr_dB == pytest.approx(other.mean.bicubic_rgb_dB, abs=1)


def test_a_range_that_it_cannot_take_is_not_its_range(folders):
    class Picky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.nn.functional.interpolate(x, scale_factor=4, mode="bicubic")
            return y / (x.max() > 2)  # infinite of values up to 1

    found = srprof.evaluate(Picky(), hr=folders[1], scale=4, device="cpu")
    assert found.pixel_range == 255
    assert ": none with 0 to 1, " in found.notes[0]


def test_where_both_ranges_give_the_same_nothing_is_said(folders):
    assert srprof.evaluate(Same(), hr=folders[1], scale=4, device="cpu").notes == ()


def test_where_neither_looks_like_the_image_that_is_said(folders, tmp_path):
    """Of weights that were given; random ones are named as such already."""
    torch.manual_seed(5)
    torch.save(models.fmen_s().state_dict(), tmp_path / "fmen_s.pth")
    found = srprof.evaluate(
        "fmen_s", hr=folders[1], weights=str(tmp_path / "fmen_s.pth"), device="cpu"
    )
    assert found.pixel_range == 1
    assert any("cannot be told, so 0 to 1 is taken" in note for note in found.notes)


@pytest.mark.parametrize("spec", ["fmen_s", "idn"])
def test_random_weights_have_no_range(spec, folders):
    """IDN's, which add noise to bicubic's image, add less to 255 times as much."""
    found = srprof.evaluate(spec, hr=folders[1], device="cpu")
    assert found.pixel_range == 1
    assert [note for note in found.notes if "range" in note] == []


def test_a_higher_peak_of_the_cpu_is_explained(folders):
    found = srprof.evaluate("fmen_s", hr=folders[1], device="cpu")
    over = (found.largest.measured_peak - found.largest.predicted_peak) / 2**20
    assert over > 0
    assert f"The {over:.2f} MiB more are scratch that the CPU's library takes" in str(found)
    assert not any("warning filters" in note for note in found.notes)
