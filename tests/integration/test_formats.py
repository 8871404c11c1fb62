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
from tests.calls import CALLS, ELSEWHERE, NET, WITHOUT_FORMAT, write_folder
from tests.golden_files import Golden
from tests.shown import check_document
from tests.terminals import MEASURED, check_terminals


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
