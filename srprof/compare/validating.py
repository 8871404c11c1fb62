"""Several validations in turn: of records, or of new measurements, which may be kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from srprof.compare.validate import Validation, Validations, trace_of, validate
from srprof.errors import InputError, Interrupted, user_raised
from srprof.failures import failure, wrong_input
from srprof.measuring.record import Measurement, load
from srprof.memory.workspace import WorkspaceTable
from srprof.output import write
from srprof.progress import Progress, silent
from srprof.timeout import limited

if TYPE_CHECKING:
    from srprof.call import Call

#: The table of scratch beside the records that are kept.
SCRATCH = "workspace.json"


def validate_all(
    measurements: Iterable[Measurement | str], tolerance: float, folder: Path | None = None
) -> Validations:
    """Validate measurements; a text in the place of one says why there is none.

    A table of the scratch goes into the `folder` of the records that are kept. An InputError if
    what is measured is wrong; Interrupted after Ctrl-C.
    """
    validations: list[Validation] = []
    errors: list[str] = []
    interrupted = False
    try:
        for measurement in measurements:
            if isinstance(measurement, str):
                errors.append(measurement)
                continue
            try:
                with limited(measurement.spec):
                    traced = trace_of(measurement)
                validations.append(validate(measurement, traced, tolerance))
            except user_raised() as error:
                errors.append(f"{measurement.spec}: {failure(error)}")
    except KeyboardInterrupt:
        interrupted = True
    if folder is not None and validations:
        tables = (validation.workspaces for validation in validations)
        table = reduce(WorkspaceTable.joined, tables, WorkspaceTable())
        write(table.to_json(), str(folder / SCRATCH))
    record = Validations(tuple(validations), tuple(errors))
    if interrupted:
        raise Interrupted(record)
    return record


def measured(
    calls: Iterable[Call],
    device: str,
    repeat: int = 0,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Iterator[Measurement | str]:
    """A measurement of each call, of a SPEC at one size; or in a line why it failed.

    Each record is kept in the `folder`. An InputError if a SPEC or a size is wrong, or there is no
    such device.
    """
    from srprof.measuring.run import measure

    for call in calls:
        (size,) = call.inputs
        try:
            with limited(f"{call.spec} at {size}"):
                measurement = measure(call, device=device, repeat=repeat, progress=progress)
        except user_raised() as raised:
            error = failure(raised)
            if wrong_input(error):
                raise
            yield f"{', '.join(filter(None, (f'{call.spec} at {size}', call.dtype)))}: {error}"
        else:
            if folder is not None:
                name = f"{call.spec}_{size}_{measurement.dtype}"
                name = "".join(c if c.isalnum() or c in "_-." else "_" for c in name)
                write(measurement.to_json(), str(folder / f"{name}.json"))
            yield measurement


def recorded(paths: Sequence[str]) -> Iterator[Measurement]:
    """Measurements in these files, and in those of these folders.

    An InputError if a file is no record, or a folder has none.
    """
    yield from map(load, record_files(paths))


def record_files(paths: Sequence[str]) -> Iterator[str]:
    """These files, and those of these folders but for the table of scratch.

    An InputError if a folder has none.
    """
    for path in paths:
        files = [path]
        if Path(path).is_dir():
            files = [str(f) for f in sorted(Path(path).glob("*.json")) if f.name != SCRATCH]
        if not files:
            raise InputError(f"--record {path}: there is no record in it; `--save` writes some")
        yield from files
