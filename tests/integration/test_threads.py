"""Analyses at once, beside a training thread, and within one another: right or refused."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import srprof
from srprof.cli import main
from srprof.running import in_run, replaced, reserved, surely

ROOT = Path(__file__).parents[2]
SHAPE = (1, 3, 8, 8)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + x


class Waits(Small):
    """Gives the caller's threads time in the middle of `forward`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.cuda.is_available()
        INSIDE.set()
        OUTSIDE.wait(10)
        return super().forward(x)


INSIDE, OUTSIDE = threading.Event(), threading.Event()


@contextmanager
def beside(work: Callable[[], Any]) -> Iterator[None]:
    """A thread of the caller's, that works while `Waits` is run for the first time."""
    INSIDE.clear(), OUTSIDE.clear()

    def wait_and_work() -> None:
        INSIDE.wait(10)
        try:
            work()
        finally:
            OUTSIDE.set()

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    yield
    thread.join()


def test_many_at_once_are_as_quiet_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import concurrency

    assert concurrency.at_once(12, 4) == 0


def test_nothing_stays_of_analyses_and_leans(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import concurrency

    network = concurrency.Plain()
    for call in (srprof.analyze, srprof.lean):
        for _ in range(2):
            call(network, SHAPE)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(3):
            call(network, SHAPE)
        gc.collect()
        assert (len(gc.get_objects()) - before) / 3 < 100


def test_a_thread_beside_is_not_of_the_run():
    """Neither its modules nor its threads are recorded, and it finds torch as it is."""
    quiet = srprof.trace(Small(), SHAPE)
    answers: list[Any] = []

    def work() -> None:
        answers.append(torch.cuda.is_available())
        answers.append(torch.empty(1, device="meta").is_cuda)
        Small()(torch.rand(SHAPE)).sum().backward()
        thread = threading.Thread(target=lambda: answers.append(in_run()))
        thread.start()
        thread.join()

    with beside(work):
        trace = srprof.trace(Waits(), SHAPE)
    assert answers == [False, False, False]
    assert [(n.op, n.module) for n in trace.nodes] == [(n.op, n.module) for n in quiet.nodes]
    assert (trace.calls[0], trace.unseen) == (quiet.calls[0], ())


def test_hooks_of_the_caller_are_his_in_his_threads():
    calls: list[nn.Module] = []
    mine = Small()
    with (
        register_module_forward_hook(lambda module, *_: calls.append(module)),
        beside(lambda: mine(torch.rand(SHAPE))),
    ):
        srprof.trace(Waits(), SHAPE)
    assert calls == [mine.body, mine]


ASKS = """\
from concurrent.futures import ThreadPoolExecutor
import srprof
from torch import nn

def ask():
    return srprof.analyze("fsrcnn", "8x8")

{at_import}
class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 3)
        {in_constructor}

    def forward(self, x):
        {in_forward}
        return super().forward(x)

def Lean():
    return srprof.lean(nn.Conv2d(3, 3, 3), (1, 3, 8, 8))
"""


@pytest.mark.parametrize("place", ["at_import", "in_constructor", "in_forward"])
def test_an_analysis_within_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
):
    places = dict.fromkeys(("at_import", "in_constructor", "in_forward"), "pass")
    (tmp_path / "asks.py").write_text(ASKS.format(**places | {place: "ask()"}))
    assert main(["analyze", f"{tmp_path}/asks.py:Net", "--input", "8x8"]) == 3
    line = capsys.readouterr().err
    assert "asks.py:6 has srprof run a network while srprof runs this one" in line
    assert line.count("\n") == 1


def test_one_in_a_thread_of_the_network_is_refused_and_no_deadlock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    places = dict.fromkeys(("at_import", "in_constructor"), "pass")
    steps = "with ThreadPoolExecutor(1) as pool: pool.submit(ask).result()"
    (tmp_path / "asks.py").write_text(ASKS.format(**places, in_forward=steps))
    assert main(["analyze", f"{tmp_path}/asks.py:Net", "--input", "8x8"]) == 3
    assert "has srprof run a network while srprof runs this one" in capsys.readouterr().err


