"""What `srprof evaluate` refuses: one line that says what is wrong, and nothing half-written."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import srprof
from srprof.cli import main
from srprof.quality import images, run
from tests.made_up_images import photograph, save

NETS = """\
import torch
from torch import nn

class Same(nn.Identity):
    pass

class Two(nn.Module):
    def forward(self, x):
        return x, x

class Cuts(nn.Module):
    def forward(self, x):
        return x[..., 1:-1, 1:-1]

class NaN(nn.Module):
    def forward(self, x):
        return x / 0

class Raises(nn.Module):
    def forward(self, x):
        raise ValueError("no luck")

class Even(nn.Module):
    def forward(self, x):
        if x.shape[-1] % 2:
            raise ValueError("an odd width")
        return x
"""


@pytest.fixture
def hr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder has `nets.py` and `hr/`, with two images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    for name in ("a", "b"):
        save(photograph(48, 52), tmp_path / "hr" / f"{name}.png")
    return tmp_path / "hr"


def refused(capsys: pytest.CaptureFixture[str], *argv: object, code: int = 2) -> str:
    """The one line on stderr."""
    assert main(["evaluate", *map(str, argv)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("srprof: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_files_without_a_partner(hr, tmp_path, capsys):
    save(photograph(12, 13), tmp_path / "lr" / "ax4.png")
    save(photograph(12, 13), tmp_path / "lr" / "c.png")
    error = refused(capsys, "bicubic", "--lr", "lr", "--hr", "hr")
    assert "--lr has none for b.png; --hr has none for c.png" in error


@pytest.mark.parametrize("option", ["--lr", "--hr"])
def test_a_folder_that_is_missing_or_has_no_image(option, hr, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    given = {"--lr": "hr", "--hr": "hr"}
    for place, why in (("empty", "has no image"), ("nowhere", "No such file or directory")):
        argv = [part for pair in (given | {option: place}).items() for part in pair]
        assert f"{option} {place}" in (error := refused(capsys, "bicubic", *argv))
        assert why in error


def test_sizes_of_another_scale(hr, tmp_path, capsys):
    """Both files, both sizes and the size that would do; before anything is run or written."""
    for name, size in (("a", (12, 13)), ("b", (24, 26))):
        save(photograph(*size), tmp_path / "lr" / f"{name}.png")
    argv = ["bicubic", "--lr", "lr", "--hr", "hr", "--save", "sr"]
    error = refused(capsys, *argv)
    assert "lr/b.png is 24x26 and hr/b.png is 48x52: for x4 the LR image must be 12x13" in error
    assert not (tmp_path / "sr").exists()


def test_images_too_small(hr, tmp_path, capsys):
    save(photograph(3, 30), tmp_path / "tiny" / "a.png")
    assert "tiny/a.png is 3x30: too small for x4" in refused(capsys, "bicubic", "--hr", "tiny")
    save(photograph(16, 30), tmp_path / "small" / "a.png")
    error = refused(capsys, "bicubic", "--hr", "small")
    assert "small/a.png: SSIM needs 11x11 pixels, and there are 8x20" in error


def test_an_image_that_cannot_be_read(hr, capsys):
    whole = (hr / "b.png").read_bytes()
    (hr / "b.png").write_bytes(whole[:-200])
    assert "hr/b.png cannot be read as an image" in refused(capsys, "bicubic", "--hr", "hr")
    (hr / "b.png").write_text("nothing")
    assert "hr/b.png cannot be read as an image" in refused(capsys, "bicubic", "--hr", "hr")


def test_a_huge_image(hr, capsys):
    Image.new("1", (12_000, 12_000)).save(hr / "b.png")
    error = refused(capsys, "bicubic", "--hr", "hr")
    assert "hr/b.png is refused: it has more than 89,478,485 pixels" in error


def test_weights(hr, tmp_path, capsys):
    train = srprof.registry.find("fmen_s").load()(form="train")
    torch.save(train.state_dict(), "train.pth")
    error = refused(capsys, "fmen_s", "--weights", "train.pth", "--hr", "hr")
    assert "training form" in error and "srprof merge" in error
    error = refused(capsys, "imdn", "--weights", "train.pth", "--hr", "hr")
    assert "train.pth does not fit IMDN" in error
    error = refused(capsys, "imdn", "--weights", "missing.pth", "--hr", "hr")
    assert "there is no file 'missing.pth'" in error
    (tmp_path / "cut.pth").write_bytes(Path("train.pth").read_bytes()[:5000])
    error = refused(capsys, "imdn", "--weights", "cut.pth", "--hr", "hr")
    assert "cut.pth cannot be read" in error


@pytest.mark.parametrize(
    "argv, code, why",
    [
        (["nets.py:Two"], 2, "nets.py:Two gives a tuple for 1x3x64x64; only a network that gives"),
        (["nets.py:Cuts"], 2, "nets.py:Cuts gives 1x3x62x62 for 1x3x64x64"),
        (["nets.py:Raises"], 3, "no luck"),
        (["nets.py:NaN", "--scale", "1"], 3, "hr/a.png: NaN gives NaN or infinity"),
        (["nets.py:Even", "--scale", "4"], 3, ""),
        (["nets.py:Same"], 2, "does not enlarge by itself: give --scale, or --lr with --hr"),
        (["bicubic", "--scale", "2"], 2, "bicubic enlarges x4, not x2: build it for that scale"),
        (["bicubic", "--scale", "0"], 2, "--scale: '0': give a whole number of at least 1"),
        (["bicubic", "--range", "2"], 2, "--range"),
        (["bicubic", "--tile", "0x3"], 2, "--tile: size '0x3': every side must be a whole number"),
        (["bicubic", "--halo", "3"], 2, "--halo is of tiles: give --tile too"),
        (["bicubic", "--tile", "8", "--halo", "-1"], 2, "at least 0"),
        (["bicubic", "--device", "gpu"], 2, "device 'gpu' is not one of cpu, cuda, cuda:N"),
        (["bicubic", "-o", "missing/out.json"], 2, "there is no folder 'missing'"),
        (["bicubic", "--save", "missing/sr"], 2, "--save missing/sr: cannot be made"),
        (["bicubic", "--save", "nets.py"], 2, "--save nets.py: cannot be made: File exists"),
    ],
)
def test_options_and_networks(argv, code, why, hr, capsys):
    if argv[0] == "nets.py:Even":
        save(photograph(48, 52)[:, :45], hr / "b.png")
        assert main(["evaluate", *argv, "--hr", "hr", "--device", "cpu"]) == 0
        capsys.readouterr()
        argv = ["nets.py:Even", "--scale", "1"]
        why = "hr/b.png: Even raised ValueError at nets.py"
    assert why in refused(capsys, *argv, "--hr", "hr", code=code)


def test_without_hr(hr, capsys):
    assert "--hr" in refused(capsys, "bicubic")
    with pytest.raises(srprof.InputError, match="nothing to compare with: give hr"):
        srprof.evaluate("bicubic", lr="hr")


@pytest.mark.parametrize("package", ["skimage", "PIL"])
def test_without_an_optional_package(package, hr, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'srprof[quality]'" in refused(capsys, "bicubic", "--hr", "hr")


# -- saving ---------------------------------------------------------------------------------------


def test_saving_never_replaces_an_input(hr, tmp_path, capsys):
    save(photograph(12, 13), tmp_path / "lr" / "ax4.png")
    save(photograph(12, 13), tmp_path / "lr" / "bx4.png")
    before = (tmp_path / "lr" / "ax4.png").read_bytes()
    error = refused(capsys, "bicubic", "--lr", "lr", "--hr", "hr", "--save", "lr")
    assert "--save lr would replace lr/ax4.png, an input" in error
    assert (tmp_path / "lr" / "ax4.png").read_bytes() == before


@pytest.mark.parametrize("where", ["hr", "./hr/"])
def test_saving_among_the_images_is_refused(where, hr, tmp_path, capsys):
    """With --hr hr, the next run would evaluate hr/ax4.png."""
    before = sorted((tmp_path / "hr").iterdir())
    error = refused(capsys, "bicubic", "--hr", "hr", "--save", where)
    assert f"--save {where} is a folder of images to evaluate" in error
    assert sorted((tmp_path / "hr").iterdir()) == before


def test_a_disk_that_fills_up(hr, tmp_path, capsys, monkeypatch):
    """The first image is whole, of the second nothing is there."""
    real = images.replacing
    calls = []

    def filling(path: Path, option: str):
        calls.append(path)
        return real(path, option)

    def saved(self: Image.Image, place: Path, **options: object) -> None:
        if len(calls) == 2:
            with open(place, "wb") as file:
                file.write(b"half of")
                raise OSError(28, os.strerror(28))
        original(self, place, **options)

    original = Image.Image.save
    monkeypatch.setattr(images, "replacing", filling)
    monkeypatch.setattr(Image.Image, "save", saved)
    error = refused(capsys, "bicubic", "--hr", "hr", "--save", "sr", "-o", "out.json")
    assert "--save sr/bx4.png: cannot be written: No space left on device" in error
    assert os.listdir("sr") == ["ax4.png"]
    assert np.asarray(Image.open("sr/ax4.png")).shape == (48, 52, 3)
    assert not Path("out.json").exists()


@pytest.mark.parametrize("save_to", [[], ["--save", "sr"]])
def test_ctrl_c(save_to, hr, capsys, monkeypatch):
    """What was saved until then is whole, and said to be there."""
    measure = run.psnr
    compared = []

    def interrupted(*args: object) -> float:
        compared.append(args)
        if len(compared) > 4:  # four an image
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(run, "psnr", interrupted)
    error = refused(capsys, "bicubic", "--hr", "hr", *save_to, code=130)
    assert ("the images in sr are whole" if save_to else "nothing was written") in error
    if save_to:
        assert os.listdir("sr") == ["ax4.png"]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    options = b"size=64k"
    if not sys.platform.startswith("linux") or libc.mount(
        b"tmpfs", os.fsencode(place), b"tmpfs", 0, options
    ):
        pytest.skip("file systems are mounted by root on Linux")
    yield place
    libc.umount2(os.fsencode(place), 2)


def test_a_disk_that_is_full(small_disk, hr, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)
    save(noise, hr / "c.png")
    torch.manual_seed(0)
    error = refused(capsys, "nets.py:Same", "--scale", 1, "--hr", "hr", "--save", small_disk)
    assert "cx1.png: cannot be written: No space left on device" in error
    assert sorted(os.listdir(small_disk)) == ["ax1.png", "bx1.png"]
    for name in os.listdir(small_disk):
        assert np.asarray(Image.open(small_disk / name)).shape == (48, 52, 3)
