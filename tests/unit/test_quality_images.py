"""Image files: every kind of them, and those that cannot be read or written."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srprof.errors import InputError
from srprof.quality.images import image_files, read_image, to_bits8, write_image
from tests.made_up_images import photograph, png_of_16_bits, save


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_rgb_is_as_it_was(ending, tmp_path: Path):
    picture = read_image(save(photograph(13, 9), tmp_path / f"a.{ending}"))
    assert np.array_equal(picture.bits8, photograph(13, 9))
    assert picture.pixels.dtype == np.float64
    assert not picture.transparent


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "webp"])
def test_lossy_formats(ending, tmp_path: Path):
    picture = read_image(save(photograph(), tmp_path / f"a.{ending}"))
    assert abs(picture.pixels - photograph()).mean() < 12


def test_grey_is_three_times_the_same(tmp_path: Path):
    grey = photograph()[..., 1]
    pixels = read_image(save(grey, tmp_path / "a.png")).pixels
    assert np.array_equal(pixels, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("alpha", [255, 254])
def test_alpha_is_left_out(channels, alpha, tmp_path: Path):
    rgb = photograph()
    colours = rgb[..., :1] if channels == 2 else rgb
    opacity = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    opacity[0, 0] = alpha
    picture = read_image(save(np.concatenate([colours, opacity], axis=2), tmp_path / "a.png"))
    assert np.array_equal(picture.bits8, np.broadcast_to(colours, rgb.shape))
    assert picture.transparent == (alpha != 255)


def test_a_palette(tmp_path: Path):
    image = Image.fromarray(photograph()).convert("P")
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").bits8, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_all_kept(channels, tmp_path: Path):
    samples = np.random.default_rng(0).integers(0, 65536, (11, 7, channels))
    path = tmp_path / "a.png"
    path.write_bytes(png_of_16_bits(samples[..., 0] if channels == 1 else samples))
    picture = read_image(path)
    colours = samples[..., :-1] if channels in (2, 4) else samples
    expected = np.broadcast_to(colours / 257, picture.pixels.shape)
    assert picture.pixels == pytest.approx(expected, abs=1e-9)
    assert picture.transparent == (channels in (2, 4))
    assert np.array_equal(picture.bits8, np.rint(expected))


def test_rounding_to_8_bits():
    values = np.array([[-3.0, 0.49, 0.51, 254.6, 255.4, 300]])
    assert to_bits8(values).tolist() == [[0, 0, 1, 255, 255, 255]]


def test_unreadable_files(tmp_path: Path):
    whole = save(photograph(), tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    cut16 = png_of_16_bits(np.ones((30, 30, 3)))
    (tmp_path / "cut16.png").write_bytes(cut16[:-40])
    Image.new("F", (9, 9)).save(tmp_path / "float.tiff")
    for name, why in (
        ("cut.png", "it is damaged, cut off, or no image"),
        ("cut16.png", "it is damaged, cut off, or no image"),
        ("empty.png", "it is damaged, cut off, or no image"),
        ("text.png", "it is damaged, cut off, or no image"),
        ("folder.png", "Is a directory"),
        ("missing.png", "No such file or directory"),
        ("float.tiff", "has pixels of 32 bits: convert it"),
    ):
        with pytest.raises(InputError, match=why) as raised:
            read_image(tmp_path / name)
        assert name in str(raised.value)


@pytest.mark.parametrize("side", [9_500, 20_000])
def test_a_decompression_bomb_is_refused(side, tmp_path: Path):
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(InputError, match="is refused: it has more than 89,478,485 pixels"):
        read_image(tmp_path / "bomb.png")


def test_writing(tmp_path: Path):
    write_image(photograph(), tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").bits8, photograph())


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = tmp_path / "a.png"
    target.write_bytes(b"before")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"--save .*cannot be written: No space left on device"):
        write_image(photograph(), target, "--save")
    assert os.listdir(tmp_path) == ["a.png"]
    assert target.read_bytes() == b"before"


def test_files_of_a_folder(tmp_path: Path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden", "._a.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_files(str(tmp_path), "--hr")] == ["a.JPG", "b.png"]
    one = str(tmp_path / "b.png")
    assert image_files(one, "--hr") == [Path(one)]


def test_a_folder_without_images(tmp_path: Path):
    with pytest.raises(InputError, match=r"--hr .* has no image: none ends in \.png, \.jpg"):
        image_files(str(tmp_path), "--hr")
    with pytest.raises(InputError, match=r"--lr .*: cannot be read: No such file or directory"):
        image_files(str(tmp_path / "missing"), "--lr")


def test_without_pillow(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"need the package Pillow: pip install 'srprof"):
        read_image(tmp_path / "a.png")