def test_a_constructor_may_make_its_network_lean(tmp_path: Path):
    places = dict.fromkeys(("at_import", "in_constructor", "in_forward"), "pass")
    (tmp_path / "asks.py").write_text(ASKS.format(**places))
    trace = srprof.trace(f"{tmp_path}/asks.py:Lean", SHAPE)
    assert [node.op for node in trace.nodes] == ["convolution"]


def test_patches_are_taken_back_whatever_ends_the_run():
    before = torch.cuda.is_available, torch.Tensor.device, threading.Thread.start
    for error in (ValueError, KeyboardInterrupt, SystemExit):

        class Raises(Small):
            def forward(self, x: torch.Tensor, error: type = error) -> torch.Tensor:
                torch.cuda.is_available()
                raise error

        with pytest.raises((srprof.ModelError, KeyboardInterrupt)):
            srprof.analyze(Raises(), SHAPE)
        now = torch.cuda.is_available, torch.Tensor.device, threading.Thread.start
        assert now == before
        assert not in_run()


def test_ctrl_c_while_patches_are_taken_back_is_raised_after_all_are():
    once = iter([True])

    class Slow(type):
        def __setattr__(cls, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "second" and value == "own" and next(once, False):
                _thread.interrupt_main()

    class Patched(metaclass=Slow):
        first = second = "own"

    with (
        pytest.raises(KeyboardInterrupt),
        replaced([(Patched, "first", "new"), (Patched, "second", "new")]),
    ):
        assert Patched.first == "new"
    assert (Patched.first, Patched.second) == ("own", "own")
    assert not in_run()


def test_a_patch_ends_with_its_own_part_of_the_run():
    class Patched:
        name = "own"

    with reserved():
        with replaced([(Patched, "name", "new")]):
            assert Patched.name == "new"
        assert Patched.name == "own"


def test_other_threads_find_functions_and_properties_as_they_were():
    class Patched:
        value = property(lambda _: "own")

        def call(self) -> str:
            return "own"

    def look() -> None:
        found.append((Patched().value, Patched().call()))

    found: list[tuple[str, str]] = []
    new = [(Patched, "value", property(lambda _: "new")), (Patched, "call", lambda _: "new")]
    with replaced(new):
        look()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == [("new", "new"), ("own", "own")]


def test_other_threads_find_class_methods_as_they_were():
    class Patched:
        @classmethod
        def name(cls) -> str:
            return f"own of {cls.__name__}"

    class Derived(Patched):
        pass

    def look() -> None:
        found.append(Derived.name())

    found: list[str] = []
    before = vars(Patched)["name"]
    with replaced([(Patched, "name", classmethod(lambda cls: f"new of {cls.__name__}"))]):
        look()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == ["new of Derived", "own of Derived"]
    assert vars(Patched)["name"] is before


def test_ctrl_c_ends_no_step_that_puts_something_back():
    done: list[int] = []
    interrupts = iter([True, False, True])

    def step(number: int) -> None:
        if next(interrupts, False):
            raise KeyboardInterrupt
        done.append(number)

    with pytest.raises(KeyboardInterrupt):
        surely([lambda: step(1), lambda: step(2), lambda: step(3)])
    assert done == [1, 2, 3]


def test_what_a_step_raises_ends_no_other():
    done: list[int] = []
    raises = {1: iter([True]), 2: iter([True] * 9)}

    def step(number: int) -> None:
        if next(raises.get(number, iter(())), False):
            raise ValueError(number)
        done.append(number)

    with pytest.raises(ValueError, match="1"):
        surely([lambda: step(1), lambda: step(2), lambda: step(3)])
    assert done == [1, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_the_caller_forks_beside_a_run():
    """It has torch as it was, and may have a run of its own."""
    before, codes = torch.cuda.is_available, []

    def work() -> None:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that waits for a lock of no thread's
            with reserved():
                os._exit(0 if torch.cuda.is_available is before else 1)
        codes.append(os.waitpid(child, 0)[1])

    with beside(work):
        srprof.trace(Waits(), SHAPE)
    assert codes == [0]
