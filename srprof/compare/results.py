"""Tables of results that somebody else made: CSV or JSON files, and the published ones.

A table has a row for each network: its name, and figures under the names in `COLUMNS`. What it
says beside them is left out. An empty cell (JSON: null) is not known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path

from srprof.challenge.years import NOT_PUBLIC, YEARS, Year
from srprof.compare.ranking import METRICS, RANKED, Cell, Entry, Origin
from srprof.errors import InputError
from srprof.files import parse_json, read_json, read_text
from srprof.words import did_you_mean, one_line

_DATA = Path(__file__).parents[1] / "data"

#: The years whose tables come with srprof.
REFERENCES: Mapping[str, Year] = {year.name: year for year in YEARS.values() if year.table}

#: A network's cells by column.
Row = Mapping[str, object]

NAMES = ("name", "model", "team", "method")

#: Accepted column names by metric, each with the unit that its figures are in.
COLUMNS: Mapping[str, Mapping[str, float]] = {
    "params": {"params_M": 1e6, "params_K": 1e3, "params": 1},
    "flops": {"flops_G": 1e9, "flops": 1},
    "runtime_ms": {"runtime_ms": 1, "time_ms": 1},
    "memory": {"memory_MiB": 2**20, "memory_bytes": 1, "memory": 1},
    "activations": {"activations_M": 1e6, "acts_M": 1e6, "activations": 1, "acts": 1},
    "convs": {"convs": 1},
    "psnr_dB": {"psnr_dB": 1, "psnr_val": 1, "psnr": 1},
}


def load_reference(name: str) -> tuple[Entry, ...]:
    """The rows of a published table; an InputError if there is none of that name, or why not."""
    if name not in REFERENCES:
        near = did_you_mean(name.lower(), REFERENCES, cutoff=0.4)
        if missing := (YEARS[name].missing if name in YEARS else NOT_PUBLIC.get(name)):
            near = f"its rows are not public as data: {missing};"
        raise InputError(one_line(f"--with {name}: {near} there is {', '.join(REFERENCES)}"))
    year = REFERENCES[name]
    data = read_json(_DATA / year.table)
    origin = Origin("published", source=data["source"])
    return _entries(data["rows"], year.table, origin, year.title)


def load_results(path: str) -> tuple[Entry, ...]:
    """The rows of a user's own table, a CSV file with a header or JSON.

    JSON is a list of objects, or an object whose `rows` is one, such as `srprof rank --format
    json` prints. An InputError if the file cannot be read, a column is missing, or a cell is no
    number (which).
    """
    text = read_text(path, f"--from {path}", "name a .csv or .json")
    rows = _of_json(text, path) if path.lower().endswith(".json") else _of_csv(text, path)
    return _entries(rows, path, Origin("given", source=path))


def _of_json(text: str, path: str) -> list[Row]:
    data = parse_json(text, f"--from {path}")
    rows = data.get("rows") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            f"--from {path}: write a list of objects, one for each network, or an object whose "
            "`rows` is one"
        )
    return rows


def _of_csv(text: str, path: str) -> list[Row]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if any(line)]
    except csv.Error as error:
        raise InputError(f"--from {path} is no CSV: {error}") from error
    if not lines:
        raise InputError(f"--from {path} is empty: write a header and a line for each network")
    header = [name.strip() for name in lines[0]]
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(header):
            raise InputError(
                f"--from {path}, row {number}: {len(line)} cells, and the header has {len(header)}"
            )
    return [dict(zip(header, map(str.strip, line), strict=True)) for line in lines[1:]]


def _entries(
    rows: Sequence[Row], path: str, origin: Origin, reference: str = ""
) -> tuple[Entry, ...]:
    if not rows:
        raise InputError(f"--from {path} has no rows: write one for each network")
    there = dict.fromkeys(key for row in rows for key in row)
    name_column = next((name for name in NAMES if name in there), None)
    columns = {metric: next((c for c in COLUMNS[metric] if c in there), None) for metric in METRICS}
    missing = [next(iter(COLUMNS[m])) for m in RANKED if columns[m] is None]
    if name_column is None:
        missing.insert(0, NAMES[0])
    if name_column is None or missing:
        raise InputError(
            f"--from {path} has no column {', '.join(missing)}; it has {', '.join(there) or 'none'}"
        )
    entries: list[Entry] = []
    for number, row in enumerate(rows, 1):
        name = row.get(name_column)
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"--from {path}, row {number}, column {name_column}: there is no name")
        where = f"--from {path}, row {number} ({name.strip()})"
        cells = {}
        for metric, column in columns.items():
            value = None if column is None else _number(row.get(column), where, column)
            if column is not None and value is not None:
                # the product's last digits are the multiplication's, not the figure's
                cells[metric] = Cell(round(value * COLUMNS[metric][column], 6), origin)
        if any(entry.name == name.strip() for entry in entries):
            raise InputError(f"{where}: two models are called {name.strip()!r}; leave one out")
        entries.append(Entry(name.strip(), cells, _ranked(row.get("ranked"), where), reference))
    return tuple(entries)


def _number(value: object, where: str, column: str) -> float | None:
    if value is None or value == "":
        return None
    number = -1.0
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if not isfinite(number) or number < 0:
        raise InputError(
            f"{where}, column {column}: {value!r:.40} is no number of at least 0; leave the cell "
            "empty where it is not known"
        )
    return number


def _ranked(value: object, where: str) -> bool:
    known = {None: True, "": True, "true": True, "false": False}
    key = str(value).lower() if isinstance(value, (bool, str)) else value
    if isinstance(key, (list, dict, float, int)) or key not in known:
        raise InputError(f"{where}, column ranked: {value!r:.40} is neither true nor false")
    return known[key]
