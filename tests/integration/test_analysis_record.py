"""The record of an analysis: the JSON object of `analyze --format json`, and what reads it back.

After a change of the object that is meant: `python tests/integration/test_analysis_record.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import srprof
from srprof.analysis.record import load
from srprof.cli import main
from srprof.codec import encode
from srprof.errors import InputError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"

CASES = {
    "analysis_kept.json": [
        "tests/kept_network.py:Kept", "--input", "24x32", "--input", "1x1x24x32",
    ],
    "analysis_fsrcnn_gtx1080ti.json": [
        "fsrcnn", "--input", "32x32", "--profile", "gtx1080ti", "--protocol", "ntire",
        "--sizes", "SIZES",
    ],
}  # fmt: skip


def printed(name: str, folder: Path) -> str:
    """What the command prints in a case, without what another machine has otherwise."""
    sizes = folder / "sizes.txt"
    sizes.write_text("24x40\n48x16\n")
    arguments = [str(sizes) if a == "SIZES" else a for a in CASES[name]]
    output = folder / name
    assert main(["analyze", *arguments, "--format", "json", "-o", str(output)]) == 0
    data = json.loads(output.read_text(encoding="utf-8"))
    data |= {"srprof": "VERSION", "torch": "VERSION"}
    return json.dumps(portable(data), indent=1) + "\n"


def portable(value: Any) -> Any:
    """Files from the repository, lines of the zoo left out, and times to six digits."""
    if isinstance(value, dict):
        ours = {key: portable(item) for key, item in value.items()}
        if str(ours.get("file", "")).startswith(str(ROOT)):
            ours["file"] = Path(ours["file"]).relative_to(ROOT).as_posix()
            ours["line"] = 0 if ours["file"].startswith("models/") else ours["line"]
        return ours
    if isinstance(value, list):
        return [portable(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


@pytest.mark.parametrize("name", CASES)
def test_the_object_is_as_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert printed(name, tmp_path) == (GOLDEN / name).read_text(encoding="utf-8")


def test_what_was_written_is_read_again(tmp_path: Path):
    record = srprof.analyze("tests/kept_network.py:Kept", (1, 3, 24, 32), (1, 1, 24, 32)).record
    file = tmp_path / "a.json"
    file.write_text(json.dumps(encode(record)))
    assert load(str(file)) == record


@pytest.mark.parametrize(
    "keys, value, message",
    [
        (["schema"], 2, "has schema 2, and this srprof reads up to 1: update srprof"),
        (["schema"], "1", "is damaged: schema is '1', not 1"),
        (["torch"], 2, "torch is 2, not text"),
        (["memory", "peak", "eager"], "1 MiB", "memory.peak.eager is '1 MiB', not a whole number"),
        (["memory", "peak_node"], [], "memory.peak_node is [], not an object"),
        (["nodes", 3, "line"], None, "nodes[3].line is None, not a whole number"),
        (["nodes", 3, "inplace"], 1, "nodes[3].inplace is 1, not true or false"),
        (["latency", "by_class", 0, "class"], 1, "latency.by_class[0].class is 1, not text"),
        (["published", 0, "agrees"], "yes", "published[0].agrees is 'yes', not true or false"),
        (["memory", "held_at_peak", 0, "references", 0, "kind"], 1, "references[0].kind is 1"),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, keys: list[Any], value: Any, message: str):
    data = json.loads((GOLDEN / "analysis_fsrcnn_gtx1080ti.json").read_text())
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    file = tmp_path / "a.json"
    file.write_text(json.dumps(data))
    with pytest.raises(InputError) as raised:
        load(str(file))
    assert message in str(raised.value)
    assert "analyze again" in str(raised.value)
    assert "\n" not in str(raised.value)


if __name__ == "__main__":
    import tempfile

    for case in CASES:
        with tempfile.TemporaryDirectory() as made:
            (GOLDEN / case).write_text(printed(case, Path(made)), encoding="utf-8")
