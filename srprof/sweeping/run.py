"""`srprof.sweep`: every configuration of a grid, in worker processes or on a Dask cluster."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srprof import spec as specs
from srprof._version import __version__
from srprof.errors import InputError, ModelError
from srprof.inputs import RUN_DTYPES, check_shape
from srprof.measuring.progress import Progress, silent
from srprof.sweeping.child import DIED, compute_apart
from srprof.sweeping.grid import (
    Configuration,
    check_arguments,
    configurations,
    parse_inputs,
    parse_metrics,
)
from srprof.sweeping.journal import Journal, Row
from srprof.sweeping.worker import Result, Task, begin, compute

if TYPE_CHECKING:
    import pandas

#: Most configurations of one task.
_CHUNK = 8
#: Seconds that a Dask scheduler may take to answer, at first and after it went silent.
DASK_TIMEOUT = 5.0
#: How often a lost scheduler is looked for, in seconds.
_LOOK = 0.5


@dataclass(frozen=True)
class Plan:
    """What is computed, all of it checked.

    Attributes:
        configurations: in the order of the table.
        basis: what the rows depend on beside these.
    """

    spec: str
    configurations: tuple[Configuration, ...]
    arguments: tuple[str, ...]
    metrics: tuple[str, ...]
    device: str | None
    dtype: str
    channels_last: bool
    trace_on: str
    basis: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return (*self.arguments, "input", *self.metrics, "error")

    def task(self, some: Sequence[Configuration]) -> Task:
        """A task for some of the configurations."""
        return Task(
            configurations=tuple(some),
            metrics=self.metrics,
            device=self.device,
            dtype=self.dtype,
            channels_last=self.channels_last,
            trace_on=self.trace_on,
            folder=os.getcwd(),
        )


def plan(
    spec: str,
    inputs: Sequence[str] = ("256x256",),
    arguments: Mapping[str, Sequence[Any]] | None = None,
    *,
    metrics: Sequence[str] = (),
    device: str | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
    trace_on: str = "auto",
) -> Plan:
    """Check what a sweep is asked for; no model is imported.

    Raises:
        InputError: the SPEC, an input, an argument, a metric or the device is wrong.
    """
    parsed = specs.parse(spec)
    if dtype not in RUN_DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(RUN_DTYPES)}")
    arguments = dict(arguments or {})
    chosen = parse_metrics(metrics, device)
    sizes = parse_inputs(inputs)
    check_arguments(parsed, arguments)
    grid = configurations(parsed, sizes, arguments)
    for point in grid[: len(sizes)]:
        check_shape(point.shape, dtype)
    if device is not None:
        from srprof.cost.devices import load_device

        load_device(device)
    basis = {
        "srprof": __version__,
        "torch": _torch_version(),
        "metric set": list(chosen),
        "device": None if device is None else [device, _digest(device)],
        "dtype": [dtype, channels_last, trace_on],
        "definition of the network": _definition(parsed),
    }
    return Plan(
        spec=spec,
        configurations=grid,
        arguments=tuple(arguments),
        metrics=chosen,
        device=device,
        dtype=dtype,
        channels_last=channels_last,
        trace_on=trace_on,
        basis=basis,
    )


def _torch_version() -> str:
    """The installed torch's, without loading it and without its build (`+cpu`)."""
    try:
        return version("torch").partition("+")[0]
    except PackageNotFoundError:
        return ""


