"""The record of an analysis: the JSON object of `analyze --format json`, and what reads it back.

After a change of the object that is meant: `python tests/integration/test_analysis_record.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import srprof
from srprof.cli import main

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"

CASES = {
    "analysis_kept.json": ["tests/kept_network.py:Kept", "--input", "24x32", "--input", "1x1x24x32"],
    "analysis_fsrcnn_gtx1080ti.json": [
        "fsrcnn", "--input", "32x32", "--device", "gtx1080ti", "--protocol", "ntire",
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


if __name__ == "__main__":
    import tempfile

    for case in CASES:
        with tempfile.TemporaryDirectory() as made:
            (GOLDEN / case).write_text(printed(case, Path(made)), encoding="utf-8")
