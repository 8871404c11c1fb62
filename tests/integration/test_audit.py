"""`srprof audit`: a results file by itself, and beside a repository's networks."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import srprof
from srprof.apart import died
from srprof.auditing.apart import Question, predict
from srprof.challenge.script import build, check_script
from srprof.cli import main
from srprof.errors import InputError, ModelError
from tests.made_up_results import results, row, write_repository

MIB = 2**20


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of the challenge's form, which is the current folder."""
    folder = write_repository(tmp_path / "repository")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("none")  # and so puts the search path back at the end
    for kind in (torch.Tensor, torch.nn.Module):  # of which "cpu" takes `cuda`
        monkeypatch.setattr(kind, "cuda", kind.cuda)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:  # as it would end with a process of its own
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")) or name in (
            "cv2",
            "lmdb",
        ):
            del sys.modules[name]


def _question(number: int, **more: Any) -> Question:
    shapes: dict[str, Any] = {"counts": (16, 16), "memory": (1, 3, 128, 128), "runtime": (20, 16)}
    return Question(".", "test_demo.py", number, "fvcore_flops", **shapes, profile=None, **more)


def _file(folder: Path, data: object) -> str:
    path = folder / "results.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["audit", *argv]) == 0
    return capsys.readouterr().out


# -- the file alone --------------------------------------------------------------------------------


def test_a_file_tells_what_is_cold_and_what_is_not_settled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    text = said(capsys, _file(tmp_path, results()))
    assert "The first image is cold in 3: 00_base, 01_wide, 02_twin." in text
    assert "The order of 01_wide and 02_twin is not settled: resamples turn it, " in text
    assert "18_warm  the peak is 9.00 MiB after each set of images" in " ".join(text.split(" "))
    assert "give --year" in text


def test_json_has_every_list_and_csv_a_row_for_each_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = _file(tmp_path, {"2024": {"00_base": row([3.0] * 20, [2.0] * 20)}, "2026": results()})
    data = json.loads(said(capsys, path, "--format", "json"))
    assert (data["schema"], [t["year"] for t in data["tables"]]) == (1, ["ntire2024", "ntire2026"])
    base = data["tables"][1]["rows"][0]
    assert base["times"][0]["cold"] is True
    without = base["times"][0]["without_first"]
    assert without == pytest.approx(base["times"][0]["mean"] - 100 / 40, abs=0.2)
    assert set(base["standings"]) == {
        "runtime", "runtime_without_first", "score", "score_without_first"
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(said(capsys, path, "--format", "csv"))))
    assert [r["entry"] for r in rows] == ["00_base", *results()]
    assert rows[1]["cold"] == "True"


def test_audit_from_python_is_the_same(tmp_path: Path):
    found = srprof.audit(_file(tmp_path, results()), year="ntire2026")
    (table,) = found.tables
    assert [r.name for r in table.rows if r.cold] == ["00_base", "01_wide", "02_twin"]
    assert "NTIRE 2026: 4 entries" in repr(found)
    assert "What was found" in found._repr_html_()


@pytest.mark.parametrize(
    ("argv", "data", "error"),
    [
        ("results.json", {}, "is no results file"),
        ("results.json --year 2024 --format json", {"2026": results()}, "no results of 2024"),
        ("results.json --year 1999", results(), "there is no year '1999'"),
        ("none.json", results(), "none.json cannot be read"),
        ("results.json --script x.py", results(), "--script needs the networks"),
        ("results.json --only 3", results(), "--only needs the networks"),
        ("results.json --figure x.svg", results(), "--figure needs the networks"),
        ("results.json --models none", results(), "there is no folder 'none'"),
        ("results.json --models .", results(), "test_demo.py cannot be read"),
        ("results.json --models repository --only 5", results(), "no row has such a number"),
        (
            "results.json --models repository",
            {"2024": results(), "2026": results()},
            "say with --year of which --models is",
        ),
        (
            "results.json --models repository --script utils.py",
            results(),
            "no function select_model",
        ),
        ("results.json --models repository --script bad.py", results(), "bad.py is no Python"),
    ],
)
def test_what_is_wrong_is_one_line(
    argv: str,
    data: Any,
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    _file(tmp_path, data)
    (write_repository(tmp_path / "repository") / "bad.py").write_text("def", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *shlex.split(argv)]) == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert error in message
    assert message.count("\n") == 1


