"""Make `srprof/data/cudnn_copies.json` from measured convolutions, and say what it does not know.

    python benchmarks/copies_table.py ../shared/data/h200_ops.jsonl.gz

A line of the rows is one operation on a GPU: `op`, `cin`, `cout`, `k`, `h`, `w`, `dtype`,
`channels_last`, `groups`, `stride`, `dilation`, `tf32`, and `scratch`, the bytes that the peak
within the call stood above its result. The scratch is the copies that cuDNN made, and up to 1 MiB
that the allocator did not split off. A convolution that more than one pair of copies explains, or
none, is left out.

The rows have channels-last convolutions of as many channels on either side; those of other widths
are taken from our own records of whole networks on an H100 (`records/nvidia-h100/channels_last`).
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import srprof
from srprof.codec import encode
from srprof.measuring.record import load
from srprof.memory.cudnn import FILLED, TABLE, CopiesTable
from srprof.words import MIB

SOURCE = "NVIDIA H200 and, channels-last, H100, torch 2.11.0+cu130, cuDNN 9.19"
RECORDS = Path(__file__).parent / "records" / "nvidia-h100" / "channels_last"
#: The most by which the copies are aligned, when the scratch is a block of its own.
_ALIGNED = 1024
#: Bytes that kernels which copy nothing take of their own.
_OWN = 512


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
            exact += [letters] * (rest <= _OWN)
        elif 0 <= rest <= _ALIGNED:
            exact.append(letters)
        elif 0 < rest < MIB <= 2 * nbytes:
            unsplit.append(letters)
    fitting = exact or unsplit
    # a copy of the input is as large as one of the output of the same width: cuDNN has input-only
    fitting = ["c-"] if set(fitting) == {"-c", "c-"} else fitting
    return fitting[0] if len(fitting) == 1 else None


def _recorded() -> Iterator[dict[str, Any]]:
    """Convolutions of our records, each once, as rows; of maps that lie whole in memory."""
    seen = set()
    for path in sorted(RECORDS.glob("*_*x*_*.json")):
        measured = load(str(path))
        shape = "x".join(map(str, measured.inputs[0].shape))
        trace = srprof.trace(measured.spec, shape, dtype=measured.dtype, channels_last=True)
        for node, found in zip(trace.nodes, measured.nodes, strict=True):
            if node.op != "convolution":
                continue
            image, weight = node.inputs[:2]
            _, channels, height, width = image.shape
            outputs, inputs, kernel, _ = weight.shape
            whole = image.strides == (prod(image.shape), 1, width * channels, channels)
            key = image.dtype, inputs, outputs, kernel, height, width
            if whole and inputs == channels and node.shape[2:] == (height, width):
                if key not in seen and found.workspace is not None:
                    names = "dtype cin cout k h w".split()
                    yield dict(zip(names, key, strict=True)) | {"scratch": found.workspace}
                seen.add(key)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The measured convolutions that count: dense ones of stride 1, on tensor cores."""
    for row in map(json.loads, gzip.decompress(path.read_bytes()).splitlines()):
        plain = row["op"] == "conv2d" and row["groups"] == row["stride"] == row["dilation"] == 1
        if plain and row["tf32"] and row["k"] != 1:
            yield row
    for row in _recorded():
        if row["k"] != 1 and row["dtype"] in ("float16", "float32"):
            yield row | {"channels_last": True}


def main() -> None:
    """Read the rows, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="measured operations, .jsonl.gz")
    arguments = parser.parse_args()
    copies: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    known = total = 0
    for row in _rows(arguments.rows):
        letters = done(row)
        total += 1
        if letters:
            known += 1
            last = " last" if row["channels_last"] else ""
            key = f"{row['dtype']} {row['k']} {row['h'] * row['w']}{last}"
            copies[key][letters].append(f"{row['cin']}-{row['cout']}")
    table = CopiesTable(
        SOURCE, {k: {d: " ".join(p) for d, p in v.items()} for k, v in copies.items()}
    )
    TABLE.write_text(json.dumps(encode(table), indent=1) + "\n")
    print(f"{known} of {total} convolutions are explained; {TABLE} is written")


if __name__ == "__main__":
    main()
