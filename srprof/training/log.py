"""The log of a run: `log.csv`, and TensorBoard's events beside it if they are asked for."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from srprof.errors import InputError
from srprof.files import read_bytes
from srprof.loading import needed
from srprof.output import replacing

NAME = "log.csv"


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of the log; None is left empty."""

    iteration: int
    lr: float
    loss: float | None = None
    validation_psnr: float | None = None
    validation_l1: float | None = None


COLUMNS = tuple(column.name for column in fields(LogRow))


class Log:
    """Rows by iteration, and TensorBoard's events if they are wanted.

    A run that goes on at an iteration drops the rows that its checkpoint does not know. An
    InputError if the file cannot be written, or the package tensorboard is missing.
    """

    def __init__(self, folder: Path, iteration: int, tensorboard: bool) -> None:
        self._path = folder / NAME
        self._events: Any = None
        if tensorboard:
            what = 'log = "tensorboard" needs a package'
            events = needed("torch.utils.tensorboard", what, "tensorboard")
            self._events = events.SummaryWriter(str(folder), purge_step=iteration + 1)
        rows = [row for row in _rows(self._path) if int(row["iteration"]) <= iteration]
        with replacing(self._path, "log") as temporary:
            temporary.write_text(_written([{name: name for name in COLUMNS}, *rows]))

    def add(self, row: LogRow) -> None:
        values = {name: value for name, value in asdict(row).items() if value is not None}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_written([values]))
        except OSError as error:
            raise InputError(f"log {self._path}: cannot be written: {error.strerror}") from error
        if self._events is not None:
            for name in values.keys() - {"iteration"}:
                self._events.add_scalar(name, values[name], row.iteration)

    def close(self) -> None:
        """Have everything written."""
        if self._events is not None:
            self._events.close()


def _rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a log, in order; none if there is no log."""
    if not path.exists():
        return []
    text = read_bytes(path).decode("utf-8", "replace")
    whole = text[: text.rfind("\n") + 1]  # a killed run may have left half a line
    rows = csv.DictReader(io.StringIO(whole.replace("\0", "")))
    try:
        ours = [{name: row.get(name) or "" for name in COLUMNS} for row in rows]
    except csv.Error as error:
        mend = "take it away, or name another output"
        raise InputError(f"log {path} cannot be read: {error}; {mend}") from error
    return [row for row in ours if re.fullmatch(r"[0-9]{1,18}", row["iteration"])]


def _written(rows: list[Any]) -> str:
    out = io.StringIO()
    csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n").writerows(rows)
    return out.getvalue()
