"""docs/quality.md says what the committed record has, and the record what the checkpoints give."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.golden_files import ROOT

PAGE = ROOT / "docs" / "quality.md"
#: The folder with `ntire2022`, whose checkpoints are not ours to carry.
REPOSITORIES = os.environ.get("SRPROF_NTIRE", "")


@pytest.fixture
def quality(monkeypatch) -> ModuleType:
    """benchmarks/quality.py."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("quality", "h200_peaks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("quality")


@pytest.fixture
def record(quality) -> dict[str, Any]:
    return json.loads(quality.RECORD.read_text())


@pytest.mark.parametrize("part, marker", [("tables", "quality"), ("observed", "spectra")])
def test_the_tables_of_the_page_are_the_record_s(part, marker, quality, golden):
    text = "\n\n".join(getattr(quality, part)())
    golden(text, PAGE, (f"<!-- {marker}: begin -->\n", f"\n<!-- {marker}: end -->"))


def test_what_the_readme_says_of_the_checkpoints(quality, record):
    gains = re.search(r"([\d.]+) to ([\d.]+) dB above", quality.summary(record))
    said = "{:.1f} to {:.1f} dB above bicubic".format(*map(float, gains.groups()))
    for page in ("README.md", "CHANGELOG.md"):
        assert said in (ROOT / page).read_text(encoding="utf-8")


def test_the_range_that_was_found_is_the_one_that_the_challenge_gives(record):
    ranges = {name: facts["range"] for name, facts in record["networks"].items()}
    assert len(ranges) == 8 and set(ranges.values()) == {1, 255}
    assert ranges == {name: facts["declared_range"] for name, facts in record["networks"].items()}


def test_what_the_page_says_of_the_observations(quality, record):
    """Its sentences, one by one."""
    images = record["blocks"]
    assert all([b["module"] for b in of] == [
        "warmup.1", "HFABs.0", "HFABs.1", "HFABs.2", "HFABs.3"
    ] for of in images.values())  # fmt: skip
    for of in images.values():
        assert quality.strengthened(of, "without")[2]
        grown = [b["after"]["constant"] > b["before"]["constant"] for b in of]
        assert grown == [False, True, True, True, False]
        for way in quality.WAYS:
            assert quality.high(of[-1], "before", way, 1) > quality.high(of[0], "before", way, 1)
        assert not all(quality.richer(of, "without"))
    most = {w: [quality.separates_most(of, w) for of in images.values()] for w in quality.WAYS}
    assert most["with"].count("warmup.1") == 3
    assert most["without"].count("HFABs.3") == 2
    hits = {
        (which.__name__, way, boundary): sum(
            sum(which(of, way, boundary)) for of in images.values()
        )
        for which in (quality.strengthened, quality.richer)
        for way in quality.WAYS
        for boundary in range(3)
    }
    assert round(3 * hits["strengthened", "without", 1] / 20) == 2
    assert round(3 * hits["strengthened", "with", 1] / 20) == 1
    for which in ("strengthened", "richer"):
        low, middle, top = (hits[which, "without", boundary] for boundary in range(3))
        assert low < middle < top
    low, middle, top = (hits["strengthened", "with", boundary] for boundary in range(3))
    assert low > middle > top


def made_up(module: str, before: float, after: float, moved: float) -> dict[str, Any]:
    """A block whose shares are the same whatever the boundary, with the constant or without."""
    sides = {
        side: {"constant": 0.5, "high": {"with": [share] * 3, "without": [share] * 3}}
        for side, share in (("before", before), ("after", after))
    }
    return {"module": module, **sides, "moved": {"with": moved, "without": moved}}


def test_how_observations_are_counted(quality):
    blocks = [
        made_up("a", 0.1, 0.2, 0.3),
        made_up("b", 0.3, 0.3, 0.5),
        made_up("c", 0.2, 0.1, 0.4),
    ]
    assert quality.strengthened(blocks, "with") == [True, False, False]
    assert quality.richer(blocks, "without") == [True, False]
    assert quality.separates_most(blocks, "with") == "b"
    text = quality.observations_table({"blocks": {"one": blocks, "two": blocks[:1]}})
    assert (
        "| 1: blocks with more of high after | with the constant | 1 of 3 | 1 of 1 | 2 of 4 |"
        in text
    )
    assert "| b | a | the last: 1 of 2 |" in text


def test_the_photographs_are_the_record_s(quality, record, tmp_path):
    """Those of another release of scikit-image, or another decoder of JPEG, may be others."""
    pytest.importorskip("skimage")
    made = quality.make_photographs(tmp_path)
    assert {p.name for p in (tmp_path / "lr").iterdir()} == {f"{name}.png" for name in made}
    for name, facts in record["photographs"].items():
        assert list(made[name]["size"]) == facts["size"]
        if name != "rocket":  # a JPEG
            assert made[name]["sha256"] == facts["sha256"]


def test_what_the_script_declares(quality, tmp_path):
    (tmp_path / "test_demo.py").write_text(
        'if model_id == 0:\n    name, data_range = f"{model_id:02}_A", 255.0\n'
        "    model_path = os.path.join('model_zoo', 'a.pth')\n"
        'elif model_id == 1:\n    name, data_range = f"{model_id:02}_B", 1.0\n'
        '    model_path = os.path.join("model_zoo", "b.pt")\n'
    )
    assert quality.declared(tmp_path, 0) == (255, tmp_path / "model_zoo" / "a.pth")
    assert quality.declared(tmp_path, 1) == (1, tmp_path / "model_zoo" / "b.pt")
    with pytest.raises(SystemExit, match="has no network 2"):
        quality.declared(tmp_path, 2)


@pytest.mark.skipif(not REPOSITORIES, reason="SRPROF_NTIRE names no folder with ntire2022")
@pytest.mark.parametrize("name", ["fmen_s", "megsr"])
def test_a_checkpoint_gives_what_the_record_says(name, quality, record, tmp_path):
    quality.make_photographs(tmp_path)
    repository = Path(REPOSITORIES) / "ntire2022"
    facts, enlarged = quality.evaluated(repository, name, tmp_path / "hr")
    kept = record["networks"][name]
    assert (facts["range"], facts["sha256"]) == (kept["range"], kept["sha256"])
    for image, figures in facts["images"].items():
        assert figures == pytest.approx(kept["images"][image], abs=0.01)
        assert enlarged[image] == pytest.approx(record["bicubic"][image], abs=0.01)