def _digest(path: str) -> str:
    """Of a file's content; "" if there is none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def _definition(spec: specs.Spec) -> str:
    """Of the SPEC's file and the Python files beside it, as far as it is one."""
    if spec.checkpoint:
        return _digest(spec.checkpoint)
    if not spec.location.endswith(".py"):
        return ""
    beside = sorted(Path(spec.location).resolve().parent.glob("*.py"))
    content = "".join(f"{path.name} {_digest(str(path))}\n" for path in beside)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def sweep(
    spec: str,
    inputs: Sequence[str] = ("256x256",),
    arguments: Mapping[str, Sequence[Any]] | None = None,
    *,
    metrics: Sequence[str] = (),
    device: str | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
    trace_on: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    journal: str | None = None,
) -> pandas.DataFrame:
    """A network at every point of a grid.

    Args:
        spec: a SPEC string.
        inputs: sizes and ranges of them, as `--input` has them.
        arguments: values of the factory's arguments by name.
        metrics: names in `srprof.sweeping.grid.METRICS`; () is a usual set.
        device: the profile that latency is predicted for.
        dtype, channels_last, trace_on: as for `analyze`.
        jobs: processes; 1 is this one. With more, a script needs `if __name__ == "__main__":`.
        dask: address of a Dask scheduler, in the place of processes.
        journal: file that keeps each row at once, from which the same call goes on.

    Returns:
        A row for each configuration in the order of the grid: its arguments, its input, the
        metrics (bytes, counts, milliseconds), and the error of those that failed.

    Raises:
        InputError: what is asked for is wrong, or the cluster is gone.
        ModelError: no configuration could be run.
    """
    asked = plan(
        spec,
        inputs,
        arguments,
        metrics=metrics,
        device=device,
        dtype=dtype,
        channels_last=channels_last,
        trace_on=trace_on,
    )
    with Journal(None if journal is None else Path(journal), asked.basis) as kept:
        rows = rows_of(asked, kept, jobs=jobs, dask=dask)
    from srprof.render.sweep import frame

    return frame(asked, rows)


def rows_of(
    asked: Plan,
    journal: Journal,
    *,
    jobs: int = 1,
    dask: str | None = None,
    progress: Progress = silent,
) -> list[Row]:
    """The rows of a plan in its order; those that the journal lacks are computed.

    Raises:
        InputError: the cluster cannot be reached or is gone; every configuration is wrong.
        ModelError: every configuration failed.
    """
    if jobs < 1:
        raise InputError(f"--jobs {jobs}: give a number of processes, 1 or more")
    missing = [c for c in asked.configurations if c.key not in journal.rows]
    if missing:
        done = len(asked.configurations) - len(missing)
        progress("configurations", done, len(asked.configurations))
        try:
            with _pool(jobs, dask, len(missing)) as pool:
                for result in pool.results(asked, missing):
                    _check_versions(asked, result)
                    row = {**result.values, "error": result.error, "exit_code": result.exit_code}
                    journal.add(result.key, row)
                    done += 1
                    progress("configurations", done, len(asked.configurations))
        except _GoneError as error:
            raise InputError(
                f"the Dask cluster at {dask} stopped working after {done} of "
                f"{len(asked.configurations)} rows ({error}): {_how_to_go_on(journal)}"
            ) from error
    found = [journal.rows[c.key] for c in asked.configurations]
    if all(row["error"] for row in found):
        _all_failed(found)
    return [
        {**dict(c.arguments), "input": c.input, **{m: row.get(m) for m in asked.metrics},
         "error": row["error"]}
        for c, row in zip(asked.configurations, found, strict=True)
    ]  # fmt: skip


def _how_to_go_on(journal: Journal) -> str:
    if journal.path is None:
        return "with -o FILE they would have been kept"
    return (
        f"they are kept in {journal.path}; the same command goes on, with this cluster or without"
    )


def _check_versions(asked: Plan, result: Result) -> None:
    """Rows of a cluster's workers must be what this machine's would be."""
    here = (asked.basis["srprof"], asked.basis["torch"])
    there = (result.versions[0], result.versions[1].partition("+")[0])
    if here != there:
        raise InputError(
            f"the workers have srprof {there[0]} and torch {there[1]}, here are {here[0]} and "
            f"{here[1]}: install the same on both"
        )


def _all_failed(rows: Sequence[Row]) -> None:
    count = f"all {len(rows)} configurations" if len(rows) > 1 else "the one configuration"
    message = f"{count} failed; the first: {rows[0]['error']}"
    if all(row["exit_code"] == 2 for row in rows):
        raise InputError(message)
    raise ModelError(message)


# -- where it runs --------------------------------------------------------------------------------


