"""`srprof calibrate --table` and `--from`: a profile with a table of measured operations."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from srprof.calibration.operations import Line, grid, identity, operation
from srprof.calibration.tabulate import tabulate
from srprof.cost.correction import doubted, read_table
from srprof.cost.measured import HeldOut, held_out
from srprof.cost.profiles import Profile
from srprof.cost.tables import TableRecord, figures_of
from srprof.errors import BusyError, InputError
from srprof.files import parse_json, read_text
from srprof.measuring.record import DeviceState
from srprof.progress import Progress, silent
from srprof.shown import Shown

#: Operations that are timed together.
_BATCH = 60
#: What a raw file says of where it was measured, in its first line.
_ABOUT = ("device", "torch", "cudnn", "driver")
_MEND = "measure again with srprof calibrate --table"


@dataclass(frozen=True, repr=False)
class Tabulated(Shown):
    """A table, and how far off it is from rows that it is asked for without having them.

    Attributes:
        by_width, by_size: errors by class of rows left out with all of their width, or size.
    """

    view = "tabulated"

    record: TableRecord
    by_width: tuple[HeldOut, ...]
    by_size: tuple[HeldOut, ...]


def tabulated(
    lines: Sequence[Line], about: dict[str, str], profile: Profile, command: str
) -> Tabulated:
    """A table of measured lines, read against a profile's figures."""
    if not any(line.get("kernels") for line in lines):
        raise InputError(f"there is no measured operation; {_MEND}")
    convolutions, operations = tabulate(lines)
    record = doubted(
        TableRecord(
            device=about.get("device") or profile.title,
            torch=about.get("torch", ""),
            cudnn=about.get("cudnn", ""),
            driver=about.get("driver", ""),
            command=command,
            profile=figures_of(profile),
            convolutions=convolutions,
            operations=operations,
        )
    )
    table = read_table(record).table
    return Tabulated(record, held_out(table, "width"), held_out(table, "size"))


def read_lines(path: str | Path) -> tuple[list[Line], dict[str, str]]:
    """The lines of a raw file, and what its first says of where they were measured.

    An InputError names the line that is none.
    """
    lines: list[Line] = []
    about: dict[str, str] = {}
    for number, text in enumerate(read_text(path, mend=_MEND).splitlines(), 1):
        if not text.strip():
            continue
        line = parse_json(text, f"{path}, line {number},", _MEND)
        if isinstance(line, dict) and "op" not in line and not lines:
            about = {name: str(line.get(name, "")) for name in _ABOUT}
            continue
        _check(line, f"{path}, line {number}")
        lines.append(line)
    return lines, about


_OF_A_CONVOLUTION = ("cin", "cout", "k", "h", "w", "groups", "stride", "dilation")


def _check(line: Any, where: str) -> None:
    if not isinstance(line, dict) or not isinstance(line.get("op"), str):
        raise InputError(f"{where}, names no operation; {_MEND}")
    sizes = _OF_A_CONVOLUTION if line["op"] == "conv2d" else ("c", "h", "w")
    for name in sizes:
        if type(line.get(name)) is not int or line[name] < 1:
            raise InputError(f"{where}, has no whole number {name}; {_MEND}")
    try:
        operation(line)
    except KeyError as error:
        raise InputError(f"{where}, has an operation {error} that is not known; {_MEND}") from error
    kernels = line.get("kernels", [])
    if not isinstance(kernels, list) or not all(_is_kernel(kernel) for kernel in kernels):
        raise InputError(f"{where}: kernels must be pairs of a name and microseconds; {_MEND}")


def _is_kernel(kernel: Any) -> bool:
    return (
        isinstance(kernel, list)
        and len(kernel) == 2
        and isinstance(kernel[1], (int, float))
        and 0 < kernel[1] < 1e9
    )


def measure_here(
    device: str, profile: Profile, journal: Path, budget: float, progress: Progress = silent
) -> Tabulated:
    """Measure the grid's operations on this machine's GPU, for so many seconds at most.

    Raises as `measure` does, and an InputError if there is no such GPU.
    """
    from srprof.calibration.timing import time_lines
    from srprof.measuring.cuda import CudaBackend

    backend = CudaBackend(device, None)
    hardware, command = backend.device(), f"srprof calibrate --device {device} --table"
    versions = {"torch": torch.__version__, "cudnn": str(torch.backends.cudnn.version())}
    about = {"device": hardware.name, **versions, "driver": hardware.driver or ""}
    with backend.active():
        timed = partial(time_lines, device=backend.where)
        lines = measure(timed, about, journal, budget, backend.state, progress)
    return tabulated(lines, about, profile, command)


def measure(
    timed: Callable[[Sequence[Line]], list[dict[str, Any]]],
    about: dict[str, str],
    journal: Path,
    budget: float,
    state: Callable[[], DeviceState | None],
    progress: Progress = silent,
) -> list[Line]:
    """Time the grid's operations until all are timed or the budget, in seconds, is spent.

    What is timed is in the journal at once; a later call goes on from there. An InputError says
    that the journal is of another device or version, a BusyError that the device is held down.
    """
    lines: list[Line] = []
    if journal.exists():
        lines, there = read_lines(journal)
        different = [f"{name} {there[name]!r}" for name in _ABOUT if there[name] != about[name]]
        if different:
            raise InputError(
                f"{journal} was measured on other things ({', '.join(different)}): delete it to "
                "measure anew, or name another profile with -o"
            )
    else:
        journal.write_text(json.dumps(about) + "\n", encoding="utf-8")
    known = {identity(line) for line in lines}
    todo = [line for line in grid() if identity(line) not in known]
    whole, until = len(todo), time.monotonic() + budget
    while todo and time.monotonic() < until:
        _refuse_throttled(state())
        progress("timing operations", whole - len(todo), whole)
        done = timed(todo[:_BATCH])
        with journal.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in done)
        lines += done
        todo = todo[len(done) :]
    return lines


def _refuse_throttled(state: DeviceState | None) -> None:
    held = [reason for reason in (state and state.throttled) or () if reason in _HELD_DOWN]
    if held:
        assert state is not None
        raise BusyError(
            f"the GPU is held down ({', '.join(held)}; {state.sm_clock_mhz} MHz at "
            f"{state.temperature_c} C), so its times mean nothing: let it cool, or lift the limit"
        )


#: Reasons of NVML's that make a GPU slower than it is; a power cap is part of what it is.
_HELD_DOWN = frozenset(
    {"hardware slowdown", "software thermal slowdown", "hardware thermal slowdown"}
    | {"hardware power brake"}
)
