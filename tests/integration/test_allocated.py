"""What CUDA's caching allocator makes of a run: in reports, after other images, by its settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import srprof
from srprof.cli import main
from srprof.errors import InputError
from srprof.protocol import read_sizes

MIB = 2**20


def test_published_memory_after_the_images_of_div2k():
    """E-RFDN's of Table 4 by the protocol; `test_simulation.py` has the others' without."""
    analysis = srprof.analyze("e_rfdn", "510x510", protocol="ntire")
    assert len(analysis.history) == 100
    assert round(analysis.simulation.peak_allocated / MIB, 2) == 788.13
    assert analysis.simulation.peak_image == 100


def test_published_memory_is_in_the_range_of_a_cold_image():
    low, high = srprof.analyze("e_rfdn", "510x510").allocated_range
    assert low < 788.13 * MIB < high
    assert (round(low / MIB, 2), round(high / MIB, 2)) == (788.09, 793.68)


def test_json_says_what_it_is_made_of():
    data = srprof.analyze("fmen_s", "256x256").to_dict()
    peak, made_of = data["memory"]["peak"], data["memory"]["allocator"]
    parts = made_of["requested"] + made_of["rounding"] + made_of["unsplit"]
    assert parts == peak["allocated"] == max(node["allocated"] for node in data["nodes"])
    assert made_of["requested"] == data["memory"]["requested"]["eager"]
    assert made_of["range"] == [made_of["requested"], peak["allocated"]]
    assert made_of["workspace"] == 0  # of a sigmoid
    assert made_of["workspace_unknown"] == 34
    assert peak["reserved"] - peak["allocated"] == made_of["fragmentation"]
    assert made_of["images"] == 1


def test_frame_has_allocated_by_node():
    frame = srprof.analyze("fmen_s", "64x64").to_frame()
    assert (frame["allocated"] >= frame["eager"] - 512 * len(frame)).all()
    assert frame["workspace"][frame["op"] == "convolution"].isna().all()


def test_repeat_is_more_images():
    analysis = srprof.analyze("fmen_s", "64x64", repeat=3)
    assert len(analysis.simulation.images) == 3
    twice = srprof.analyze("fmen_s", "64x64", protocol="ntire", sizes=[(32, 32)], repeat=2)
    assert len(twice.simulation.images) == 4
    assert len(twice.history) == 1


@pytest.mark.parametrize(
    "name, content",
    [
        ("sizes.txt", "# LR\n32x48\n\n16x17\n"),
        ("sizes.json", "[[32, 48], [16, 17]]"),
        ("sizes.json", '{"hw": [[32, 48], [16, 17]]}'),
    ],
)
def test_lists_of_sizes(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    assert read_sizes(str(tmp_path / name)) == ((32, 48), (16, 17))


def test_folder_of_images(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (48, 32)).save(tmp_path / "b.png")
    image.new("L", (17, 16)).save(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    assert read_sizes(str(tmp_path)) == ((16, 17), (32, 48))
    (tmp_path / "c.jpg").write_text("no image either")
    with pytest.raises(InputError, match=r"c.jpg cannot be read as an image"):
        read_sizes(str(tmp_path))


def test_the_sizes_of_div2k_are_of_the_networks_scale():
    at_4, at_2 = read_sizes(None, 4), read_sizes(None, 2)
    assert at_4[0] == (339, 510)
    assert [(2 * h, 2 * w) for h, w in at_4] == list(at_2)
    assert read_sizes(None) == at_4


@pytest.mark.parametrize(
    "content, says",
    [
        ("", "no sizes"),
        ("32x48\n32y\n", "line 2"),
        ("32x48\n0x4\n", "line 2"),
        ("[[32]]", "list of [height, width]"),
        ("[[0, 4]]", "[0][0] is 0, not a whole number of at least 1"),
        ("[[1.5, 4]]", "[0][0] is 1.5, not a whole number"),
        ('{"sizes": []}', "list of [height, width]"),
        ("[[1, 2]", "list of [height, width]"),
    ],
)
def test_broken_lists(tmp_path: Path, content: str, says: str):
    (tmp_path / "sizes").write_text(content)
    with pytest.raises(InputError) as raised:
        read_sizes(str(tmp_path / "sizes"))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def complaint(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    assert main(["analyze", *argv]) == code
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_complaints(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "nowhere" in complaint(capsys, "fmen_s", "--protocol", "ntire", "--sizes", "nowhere")
    assert "give both" in complaint(capsys, "fmen_s", "--sizes", "nowhere")
    assert "--repeat: '0'" in complaint(capsys, "fmen_s", "--repeat", "0")
    assert "max_split_size_mb" in complaint(capsys, "fmen_s", "--alloc-conf", "max_split:3")
    small = tmp_path / "sizes.txt"
    small.write_text("8x8\n")  # too small for the 7x7 pooling behind a strided convolution
    line = complaint(capsys, "e_rfdn", "--protocol", "ntire", "--sizes", str(small), code=3)
    assert "at 8x8, a size of the list" in line


def test_a_call_without_one_image_has_no_list():
    model = torch.nn.Linear(3, 4)
    with pytest.raises(InputError, match="--protocol single"):
        srprof.analyze(model, (2, 3), protocol="ntire")


def test_settings_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def peak(*argv: str) -> int:
        assert main(["analyze", "e_rfdn", "--format", "json", *argv]) == 0
        return json.loads(capsys.readouterr().out)["memory"]["peak"]["allocated"]

    default = peak()
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    expandable = peak()
    assert expandable != default
    assert peak("--alloc-conf", "") == default
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "pinned_use_background_threads:True")
    assert main(["analyze", "fmen_s", "--input", "32x32"]) == 0
    assert "not simulated: pinned_use_background_threads" in capsys.readouterr().out


def test_report_shows_both_ends_of_the_range(capsys: pytest.CaptureFixture[str]):
    assert main(["analyze", "e_rfdn", "--input", "510x510"]) == 0
    text = capsys.readouterr().out
    assert "after others it lies between 788.09 and 793.68 MiB" in text
    assert "64 nodes is not known and comes on top" in text  # the workspace
    assert "on a GPU before Hopper (no --profile says which)" in text
