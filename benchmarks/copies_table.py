"""Make `srprof/data/cudnn_copies.json` from measured convolutions, and say what it does not know.

    python benchmarks/copies_table.py ../shared/data/h200_ops.jsonl.gz

A line of the file is one operation on a GPU: `op`, `cin`, `cout`, `k`, `h`, `w`, `dtype`,
`channels_last`, `groups`, `stride`, `dilation`, `tf32`, and `scratch`, the bytes that the peak
within the call stood above its result. The scratch is the copies that cuDNN made, and up to 1 MiB
that the allocator did not split off. A convolution that more than one pair of copies explains, or
none, is left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srprof.codec import encode
from srprof.memory.cudnn import FILLED, TABLE, CopiesTable
from srprof.words import MIB

SOURCE = "NVIDIA H200, torch 2.11.0+cu130, cuDNN 9.19"
#: The most by which the copies are aligned, when the scratch is a block of its own.
_ALIGNED = 1024


def _explanations(row: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """What may have been done, and the bytes that it takes."""
    size, multiple = FILLED[row["dtype"]]

    def choices(channels: int) -> dict[str, int]:
        filled = -(-channels // multiple) * multiple
        return {"-": 0, "c": channels} | ({"f": filled} if filled != channels else {})

    weights = row["cin"] * row["cout"] * row["k"] ** 2
    for first, inputs in choices(row["cin"]).items():
        for second, outputs in choices(row["cout"]).items():
            copied = inputs + outputs
            filled = weights * max(inputs / row["cin"], 1) * max(outputs / row["cout"], 1)
            pixels = row["h"] * row["w"]
            yield first + second, round(size * (copied * pixels + (filled if copied else 0)))


def done(row: dict[str, Any]) -> str | None:
    """What explains the scratch of a measured convolution; None if nothing does for sure."""
    exact, unsplit = [], []
    for letters, nbytes in _explanations(row):
        rest = row["scratch"] - nbytes
        if letters == "--":
            exact += [letters] * (rest == 0)
        elif 0 <= rest <= _ALIGNED:
            exact.append(letters)
        elif 0 < rest < MIB <= 2 * nbytes:
            unsplit.append(letters)
    fitting = exact or unsplit
    # a copy of the input is as large as one of the output of the same width: cuDNN has input-only
    fitting = ["c-"] if set(fitting) == {"-c", "c-"} else fitting
    return fitting[0] if len(fitting) == 1 else None


def main() -> None:
    """Read the rows, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="measured operations, .jsonl.gz")
    arguments = parser.parse_args()
    copies: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    known = total = 0
    for row in map(json.loads, gzip.decompress(arguments.rows.read_bytes()).splitlines()):
        plain = row["op"] == "conv2d" and row["groups"] == row["stride"] == row["dilation"] == 1
        if not plain or row["channels_last"] or not row["tf32"] or row["k"] == 1:
            continue
        letters = done(row)
        total += 1
        if letters:
            known += 1
            key = f"{row['dtype']} {row['k']} {row['h'] * row['w']}"
            copies[key][letters].append(f"{row['cin']}-{row['cout']}")
    table = CopiesTable(
        SOURCE, {k: {d: " ".join(p) for d, p in v.items()} for k, v in copies.items()}
    )
    TABLE.write_text(json.dumps(encode(table), indent=1) + "\n")
    print(f"{known} of {total} convolutions are explained; {TABLE} is written")


if __name__ == "__main__":
    main()
