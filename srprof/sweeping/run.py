"""`srprof.sweep`: every configuration of a grid, in worker processes or on a Dask cluster."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srprof import spec as specs
from srprof._version import __version__
from srprof.call import Call
from srprof.cost.profiles import renamed
from srprof.errors import InputError, ModelError
from srprof.files import read_bytes
from srprof.inputs import RUN_DTYPES
from srprof.operators.known import given
from srprof.progress import Progress, silent
from srprof.sweeping.grid import check_arguments, configurations, parse_inputs, parse_metrics
from srprof.sweeping.journal import Journal
from srprof.sweeping.pools import GoneError, pool
from srprof.sweeping.record import Row, SweepPlan, frame
from srprof.sweeping.worker import Result
from srprof.timeout import limit

if TYPE_CHECKING:
    import pandas


def make_plan(
    call: Call,
    arguments: Mapping[str, Sequence[Any]],
    metrics: Sequence[str] = (),
    profile: str | None = None,
) -> SweepPlan:
    """Check what a sweep is asked for; no model is imported. Inputs are texts, or ranges of sizes.

    Raises:
        InputError: the SPEC, an input, an argument, a metric or the profile is wrong.
    """
    parsed = specs.parse(call.spec)
    if call.dtype is not None and call.dtype not in RUN_DTYPES:
        raise InputError(f"dtype {call.dtype!r} is not one of {', '.join(RUN_DTYPES)}")
    chosen = parse_metrics(metrics, profile)
    sizes = parse_inputs(call.inputs or ("256x256",))
    check_arguments(parsed, arguments)
    grid = configurations(parsed, sizes, arguments, call.dtype)
    if profile is not None:
        from srprof.cost.profiles import load_profile

        load_profile(profile)
    basis = {
        "srprof": __version__,
        "torch": _torch_version(),
        "metric set": list(chosen),
        "profile": None if profile is None else [profile, _digest(profile)],
        "dtype": [call.dtype, call.channels_last, call.trace_on],
        "definition of the network": _definition(parsed),
    }
    ops = given()
    if ops:
        basis["operators"] = [_digest(path) for path in ops]
    call = replace(call, inputs=())
    return SweepPlan(
        call, grid, tuple(arguments), chosen, profile, basis, os.getcwd(), limit(), ops
    )


def _torch_version() -> str:
    """The installed torch's, without loading it and without its build (`+cpu`)."""
    with suppress(PackageNotFoundError):
        return version("torch").partition("+")[0]
    return ""


def _digest(path: str) -> str:
    """Of a file's content; "" if there is none that can be read."""
    with suppress(InputError):
        return hashlib.sha256(read_bytes(path)).hexdigest()[:16]
    return ""


def _definition(spec: specs.Spec) -> str:
    """Of the SPEC's file and the Python files beside it, as far as it is one."""
    if spec.checkpoint:
        return _digest(spec.checkpoint)
    if not spec.location.endswith(".py"):
        return ""
    beside = sorted(Path(spec.location).resolve().parent.glob("*.py"))
    content = "".join(f"{path.name} {_digest(str(path))}\n" for path in beside)
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def sweep(
    spec: str,
    inputs: Sequence[str] = ("256x256",),
    arguments: Mapping[str, Sequence[Any]] | None = None,
    *,
    metrics: Sequence[str] = (),
    profile: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    trace_on: str = "auto",
    jobs: int = 1,
    dask: str | None = None,
    journal: str | None = None,
) -> pandas.DataFrame:
    """A network at every point of a grid.

    Args:
        spec: a SPEC string. inputs: sizes and ranges of them, as `--input` has them.
        arguments: values of the factory's arguments by name.
        metrics: names of `srprof.figures`; () is a usual set.
        profile: name or path of the one by which latency is predicted. device: its older name.
        dtype, channels_last, trace_on: as for `srprof.trace`.
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
    call = Call(spec, tuple(inputs), None, dtype, channels_last, trace_on)
    plan = make_plan(call, arguments or {}, metrics, renamed(profile, device))
    with Journal(None if journal is None else Path(journal), plan.basis) as kept:
        rows = rows_of(plan, kept, jobs=jobs, dask=dask)
    return frame(plan, rows)


def rows_of(
    plan: SweepPlan,
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
    missing = [c for c in plan.configurations if c.key not in journal.rows]
    if missing:
        done = len(plan.configurations) - len(missing)
        progress("configurations", done, len(plan.configurations))
        try:
            with pool(jobs, dask, len(missing)) as running:
                for result in running.results(plan, missing):
                    _check_versions(plan, result)
                    row = {**result.values, "error": result.error, "exit_code": result.exit_code}
                    journal.add(result.key, row)
                    done += 1
                    progress("configurations", done, len(plan.configurations))
        except GoneError as error:
            what = f"at {dask} stopped working after {done} of {len(plan.configurations)} rows"
            kept = "with -o FILE they would have been kept"
            if journal.path is not None:
                on = "the same command goes on, with this cluster or without"
                kept = f"they are kept in {journal.path}; {on}"
            raise InputError(f"the Dask cluster {what} ({error}): {kept}") from error
    rows = [{"error": "", "exit_code": 0, **journal.rows[c.key]} for c in plan.configurations]
    if all(row["error"] for row in rows):
        _all_failed(rows)
    pairs = zip(plan.configurations, rows, strict=True)
    cells = ({**row, **dict(c.arguments), "input": c.input} for c, row in pairs)
    return [{name: row.get(name) for name in plan.columns} for row in cells]


def _check_versions(plan: SweepPlan, result: Result) -> None:
    """Rows of a cluster's workers must be what this machine's would be."""
    here = (plan.basis["srprof"], plan.basis["torch"])
    there = (result.versions[0], result.versions[1].partition("+")[0])
    if here != there:
        what = f"the workers have srprof {there[0]} and torch {there[1]}"
        raise InputError(f"{what}, here are {here[0]} and {here[1]}: install the same on both")


def _all_failed(rows: Sequence[Row]) -> None:
    count = f"all {len(rows)} configurations" if len(rows) > 1 else "the one configuration"
    message = f"{count} failed; the first: {rows[0]['error']}"
    if all(row["exit_code"] == 2 for row in rows):
        raise InputError(message)
    raise ModelError(message)
