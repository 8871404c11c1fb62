"""Every command that prints tables has every format, and prints its result in each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

import srprof.options
from srprof.cli import COMMANDS, build_parser, main
from srprof.render.document import Document
from srprof.render.writers import formats
from tests.golden_files import Golden
from tests.made_up_images import photograph, save
from tests.shown import check_document
from tests.terminals import MEASURED, check_terminals

#: What they write is no table: a folder of pages and figures, texts, a script.
WITHOUT_FORMAT = {"report", "help", "completion"}

NET = """
import torch
from torch import nn


class Net(nn.Module):
    scale = 2

    def __init__(self, nf=8):
        super().__init__()
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.tail = nn.Conv2d(2 * nf, 12, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        y = self.head(x)
        z = y.relu()
        return self.shuffle(self.tail(torch.cat([y, z], 1)))
"""

CHECK = """
[[check]]
model = "networks/residual/net.py:Net"
input = "16x16"
peak.eager = "1 MiB"
"""

#: A call of each command on a tiny network in a folder, and a word that its result has.
CALLS = {
    "analyze": ("analyze net.py:Net --input 16", "head"),
    "analyze --train": ("analyze net.py:Net --input 16 --train", "forward"),
    "analyze --profile": ("analyze net.py:Net --input 16 --profile h100", "conv"),
    "analyze --view": ("analyze net.py:Net --input 16 --view modules --profile h100", "├─ head"),
    "advise": ("advise net.py:Net --input 16", "eager"),
    "advise --profile": ("advise net.py:Net --input 16 --profile h100", "would cost"),
    "advise --widths": ("advise net.py:Net --input 16 --profile h100 --widths nf=7..9", "best"),
    "check": ("check", "net.py:Net"),
    "diff": ("diff net.py:Net net.py:Net(nf=4) --input 16", "planned"),
    "devices": ("devices", "gtx1080ti"),
    "evaluate": ("evaluate bicubic(scale=2) --lr lr --hr hr", "mean"),
    "fit": ("fit net.py:Net --budget 2MiB", "fits"),
    "lean": ("lean net.py:Net --input 16", "eager"),
    "list": ("list", "bicubic"),
    "measure": ("measure net.py:Net --input 16 --device cpu --repeat 3 --warmup 0", "net"),
    "rank": ("rank net.py:Net fsrcnn --input 16", "fsrcnn"),
    "spectrum": ("spectrum net.py:Net --image hr/a.png --module head", "head"),
    "rank --with": ("rank fsrcnn fmen_s --with ntire2022 --ranks", "NEESR"),
    "sweep": ("sweep net.py:Net --set nf=4,8 --inputs 16 --jobs 1", "16"),
    "time": ("time net.py:Net --input 16 --device cpu --repeat 3 --warmup 0", "measured"),
    "validate": ("validate net.py:Net --inputs 16 --device cpu --repeat 3", "net.py:Net"),
}
#: Commands whose results other tests draw in every format, as a run of them takes longer.
ELSEWHERE = {"ablate", "calibrate", "merge", "train"}


def subparsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    parser = build_parser(*COMMANDS)
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    yield from commands.choices.items()


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_FORMAT))
def test_every_command_takes_every_format(name: str):
    parser = dict(subparsers())[name]
    (form,) = (a for a in parser._actions if "--format" in a.option_strings)
    assert set(formats()) <= set(form.choices)
    assert {"text", "rich", "markdown", "html", "csv", "json"} <= set(formats())
    assert form.default is None, "the ending of -o decides"


def test_every_command_is_called_here_or_drawn_elsewhere():
    assert {name.split()[0] for name in CALLS} | ELSEWHERE | WITHOUT_FORMAT == set(COMMANDS)
    assert {*CALLS, *ELSEWHERE} >= MEASURED >= ELSEWHERE


def write_folder(folder: Path) -> None:
    """The files that the calls name."""
    (folder / "net.py").write_text(NET, encoding="utf-8")
    (folder / "networks/residual").mkdir(parents=True)
    (folder / "networks/residual/net.py").write_text(NET, encoding="utf-8")
    (folder / "srprof.toml").write_text("baseline = false\n" + CHECK, encoding="utf-8")
    for name, side in (("hr", 32), ("lr", 16)):
        save(photograph(side, side), folder / name / "a.png")


@pytest.mark.parametrize("name", CALLS)
def test_every_result_is_drawn_in_every_format(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Golden
):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path)
    documents: list[Document] = []

    def caught(document: Document, form: str, width: int) -> str:
        documents.append(document)
        return ""

    monkeypatch.setattr(srprof.options, "render", caught)
    call, word = CALLS[name]
    assert main(call.replace("net.py", "networks/residual/net.py").split()) == 0
    (document,) = documents
    check_document(document, word)
    assert document.table.rows, "what programs read has rows"
    check_terminals(name, document, golden)


@pytest.mark.parametrize(
    "ending, begins",
    [(".md", "# net.py:Net"), (".html", "<!doctype html>"), (".csv", "node,op,"), (".json", "{"),
     (".tex", "% "), (".txt", "net.py:Net")],
)  # fmt: skip
def test_the_ending_of_the_output_decides(
    ending: str, begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    assert main(["analyze", "net.py:Net", "--input", "16x16", "-o", f"net{ending}"]) == 0
    assert (tmp_path / f"net{ending}").read_text(encoding="utf-8").startswith(begins)


def test_a_pipe_gets_plain_text_with_every_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    call = ["analyze", "net.py:Net", "--input", "16", "--view", "nodes", "--profile", "h100"]
    assert main(call) == 0
    piped = capsys.readouterr().out
    assert not {"\x1b", "…", "─"} & set(piped) and "Left out" not in piped
    (head,) = (line for line in piped.splitlines() if line.startswith("  node  op"))
    assert head.split("  ")[-1] == "bound" and "GMACs" in head and "kept" in head
    assert main([*call, "--format", "rich"]) == 0
    narrow = capsys.readouterr().out
    assert "Left out at 40 columns:" in narrow and "\x1b" in narrow
