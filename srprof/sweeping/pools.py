"""Where a sweep runs: in this process, in worker processes, or on a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from srprof.errors import InputError
from srprof.sweeping.child import DIED, compute_apart
from srprof.sweeping.grid import Configuration
from srprof.sweeping.record import SweepPlan
from srprof.sweeping.server import can_fork, start_server
from srprof.sweeping.worker import Result, begin, compute

#: Most configurations of one task.
_CHUNK = 4
#: Seconds that a Dask scheduler may take to answer, at first and after it went silent.
DASK_TIMEOUT = 5.0
#: How often a lost scheduler is looked for, in seconds.
_LOOK = 0.5


class _Here(Executor):
    """Runs in this process, when it is asked."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Pool:
    """Runs tasks through an executor; a worker that dies costs the row that killed it only.

    `broken` is what its futures then raise; `compute` is what the worker runs.
    """

    broken: type[BaseException] = BrokenProcessPool
    compute: Callable[[SweepPlan], list[Result]] = staticmethod(compute)

    def __init__(self, executor: Callable[[int], Executor], jobs: int) -> None:
        self._executor = executor
        self._jobs = jobs

    def results(self, plan: SweepPlan, some: Sequence[Configuration]) -> Iterator[Result]:
        """Results as they come."""
        left = {c.key: c for c in some}
        size = min(_CHUNK, max(1, len(some) // (8 * self._jobs)))
        while left:
            try:
                for result in self._parallel(plan, list(left.values()), size):
                    del left[result.key]
                    yield result
            except self.broken:
                suspects = list(left.values())[: 3 * self._jobs * size]
                for result in self._one_by_one(plan, suspects):
                    del left[result.key]
                    yield result

    def _parallel(self, plan: SweepPlan, some: list[Configuration], size: int) -> Iterator[Result]:
        tasks = [plan.part(some[i : i + size]) for i in range(0, len(some), size)]
        executor = self._executor(self._jobs)
        waiting: set[Future[list[Result]]] = set()
        try:
            # a few ahead of the workers: an interruption then waits for what runs only
            while tasks or waiting:
                while tasks and len(waiting) < 3 * self._jobs:
                    waiting.add(executor.submit(self.compute, tasks.pop(0)))
                done, waiting = wait(waiting, timeout=_LOOK, return_when="FIRST_COMPLETED")
                self.look()
                for future in done:
                    yield from future.result()
        finally:
            for future in waiting:
                future.cancel()
            self.close(executor, wait=not waiting)

    def look(self) -> None:
        """Called while waiting; raises if there is nothing more to wait for."""

    def close(self, executor: Executor, *, wait: bool) -> None:
        """End an executor; without waiting, what runs may still run for a while."""
        executor.shutdown(wait=wait, cancel_futures=True)

    def _one_by_one(self, plan: SweepPlan, some: Sequence[Configuration]) -> Iterator[Result]:
        for configuration in some:
            executor = self._executor(1)
            try:
                yield from executor.submit(self.compute, plan.part([configuration])).result()
            except self.broken:
                versions = (str(plan.basis["srprof"]), str(plan.basis["torch"]))
                yield Result(configuration.key, {}, DIED, 3, versions)
            finally:
                self.close(executor, wait=True)


def _processes(jobs: int) -> Executor:
    """Worker processes that have torch from the start, where the system can fork a server."""
    context = multiprocessing.get_context("forkserver" if can_fork() else "spawn")
    start_server()
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=begin)


class _DaskPool(Pool):
    """Runs tasks on a cluster, and notices when its scheduler is gone."""

    compute = staticmethod(compute_apart)

    def __init__(self, client: Any) -> None:
        from distributed.scheduler import KilledWorker

        self.broken = KilledWorker
        workers = sum(client.nthreads().values()) or 1
        super().__init__(lambda _: client.get_executor(retries=2), workers)
        self._client = client
        self._seen = time.monotonic()

    def look(self) -> None:
        if self._client.status == "running":
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > DASK_TIMEOUT:
            raise GoneError("its scheduler does not answer")

    def close(self, executor: Executor, *, wait: bool) -> None:
        """End an executor, which Dask's client outlives."""
        executor.shutdown(wait=wait and self._client.status == "running")

    def results(self, plan: SweepPlan, some: Sequence[Configuration]) -> Iterator[Result]:
        try:
            yield from super().results(plan, some)
        except (InputError, GoneError):
            raise
        except (CancelledError, Exception) as error:
            if self._client.status == "running":
                raise
            raise GoneError("its scheduler does not answer") from error


class GoneError(Exception):
    """The cluster stopped working in the middle."""


@contextmanager
def pool(jobs: int, dask: str | None, count: int) -> Iterator[Pool]:
    """Where tasks run."""
    if dask is not None:
        with _client(dask) as client:
            yield _DaskPool(client)
    elif min(jobs, count) == 1:
        yield Pool(lambda _: _Here(), 1)
    else:
        yield Pool(_processes, min(jobs, count))


def _check_reachable(address: str) -> None:
    """Refuse an address at which nothing listens, which Dask would find out later and at length."""
    parts = re.fullmatch(r"(?:(\w+)://)?(\[[^]]+\]|[^:/\s]+):(\d{1,5})", address)
    if parts is None or int(parts[3]) > 65535:
        raise InputError(f"--dask {address!r} is no address: write tcp://host:8786")
    if parts[1] not in (None, "tcp", "tls"):
        return  # Dask knows more protocols
    try:
        socket.create_connection((parts[2].strip("[]"), int(parts[3])), DASK_TIMEOUT).close()
    except OSError as error:
        raise _unreachable(address) from error


def _unreachable(address: str) -> InputError:
    mend = "check the address, and that `dask scheduler` runs"
    return InputError(f"--dask {address}: no scheduler answers there; {mend}")


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address; an InputError if nobody answers there."""
    try:
        from distributed import Client
    except ImportError:
        mend = "pip install 'srprof[dask]'"
        raise InputError(f"--dask needs the package distributed: {mend}") from None
    _check_reachable(address)
    with _quiet("distributed"):
        try:
            connect: Any = Client  # its functions have no types
            client = connect(address, timeout=DASK_TIMEOUT, set_as_default=False)
        except Exception as error:
            raise _unreachable(address) from error
        try:
            if not client.nthreads():
                what = f"--dask {address}: the cluster has no worker"
                raise InputError(f"{what}; start `dask worker`")
            yield client
        finally:
            client.close(timeout=1)


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """A library's loggers say nothing meanwhile: what it would, an error here says in a line."""
    names = [n for n in logging.root.manager.loggerDict if (n + ".").startswith(library + ".")]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
