"""A folder of networks, and a command that must be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_input import NETWORKS, Refused, files_in, run_main
from tests.refusals import one_line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with networks in `net.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORKS)
    return tmp_path


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must be refused, with and without `-o`; gives its line on stderr."""

    def check(*argv: str, code: int = 2) -> str:
        there = files_in(folder)
        lines = []
        for more in ((), ("-o", "result.txt")):
            found = run_main(*argv, *more)
            captured = capsys.readouterr()
            lines.append(one_line(captured.err))
            assert found == code, captured.err
            assert captured.out == ""
            assert files_in(folder) == there
        assert lines[0] == lines[1]
        return lines[0]

    return check
