"""Make the tables of measured operations that come with srprof, from what was measured.

    python benchmarks/operation_tables.py ../shared/data
    python benchmarks/operation_tables.py --errors

The second prints how far off each table's rows are by the others of it, by group.

The folder has `h200_ops.jsonl.gz`, single operations on an NVIDIA H200 (torch 2.11, cuDNN 9.19):
each row is what CUPTI has of one call's kernels, beside what the operation asks of a device; and
`h200_kernel_names.json.gz`, the kernels' names by number. And
`neusight_*.csv.gz`, on five older GPUs (torch 2.1, cuDNN 8.9, float32 without TF32), which the
authors of NeuSight published (Lee, Phanishayee, Mahajan, ASPLOS 2025): 3x3 convolutions without a
bias, by whichever algorithm cuDNN found the fastest (`cudnn.benchmark` was on, as it is not by
default); linear layers with theirs. Nothing is fitted here.

Those were timed by events around one call, so a call of nothing takes 25 to 90 us, and a long one
its kernels and a part of that before the first of them starts (`_BEFORE`). So only calls of
`_FLOORS` floors are taken, less that part.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from srprof.calibration.table import read_lines
from srprof.calibration.tabulate import columns, row_of, tabulate
from srprof.cost.classes import NodeCost
from srprof.cost.correction import doubted, measured
from srprof.cost.measured import Row
from srprof.cost.profiles import load_profile
from srprof.cost.tables import (
    TableRecord,
    convolution,
    figures_of,
    packaged_tables,
    table_bytes,
)
from srprof.ops import Family, Product

DATA = Path(__file__).parents[1] / "srprof" / "data"
COMMAND = "python benchmarks/operation_tables.py"
WHERE = {"torch": "2.11.0+cu130", "cudnn": "91900", "driver": "580.159"}
OF_NEUSIGHT = {"torch": "2.1", "cudnn": "8.9", "driver": "not published"}

#: A GPU's names in NeuSight's files, by profile.
OLDER = {
    "tesla_p4": ("Tesla P4",),
    "tesla_p100": ("Tesla P100-PCIE-16GB",),
    "tesla_t4": ("Tesla T4",),
    "v100": ("Tesla V100-PCIE-32GB",),
    "a100": ("NVIDIA A100-PCIE-40GB", "NVIDIA A100 80GB PCIe"),
}
#: What tells a card that was measured from its profile's: here the slower memory, which all but the
#: convolutions had; these are bound by arithmetic.
OF_CARD = {"a100": {"bandwidth": 1555e9, "memory": 40 * 2.0**30}}
#: The share of the time of a call of nothing that passes before a call's first kernel: what lines
#: through the additions and the activations of over 60 MB have as their beginning, 0.41 to 0.67 of
#: the shortest call's time on the five GPUs.
_BEFORE = 0.55
#: How much longer a call must take than one of nothing.
_FLOORS = 4
#: The widest convolution that is kept: super-resolution networks have none wider.
_WIDEST = 256
#: Of each other operation, rows that are kept for a GPU, spread evenly over its times.
_KEPT = 250
#: Rows of a group whose errors are told, and of it that are left out in turn.
_FEWEST, _TRIED = 40, 120


def h200(folder: Path) -> TableRecord:
    """The table of an H200."""
    with gzip.open(folder / "h200_kernel_names.json.gz", "rt", encoding="utf-8") as file:
        names = {int(number): name for number, name in json.load(file).items()}
    lines, _ = read_lines(folder / "h200_ops.jsonl.gz")
    named = [
        {**line, "kernels": [(names[n], us) for n, us in line.get("kernels", ())]} for line in lines
    ]
    convolutions, operations = tabulate(named)
    return TableRecord(
        device="NVIDIA H200",
        **WHERE,
        command=COMMAND,
        profile=figures_of(load_profile("h200")),
        convolutions=convolutions,
        operations=operations,
    )


def older(folder: Path, name: str) -> TableRecord:
    """The table of one of NeuSight's GPUs, by its profile's name."""
    found = [row for op in _COSTS for row in _rows(folder, op, OLDER[name])]
    convolutions, operations = columns(found)
    return TableRecord(
        device=OLDER[name][0],
        **OF_NEUSIGHT,
        command=COMMAND,
        profile=figures_of(replace(load_profile(name), **OF_CARD.get(name, {}))),
        convolutions=convolutions,
        operations=operations,
    )


def _rows(folder: Path, op: str, names: tuple[str, ...]) -> list[Row]:
    """The rows of an operation on a GPU."""
    with gzip.open(folder / f"neusight_{op}.csv.gz", "rt", encoding="utf-8") as file:
        read = [row for row in csv.DictReader(file) if row["device"] in names]
    floor = min(float(row["us"]) for row in read)
    kept = []
    for row in sorted(read, key=lambda row: float(row["us"])):
        us = float(row["us"])
        sizes = {key: int(n) for key, n in row.items() if key not in {"device", "us", "kernel"}}
        if us >= _FLOORS * floor and (op != "conv" or _is_narrow(sizes)):
            kept.append(row_of(_COSTS[op](sizes), [round(us - _BEFORE * floor, 1)]))
    step = 1 if op == "conv" else max(1, len(kept) // _KEPT)
    return kept[::step]


def _is_narrow(sizes: Mapping[str, int]) -> bool:
    return max(sizes["input_channel"], sizes["output_channel"]) <= _WIDEST


def _convolution(sizes: Mapping[str, int]) -> NodeCost:
    return convolution(
        mode="float32",
        channels_last=False,
        transposed=False,
        inner=sizes["input_channel"],
        outer=sizes["output_channel"],
        groups=1,
        taps=sizes["kernel_size"] ** 2,
        stride=sizes["stride"],
        dilation=1,
        pixels=sizes["b"] * sizes["input_size"] ** 2,
    )


def _cost(op: str, family: Family, read: int, written: int, **other: Any) -> NodeCost:
    """The cost of an operation that reads and writes so many floats."""
    reads = ((0, 4 * read),)
    return NodeCost(0, "", family, family, "float32", 0, reads, 4 * written, op=op, **other)


def _product(op: str, sizes: Mapping[str, int]) -> NodeCost:
    """Of (b, m, n) and (b, n, k), or of (b * m, n) and a linear layer's n x k with its bias."""
    batch, rows, depth, columns = (sizes[key] for key in "bmnk")
    if op == "addmm":
        batch, rows = 1, batch * rows
    size = Product(batch, rows, columns, depth)
    read = batch * (rows * depth + depth * columns) + (columns if op == "addmm" else 0)
    cost = _cost(op, "matmul", read, batch * rows * columns, product=size)
    return replace(cost, flops=2 * prod(size))


