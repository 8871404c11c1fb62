"""What stands beside what it becomes: exchanged at once, and gone when its process is gone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from srprof import temporary as module
from srprof.errors import InputError
from srprof.output import replacing
from srprof.temporary import alone_in, clear, lock, replace_folder, temporary

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and locks")


def killed(work: Callable[[], object]) -> None:
    """Have another process do this, and end without a word."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(9)
    os.waitpid(child, 0)


def killed_in(folder: Path, is_folder: bool = False) -> None:
    def work() -> NoReturn:
        with temporary(folder, is_folder=is_folder) as path:
            if is_folder:
                (path / "half").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    killed(work)


@pytest.mark.parametrize("is_folder", [True, False])
def test_the_next_one_takes_away_what_a_killed_one_left(tmp_path: Path, is_folder: bool):
    for name in (".srprof-baseline", ".srprof-tmp-mine.txt"):
        (tmp_path / name).write_text("a person's")
    with temporary(tmp_path, is_folder=is_folder) as first:
        killed_in(tmp_path, is_folder)
        assert len(os.listdir(tmp_path)) == 4
        with replacing(tmp_path / "result"):
            assert first.exists()
        assert len(os.listdir(tmp_path)) == 4
    assert sorted(os.listdir(tmp_path)) == [".srprof-baseline", ".srprof-tmp-mine.txt", "result"]


def test_a_folder_is_one_process_s(tmp_path: Path):
    with alone_in(tmp_path, "in use"):
        for _ in range(2):
            with pytest.raises(InputError, match="in use"), alone_in(tmp_path, "in use"):
                pass
        killed(lambda: alone_in(tmp_path, "in use").__enter__())
    with alone_in(tmp_path, "in use"):
        pass


def test_a_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is refused, and nothing taken away."""
    killed_in(tmp_path)

    def fails(*_: object) -> NoReturn:
        raise OSError("no locks available")

    monkeypatch.setattr(module.fcntl, "flock", fails)
    with temporary(tmp_path) as path, alone_in(tmp_path, "in use"):
        assert lock(0) is None
        assert len(os.listdir(tmp_path)) == 2
    assert not path.exists() and len(os.listdir(tmp_path)) == 1


# -- folders --------------------------------------------------------------------------------------


def written(place: Path, text: str) -> Path:
    place.mkdir()
    (place / "page").write_text(text)
    return place


def put(tmp_path: Path, text: str) -> None:
    """Replace the folder `report` by one with this text."""
    with temporary(tmp_path, is_folder=True) as place:
        replace_folder(written(place / "new", text), tmp_path / "report")


@pytest.mark.parametrize("system", ["exchanges", "renames"])
def test_a_folder_is_replaced(tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch):
    if system == "renames":
        monkeypatch.setattr(module, "_exchange", lambda *_: False)
    for text in ("first", "second", "third"):
        put(tmp_path, text)
        assert (tmp_path / "report" / "page").read_text() == text
        assert os.listdir(tmp_path) == ["report"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not exchange folders")
def test_at_every_moment_a_folder_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, "first")
    monkeypatch.setattr(os, "rename", lambda *_: pytest.fail("two renames"))
    put(tmp_path, "second")


@pytest.mark.parametrize("interrupted", [0, 1])
@pytest.mark.parametrize("how", ["ctrl-c", "kill"])
def test_two_renames_lose_nothing(
    tmp_path: Path, interrupted: int, how: str, monkeypatch: pytest.MonkeyPatch
):
    """Where the system does not exchange folders: the earlier one comes back."""
    put(tmp_path, "first")
    real, calls = os.rename, iter(range(9))

    def rename(one: Path, other: Path) -> None:
        real(one, other)
        if next(calls) == interrupted:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_exchange", lambda *_: False)
        patch.setattr(os, "rename", rename)
        if how == "kill":
            killed(lambda: put(tmp_path, "second"))
        else:
            with pytest.raises(KeyboardInterrupt):
                put(tmp_path, "second")
    clear(tmp_path)
    assert (tmp_path / "report" / "page").read_text() == ("first", "second")[interrupted]
    assert os.listdir(tmp_path) == ["report"]
