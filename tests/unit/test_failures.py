"""Whose error it is that nobody caught, in one line."""

from __future__ import annotations

import errno
import os

import pytest

from srprof.cli import main
from srprof.errors import (
    DeviceMemoryError,
    InputError,
    InternalError,
    ModelError,
    SrprofError,
    Stop,
    user_raised,
)
from srprof.failures import Failures, failure
from tests.cases.strange import RAISED, Mute, fault
from tests.refusals import one_line


def failed(raising, *args: object) -> SrprofError:
    try:
        raising(*args)
    except BaseException as error:
        return failure(error)
    raise AssertionError("it raised nothing")


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """`srprof list` has a fault, which no line of a user's takes part in."""
    code = compile("def run(args):\n    {}['a key']\n", f"{srprof_folder()}/cli/list.py", "exec")
    scope: dict[str, object] = {}
    exec(code, scope)
    monkeypatch.setattr("srprof.cli.list.run", scope["run"])


@pytest.mark.parametrize(
    "refused", [errno.EMFILE, errno.ENOSPC, errno.EFBIG, errno.ENAMETOOLONG, errno.EACCES]
)
def test_what_the_system_refuses_is_no_fault(
    refused: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    code = f"def run(args):\n    raise OSError({refused}, 'no', 'a\\x1b.json')\n"
    scope: dict[str, object] = {}
    exec(compile(code, f"{srprof_folder()}/cli/list.py", "exec"), scope)
    monkeypatch.setattr("srprof.cli.list.run", scope["run"])
    assert main(["list"]) == 2
    line = one_line(capsys.readouterr().err)
    assert line.startswith(f"srprof: the system refuses: {os.strerror(refused)} (a .json); ")


def srprof_folder() -> str:
    import srprof

    return srprof.__path__[0]


@pytest.mark.parametrize("kind", RAISED)
def test_what_a_user_s_line_raised_is_the_network_s(kind: str):
    error = failed(fault, kind)
    assert isinstance(error, ModelError)
    assert error.file.endswith("strange.py")
    assert error.line
    assert type(RAISED[kind]()).__name__ in str(error)


def test_an_error_of_srprof_s_is_itself():
    error = InputError("a wrong size")

    def refuse() -> None:
        raise error

    assert failed(refuse) is error


def test_a_fault_of_srprof_s_own(forgetful, capsys, monkeypatch):
    monkeypatch.delenv("SRPROF_DEBUG", raising=False)
    assert main(["list"]) == InternalError.exit_code == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    line = one_line(captured.err)
    for part in (
        "a fault of srprof",
        "KeyError",
        "list.py:2",
        "'a key'",
        "SRPROF_DEBUG=1",
        "issue",
    ):
        assert part in line


@pytest.mark.parametrize("value", ["1", "yes"])
def test_the_traceback_on_demand(forgetful, capsys, monkeypatch, value: str):
    monkeypatch.setenv("SRPROF_DEBUG", value)
    assert main(["list"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("srprof: a fault of srprof")


def test_the_traceback_of_what_has_no_text(capsys, monkeypatch):
    monkeypatch.setenv("SRPROF_DEBUG", "1")
    failed(fault, "mute")
    assert "in fault" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stop()])
def test_what_is_not_the_network_s_own_passes(error: BaseException):
    with pytest.raises(type(error)):
        try:
            raise error
        except user_raised():
            pytest.fail("it was taken for the network's")


def test_one_that_fails_alone():
    failures = Failures()
    with failures.alone("net.py:A"):
        raise Mute
    with failures.alone("net.py:B"):
        raise DeviceMemoryError("too large for the device")
    with failures.alone("net.py:C"):
        pass
    assert list(failures.errors) == ["net.py:A", "net.py:B"]
    assert "net.py:C" not in failures
    assert failures.lines()[1] == "net.py:B failed: too large for the device"
    failures.unless_any(["net.py:C"])
    with pytest.raises(ModelError, match="Mute"):
        failures.unless_any([])


def test_wrong_input_ends_the_whole():
    failures = Failures()
    with pytest.raises(InputError), failures.alone("net.py:A"):
        raise InputError("there is no such file")
    assert not failures.errors


@pytest.mark.parametrize(
    "asked, said",
    [
        ("", ""),
        (
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 2097152 bytes.",
            ", 2.00 MiB were asked for at once",
        ),
    ],
)
def test_memory_that_runs_out_in_no_line_of_the_network_s(asked: str, said: str):
    error = failure(RuntimeError(asked) if asked else MemoryError())
    assert error.exit_code == 3
    name = "RuntimeError" if asked else "MemoryError"
    text = f"main memory ran out ({name}){said}; give a smaller input, or more memory"
    assert str(error) == text
