"""docs/json.md is what the records' types and the commands' objects say now."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

from srprof import models
from srprof.cli import COMMANDS, main
from srprof.render.views.calibration import document
from srprof.topics import TOPICS
from tests.calls import CALLS, ELSEWHERE, WITHOUT_FORMAT, write_folder
from tests.fake_stopwatch import TRUTH, FakeStopwatch, of_cpu
from tests.golden_files import ROOT
from tests.json_page import HEAD, RECORDS, WORDS, table, words_used

#: Calls that take what others made; their places are put in.
MADE = {
    "merge": "merge trained.pth -o merged.pth --model {spec}",
    "train": "train train.toml",
    "ablate": "ablate study.toml",
}
TRAINED = "fmen(scale=2,n_feats=8,mid_feats=6,up_blocks=(1,1),form='train')"


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What each command prints as JSON."""
    pytest.importorskip("skimage")
    folder: Path = tmp_path_factory.mktemp("json")
    found: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_folder(folder)
        for name in ("train.toml", "study.toml"):
            text = (ROOT / "examples" / name).read_text(encoding="utf-8")
            (folder / name).write_text(text.replace('["images"]', '"skimage"'))
        network = models.fmen(2, n_feats=8, mid_feats=6, up_blocks=(1, 1), form="train")
        torch.save(network.state_dict(), folder / "trained.pth")
        calls = {name: call for name, (call, _) in CALLS.items()}
        made = {name: call.format(spec=TRAINED) for name, call in MADE.items()}
        for name, call in (calls | made).items():
            with redirect_stdout(StringIO()) as printed:
                assert main([*call.split(" "), "--format", "json"]) == 0, name
            found[name] = json.loads(printed.getvalue())
    return found


def test_the_page_is_up_to_date(golden, objects, capsys):
    calibration = document(of_cpu(FakeStopwatch(TRUTH)), "cpu.toml").data()
    found = {**objects, "calibrate": json.loads(json.dumps(calibration))}
    sections, missing = [f"{HEAD}{TOPICS['exit-codes']()}```\n"], []
    for name in sorted({n for n in found if n in RECORDS or " --" not in n}):
        others = (n for n in found if n.startswith(f"{name} --") and n not in RECORDS)
        same = [found[name], *(found[other] for other in others)]
        text, without = table(name, same)
        missing += [f"{name}: {place}" for place in without]
        sections.append(f"## {name}\n\n{text}\n")
    assert not missing, (
        "\n".join(missing)
    ) or "write their meaning into tests/json_page.py, or into the record"
    golden("\n".join(sections), ROOT / "docs" / "json.md")


def test_every_command_is_there():
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    for name in set(COMMANDS) - WITHOUT_FORMAT:
        assert f"\n## {name}\n" in page
    assert {*MADE, "calibrate"} >= ELSEWHERE


def test_no_words_are_left_over():
    """Words of a key that no object has any more."""
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    assert set(WORDS) - words_used(page) == set()
