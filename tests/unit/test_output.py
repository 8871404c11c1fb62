"""Results go to stdout, or to a file that is either whole or not there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

import pytest

from srprof.errors import InputError
from srprof.output import check_output, say, write

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def fails(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_to_stdout(capsys: pytest.CaptureFixture[str]):
    write("text\n", None)
    assert capsys.readouterr().out == "text\n"


def test_write_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "result.txt"
    write("größe\n", str(path))
    assert path.read_bytes() == "größe\n".encode()
    assert capsys.readouterr().out == ""
    assert os.listdir(tmp_path) == ["result.txt"]


def test_write_replaces_a_file(tmp_path: Path):
    path = tmp_path / "result.txt"
    path.write_text("a longer text than the new one")
    write("new", str(path))
    assert path.read_text() == "new"


def test_write_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write("text", "result.txt")
    assert (tmp_path / "result.txt").read_text() == "text"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_write_gives_the_usual_permissions(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        write("text", str(tmp_path / "result.txt"))
        assert os.umask(umask) == umask, "the process's own is as it was"
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "result.txt").stat().st_mode)
    assert mode == 0o666 & ~umask


def test_write_keeps_the_permissions_of_a_file(tmp_path: Path):
    path = tmp_path / "result.txt"
    path.write_text("before")
    path.chmod(0o640)
    write("new", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("function", ["replace", "close", "chmod"])
@pytest.mark.parametrize("there", [True, False])
def test_failed_write_leaves_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, there: bool
):
    path = tmp_path / "result.txt"
    if there:
        path.write_text("before")
    monkeypatch.setattr(os, function, fails)
    with pytest.raises(InputError, match="No space left") as raised:
        write("new", str(path))
    assert f"-o {path}" in str(raised.value)
    assert isinstance(raised.value.__cause__, OSError)
    assert os.listdir(tmp_path) == (["result.txt"] if there else [])
    if there:
        assert path.read_text() == "before"


def test_interrupted_write_leaves_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    path = tmp_path / "result.txt"
    path.write_text("before")
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write("new", str(path))
    assert os.listdir(tmp_path) == ["result.txt"]
    assert path.read_text() == "before"


def test_text_that_cannot_be_encoded_leaves_everything(tmp_path: Path):
    """A lone surrogate, as in a path that is not UTF-8."""
    path = tmp_path / "result.txt"
    path.write_text("before")
    write("name \udcff", str(path))
    assert "name" in path.read_text(errors="replace")
    assert os.listdir(tmp_path) == ["result.txt"]


def test_write_to_a_missing_folder(tmp_path: Path):
    with pytest.raises(InputError):
        write("text", str(tmp_path / "missing" / "result.txt"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", [None, "result.txt", "there.txt", "sub/result.txt", "./x"])
def test_check_output_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "there.txt").write_text("before")
    check_output(path)
    assert sorted(os.listdir(tmp_path)) == ["sub", "there.txt"]
    assert (tmp_path / "there.txt").read_text() == "before"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing/result.txt", "no folder 'missing'"),
        ("there.txt/result.txt", "no folder 'there.txt'"),
        ("sub", "is a folder"),
        (".", "is a folder"),
        ("x" * 300, "too long"),
    ],
)
def test_check_output_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, says: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "there.txt").write_text("before")
    with pytest.raises(InputError, match=says) as raised:
        check_output(path)
    assert f"-o {path}" in str(raised.value)


@pytest.mark.parametrize("locked", ["sub", "sub/result.txt"])
def test_check_output_asks_for_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str
):
    """As the system answers a person who is not root."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "result.txt").write_text("before")
    monkeypatch.setattr(os, "access", lambda path, _: str(path) != locked)
    with pytest.raises(InputError, match="permission"):
        check_output("sub/result.txt")


@pytest.mark.skipif(AS_ROOT, reason="permissions do not bind root")
def test_check_output_refuses_a_read_only_folder(tmp_path: Path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    try:
        with pytest.raises(InputError, match="permission"):
            check_output(str(locked / "result.txt"))
    finally:
        locked.chmod(0o755)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_is_full():
    with pytest.raises(InputError, match="-o /dev/full: cannot be written: No space left"):
        write("a report\n", "/dev/full")


def test_messages_order_no_terminal(capsys: pytest.CaptureFixture[str]):
    """Line by line: a message of several stays one."""
    say("a\x1b[2J\x9b1m\u202eb\r\nc\x00")
    assert capsys.readouterr().err == "a [2J 1m b \nc \n"


def test_a_name_with_a_zero_byte():
    with pytest.raises(InputError, match=r"-o a\x00b: a file's name has no zero byte"):
        check_output("a\0b")
