"""Make the tables of measured operations that come with srprof, from what was measured.

    python benchmarks/operation_tables.py ../shared/data

The folder has `h200_ops.jsonl.gz`, single operations on an NVIDIA H200 (torch 2.11, cuDNN 9.19).
Nothing is fitted here: each row is what CUPTI has of one call's kernels, beside what the operation
asks of a device. A test compares the packaged tables with what this writes.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from srprof.calibration.tabulate import tabulate
from srprof.cost.profiles import load_profile
from srprof.cost.tables import TableRecord, figures_of, table_bytes

DATA = Path(__file__).parents[1] / "srprof" / "data"
WHERE = {"torch": "2.11.0+cu130", "cudnn": "91900", "driver": "580.159"}


def lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The operations of a file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def h200(folder: Path) -> TableRecord:
    """The table of an H200."""
    columns = tabulate(lines(folder / "h200_ops.jsonl.gz"))
    about = {"device": "NVIDIA H200", **WHERE, "command": "python benchmarks/operation_tables.py"}
    figures = figures_of(load_profile("h200"))
    return TableRecord(**about, profile=figures, convolutions=columns[0], operations=columns[1])


def main() -> None:
    """Write the packaged tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of what was measured")
    folder = parser.parse_args().folder
    path = DATA / "h200_operations.json.gz"
    path.write_bytes(table_bytes(h200(folder), packed=True))
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