# -- the networks ----------------------------------------------------------------------------------


def test_a_network_is_built_as_the_script_builds_it(repository: Path):
    """Of the script only what that needs is run: an import that fails is none of it."""
    model = build(repository, 0)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert Path.cwd() == repository
    check_script(repository)


def test_an_ordinary_network(repository: Path):
    found = predict(_question(0, listed=True))
    assert (found.params, found.convs) == (1100, 2)
    assert found.construction is not None
    assert found.construction.passes == ()  # its weights are moved to the GPU, and no more
    assert found.activations == (8 + 12) * 256
    assert found.flops == (216 + 864) * 256
    assert found.requested <= found.allocated
    assert found.listed is not None
    assert found.listed >= found.requested
    assert found.runtime_ms is None
    assert not found.tiled


def test_a_constructor_that_runs_the_network(repository: Path):
    found = predict(_question(1))
    assert found.construction is not None
    (one,) = found.construction.passes
    assert (one.kind, one.file, one.calls, one.autograd) == ("Net", "models/net.py", 1, True)
    assert found.memory == found.construction.bytes > found.image


def test_a_network_in_tiles_takes_less(repository: Path):
    whole, tiled = predict(_question(0)), predict(_question(2))
    assert tiled.tiled
    assert tiled.params == whole.params
    assert tiled.requested < whole.requested


def test_a_network_that_the_script_calls_by_a_function_of_its_own(repository: Path):
    assert build(repository, 3)(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 16, 16)
    assert build(repository, 0)(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 10, 14)
    assert not predict(_question(3)).tiled


def test_a_network_that_its_script_runs_in_tiles_may_be_built_whole(repository: Path):
    in_tiles, whole = (build(repository, 2, as_called=called) for called in (True, False))
    assert type(in_tiles).__name__ == "Tiled"
    assert type(whole) is type(in_tiles.model)


def test_networks_run_apart_and_a_crash_is_a_finding(
    repository: Path, capsys: pytest.CaptureFixture[str]
):
    """The script's own warm-up keeps two graphs, as DISP's did; the other network aborts."""
    peak = predict(_question(18)).memory
    # image; relu and result of the graph before; relu, convolution and result of the last
    assert peak >= (3 + 8 + 12 + 8 + 12 + 12) * 600 * 600 * 4
    data = {"18_warm": results()["18_warm"], "07_crash": results()["00_base"]}
    data["18_warm"] |= {"valid_memory": peak / MIB, "num_parameters": 1100 / 1e6}
    argv = (_file(repository, data), "--year", "2026", "--models", ".")
    picture = repository / "errors.svg"
    found = json.loads(said(capsys, *argv, "--format", "json", "--figure", str(picture)))
    warm, crash = found["tables"][0]["rows"]
    (one,) = warm["predicted"]["construction"]["passes"]
    place = one["file"], one["calls"], one["alive"], one["autograd"]
    assert place == ("test_demo.py", 4, 2, True)
    assert (warm["memory"]["by"], warm["memory"]["gap"]) == ("script", 0)
    equal = {count["name"]: count["equal"] for count in warm["counts"]}
    assert equal == {"params": True, "flops": False, "activations": False, "convs": True}
    assert "its first image is not cold" in json.dumps(warm["findings"])
    assert crash["failed"] == "its process died with signal SIGABRT"
    assert picture.read_text(encoding="utf-8").startswith("<?xml")


def test_what_a_network_raises_is_told_with_its_line(repository: Path):
    said = r"NotImplementedError at test_demo\.py:\d+ in select_model: Model 5 is not implemented"
    with pytest.raises(ModelError, match=said):
        predict(_question(5))


@pytest.mark.parametrize(
    ("code", "stderr", "said"),
    [
        (-9, "", "its process died with signal SIGKILL"),
        (1, "a\nImportError: x\n", "its process died with exit code 1: ImportError: x"),
        (3, "srprof: network 5 did not end within 2 s (--timeout)\n",
         "network 5 did not end within 2 s (--timeout)"),
    ],
)  # fmt: skip
def test_how_a_process_died(code: int, stderr: str, said: str):
    assert died(code, stderr) == said


def test_a_script_that_is_missing_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match="name the repository"):
        build(tmp_path, 0)
