"""LR and HR images find each other by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from srprof.errors import InputError
from srprof.quality.pairs import common_name, find_pairs


def folder(path: Path, *names: str) -> str:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"")
    return str(path)


@pytest.mark.parametrize(
    "stem, name",
    [
        ("0801", "0801"),
        ("0801x4", "0801"),
        ("0801_x4", "0801"),
        ("baby_LRBI_x4", "baby"),
        ("img_001_SRF_4_LR", "img_001"),
        ("img_001_SRF_4_HR", "img_001"),
        ("butterfly_HR", "butterfly"),
        ("image-gt", "image"),
        ("x4", "x4"),
        ("LR", "LR"),
        ("colour", "colour"),
        ("0801x4m", "0801x4m"),
    ],
)
def test_what_data_sets_add_to_a_name(stem, name):
    assert common_name(stem) == name


def test_same_names_go_before_similar_ones(tmp_path: Path):
    lr = folder(tmp_path / "lr", "max2.png", "max3.bmp", "0801x4.png")
    hr = folder(tmp_path / "hr", "max2.png", "max3.png", "0801.png")
    pairs = find_pairs(lr, hr)
    assert {pair.name: pair.lr.name for pair in pairs} == {
        "0801": "0801x4.png",
        "max2": "max2.png",
        "max3": "max3.bmp",
    }


def test_hr_alone(tmp_path: Path):
    (pair,) = find_pairs(None, folder(tmp_path / "hr", "0801x4.png"))
    assert (pair.name, pair.lr) == ("0801x4", None)


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path):
    hr = Path(folder(tmp_path / "a", "this.png")) / "this.png"
    lr = Path(folder(tmp_path / "b", "that.png")) / "that.png"
    (pair,) = find_pairs(str(lr), str(hr))
    assert (pair.name, pair.lr, pair.hr) == ("this", lr, hr)


def test_files_without_a_partner_are_named(tmp_path: Path):
    lr = folder(tmp_path / "lr", "1x4.png", "5x4.png")
    hr = folder(tmp_path / "hr", *(f"{i}.png" for i in (1, 2, 3)))
    with pytest.raises(InputError) as raised:
        find_pairs(lr, hr)
    assert "--lr has none for 2.png, 3.png; --hr has none for 5x4.png;" in str(raised.value)


def test_many_files_without_a_partner_are_counted(tmp_path: Path):
    lr = folder(tmp_path / "lr", "0.png")
    hr = folder(tmp_path / "hr", *(f"{i}.png" for i in range(9)))
    with pytest.raises(InputError, match=r"none for 1\.png, .*5\.png and 3 more; name"):
        find_pairs(lr, hr)


def test_two_files_for_one_image(tmp_path: Path):
    hr = folder(tmp_path / "hr", "a.png")
    lr = folder(tmp_path / "lr", "ax2.png", "ax4.png")
    with pytest.raises(InputError, match=r"--lr has both ax2\.png and ax4\.png for the image 'a'"):
        find_pairs(lr, hr)
    both = folder(tmp_path / "both", "a.png", "a.jpg")
    with pytest.raises(InputError, match=r"--hr has both a\.jpg and a\.png"):
        find_pairs(None, both)