def _map(op: str, sizes: Mapping[str, int], operands: int = 1) -> NodeCost:
    floats = sizes["b"] * sizes["h"]
    return _cost(op, "elementwise", operands * floats, floats)


def _layer_norm(sizes: Mapping[str, int]) -> NodeCost:
    b, h = sizes["b"], sizes["h"]
    return _cost("native_layer_norm", "norm", b * h + 2 * h, b * h + 2 * b, row=h)


def _softmax(sizes: Mapping[str, int]) -> NodeCost:
    floats = sizes["b"] * sizes["h"]
    return _cost("_softmax", "norm", floats, floats, variant="together")


_COSTS: Mapping[str, Callable[[Mapping[str, int]], NodeCost]] = {
    "conv": _convolution,
    "linear": partial(_product, "addmm"),
    "bmm": partial(_product, "bmm"),
    "add": partial(_map, "add", operands=2),
    "relu": partial(_map, "relu"),
    "ln": _layer_norm,
    "softmax": _softmax,
}


def errors(name: str) -> Iterator[str]:
    """Of each group of a table's rows, the errors of some of them, each by the others."""
    found = measured(name)
    assert found is not None
    for key in found.table.groups:
        rows = found.table.rows_of(key)
        if len(rows) < _FEWEST:
            continue
        off = []
        for index in range(0, len(rows), max(1, len(rows) // _TRIED)):
            group = found.table.group(key)
            left_out = np.arange(len(group.costs)) == index
            match = group.match(group.place(rows[index].cost), left_out)
            seconds = match.ratio * found.table.model(rows[index].cost, rows[index].mode)
            off.append(abs(seconds / rows[index].seconds - 1))
        off.sort()
        ninth = off[9 * len(off) // 10]
        yield f"{' '.join(key)}: {len(rows)} rows, median {median(off):.1%}, 90 % {ninth:.0%}"


def main() -> None:
    """Write the packaged tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of what was measured")
    parser.add_argument("--errors", action="store_true", help="of the tables, rows left out")
    arguments = parser.parse_args()
    if arguments.errors:
        for name in packaged_tables():
            print(f"{name}:", *errors(name), sep="\n    ")
        return
    folder = arguments.folder
    records = {"h200": h200(folder), **{name: older(folder, name) for name in OLDER}}
    for name, record in records.items():
        path = DATA / f"{name}_operations.json.gz"
        path.write_bytes(table_bytes(doubted(record), packed=True))
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
