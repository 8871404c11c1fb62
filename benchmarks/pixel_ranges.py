"""The range of values that srprof finds for public checkpoints, beside the one their script gives.

    python benchmarks/pixel_ranges.py --repositories DIR

DIR has `ntire2022` and `ntire2024`, the trees of the challenges' public repositories
(ofsoundof/NTIRE2022_ESR, Amazingren/NTIRE2024_ESR). Their code is run to build the networks, their
checkpoints are loaded, each in a process of its own, and what takes 0 to 1 or 0 to 255 is found on
the LR images of `quality.py`'s four photographs, one by one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch
from h200_peaks import RECORD, alone
from quality import declared, make_photographs

from srprof.call import Call
from srprof.challenge.script import build, loading_by
from srprof.quality.images import read_image
from srprof.quality.pixel_range import find_range
from srprof.quality.upscaling import Upscaler, probe


def _as_trained() -> AbstractContextManager[object]:
    """Checkpoints are read, and on the CPU."""
    read = partial(torch.load, map_location="cpu", weights_only=True)
    return loading_by(lambda file, **_: read(file))


def found(root: Path, key: str) -> tuple[float, list[tuple[int, str]]]:
    """The range that the script gives, and those that are found, with why, by photograph."""
    year, number = key.split()
    repository = root / f"ntire{year}"
    as_declared, _ = declared(repository, int(number))
    call = Call(build(repository, int(number), weights=_as_trained), ())
    probed = probe(call)
    upscaler = Upscaler(call, probed, probed.factor, 1, None, None, "cpu")
    with tempfile.TemporaryDirectory() as place, upscaler.running():
        chosen = []
        for name in make_photographs(Path(place)):
            pixels = read_image(Path(place) / "lr" / f"{name}.png").pixels
            one = find_range(upscaler, pixels, name, trained=True)
            chosen.append((one.pixel_range, one.note))
    return as_declared, chosen


def main() -> None:
    """Print a row for each network, and how many ranges are the script's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repositories", type=Path, required=True, help="the repositories' folder")
    parser.add_argument("--only", metavar="'YEAR ID'", help="of this network, as JSON")
    arguments = parser.parse_args()
    root: Path = arguments.repositories.resolve()
    if arguments.only:
        print(json.dumps(found(root, arguments.only)))
        return
    agreed = asked = 0
    for key, row in json.loads(RECORD.read_text())["peaks"].items():
        answer = alone(__file__, root, key)
        if answer is None:
            continue
        as_declared, chosen = answer
        right = all(largest == as_declared for largest, _ in chosen)
        asked, agreed = asked + 1, agreed + right
        why = chosen[0][1].partition("LR image: ")[2].partition(", on")[0]
        print(f"{key:8} {row['name']:16} 0 to {as_declared:g}: {why}", flush=True)
        for largest, note in () if right else chosen:
            print(f"    found 0 to {largest}: {note}")
    print(f"as the script says on all photographs: {agreed} of {asked}")


if __name__ == "__main__":
    main()