class _Here(Executor):
    """Runs in this process, when it is asked."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run at once."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class _Pool:
    """Runs tasks through an executor; a worker that dies costs the row that killed it only.

    `broken` is what its futures then raise; `compute` is what the worker runs.
    """

    broken: type[BaseException] = BrokenProcessPool
    compute: Callable[[Task], list[Result]] = staticmethod(compute)

    def __init__(self, executor: Callable[[int], Executor], jobs: int) -> None:
        self._executor = executor
        self._jobs = jobs

    def results(self, asked: Plan, some: Sequence[Configuration]) -> Iterator[Result]:
        """Results as they come."""
        left = {c.key: c for c in some}
        size = min(_CHUNK, max(1, len(some) // (8 * self._jobs)))
        while left:
            try:
                for result in self._parallel(asked, list(left.values()), size):
                    del left[result.key]
                    yield result
            except self.broken:
                suspects = list(left.values())[: 2 * self._jobs * size]
                for result in self._one_by_one(asked, suspects):
                    del left[result.key]
                    yield result

    def _parallel(self, asked: Plan, some: Sequence[Configuration], size: int) -> Iterator[Result]:
        tasks = [asked.task(some[i : i + size]) for i in range(0, len(some), size)]
        executor = self._executor(self._jobs)
        waiting: set[Future[list[Result]]] = set()
        try:
            # a few ahead of the workers: an interruption then waits for what runs only
            while tasks or waiting:
                while tasks and len(waiting) < 2 * self._jobs:
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

    def _one_by_one(self, asked: Plan, some: Sequence[Configuration]) -> Iterator[Result]:
        for configuration in some:
            executor = self._executor(1)
            try:
                yield from executor.submit(self.compute, asked.task([configuration])).result()
            except self.broken:
                versions = (str(asked.basis["srprof"]), str(asked.basis["torch"]))
                yield Result(configuration.key, {}, DIED, 3, versions)
            finally:
                self.close(executor, wait=True)


def _processes(jobs: int) -> Executor:
    """Worker processes that have torch from the start, where the system can fork a server."""
    context = multiprocessing.get_context("forkserver" if _can_fork() else "spawn")
    start_server()
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=begin)


def _can_fork() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def start_server() -> None:
    """Start the process that the workers are forked from; it loads torch meanwhile."""
    if _can_fork():
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(["srprof.sweeping.preload"])
        forkserver.ensure_running()


class _DaskPool(_Pool):
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
        """Raises if the scheduler has been silent for too long."""
        if self._client.status == "running":
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > DASK_TIMEOUT:
            raise _GoneError("its scheduler does not answer")

    def close(self, executor: Executor, *, wait: bool) -> None:
        """End an executor, which Dask's client outlives."""
        executor.shutdown(wait=wait and self._client.status == "running")

    def results(self, asked: Plan, some: Sequence[Configuration]) -> Iterator[Result]:
        """Results as they come."""
        try:
            yield from super().results(asked, some)
        except (InputError, _GoneError):
            raise
        except (CancelledError, Exception) as error:
            if self._client.status == "running":
                raise
            raise _GoneError("its scheduler does not answer") from error


class _GoneError(Exception):
    """The cluster stopped working in the middle."""


@contextmanager
def _pool(jobs: int, dask: str | None, count: int) -> Iterator[_Pool]:
    """Where tasks run."""
    if dask is not None:
        with _client(dask) as client:
            yield _DaskPool(client)
    elif min(jobs, count) == 1:
        yield _Pool(lambda _: _Here(), 1)
    else:
        yield _Pool(_processes, min(jobs, count))


def _check_reachable(address: str) -> None:
    """Refuse an address at which nothing listens, which Dask would find out later and at length."""
    found = re.fullmatch(r"(?:(\w+)://)?(\[[^]]+\]|[^:/\s]+):(\d{1,5})", address)
    if found is None or int(found[3]) > 65535:
        raise InputError(f"--dask {address!r} is no address: write tcp://host:8786")
    if found[1] not in (None, "tcp", "tls"):
        return  # Dask knows more protocols
    try:
        socket.create_connection((found[2].strip("[]"), int(found[3])), DASK_TIMEOUT).close()
    except OSError as error:
        raise _unreachable(address) from error


def _unreachable(address: str) -> InputError:
    return InputError(
        f"--dask {address}: no scheduler answers there; check the address, and that "
        "`dask scheduler` runs"
    )


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address.

    Raises:
        InputError: `distributed` is not installed, or nobody answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "--dask needs the package distributed: pip install 'srprof[dask]'"
        ) from None
    _check_reachable(address)
    with _quiet("distributed"):
        yield from _connected(Client, address)


def _connected(connect: Any, address: str) -> Iterator[Any]:
    try:
        client = connect(address, timeout=DASK_TIMEOUT, set_as_default=False)
    except Exception as error:
        raise _unreachable(address) from error
    try:
        if not client.nthreads():
            raise InputError(f"--dask {address}: the cluster has no worker; start `dask worker`")
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
