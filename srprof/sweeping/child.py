"""Programs of their own that a Dask worker hands its tasks to, and keeps for the next.

A Dask worker samples the stacks of its threads, and a frame that is being looked at keeps its
variables' tensors alive for longer than they live: lifetimes would be wrong now and then. Dask's
worker processes may not start others by `multiprocessing`, so tasks and results go through pipes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from srprof._version import __version__
from srprof.sweeping.grid import Configuration
from srprof.sweeping.record import SweepPlan
from srprof.sweeping.worker import Result, compute

DIED = "the process that ran it died: killed, out of memory, or a crash"

_idle: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()


def compute_apart(task: SweepPlan) -> list[Result]:
    """The results of a task, computed by another program on this machine.

    What kills that program costs its own row only.
    """
    try:
        return _ask(task)
    except EOFError:
        return [result for c in task.configurations for result in _alone(task, c)]


def _alone(task: SweepPlan, configuration: Configuration) -> Sequence[Result]:
    try:
        return _ask(task.part([configuration]))
    except EOFError:
        import torch

        return [Result(configuration.key, {}, DIED, 3, (__version__, str(torch.__version__)))]


def _ask(task: SweepPlan) -> list[Result]:
    with _child() as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            pickle.dump(task, child.stdin)
            child.stdin.flush()
            results: list[Result] = pickle.load(child.stdout)
        except (BrokenPipeError, pickle.UnpicklingError) as error:
            raise EOFError from error
        return results


@contextlib.contextmanager
def _child() -> Iterator[subprocess.Popen[bytes]]:
    """A program that waits for tasks; it is kept if it answered."""
    with _lock:
        child = _idle.pop() if _idle else None
    if child is None:
        command = [sys.executable, "-m", "srprof.sweeping.child"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield child
    except BaseException:
        child.kill()
        child.communicate()
        raise
    with _lock:
        _idle.append(child)


def main() -> None:
    """The program: tasks on stdin, results on what was stdout; networks print to stderr."""
    import torch

    torch.set_num_threads(1)
    with os.fdopen(os.dup(1), "wb") as results:
        os.dup2(2, 1)
        while True:
            try:
                task: SweepPlan = pickle.load(sys.stdin.buffer)
            except EOFError:  # there are no more
                return
            pickle.dump(compute(task), results)
            results.flush()


if __name__ == "__main__":
    main()
