"""The reader of estimates by itself: made-up estimates, no torch."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import srprof_estimate as reader
from srprof.memory.allocator import new_allocator
from srprof.memory.settings import Settings

FILE = Path(reader.__file__)
MIB = 2**20
#: A map of 64 channels in float16, an image, sides in steps of 8: `8 * ceil(h / 8)`.
VARIANT = {
    "batch": [1, None], "granularity": 512, "net": 1536,
    "sizes": [9, 10], "start": [1536, 2 * MIB, [[2 * MIB - 1536, True]]],
    "planned": [[0, 1, 1, 1], [1, 2]], "eager": [[0, 1, 1, 2]],
    "program": [0, 1, 1, -1, 1],
}  # fmt: skip
ESTIMATE = {
    "schema": "srprof-estimate", "version": 1,
    "sides": {"least": 16, "step": 8, "taken_from": 8},
    "terms": [
        ["/", 7, 1, 8], ["*", 8, 3], ["/", 7, 2, 8], ["*", 8, 5],
        ["*", 4, 1], ["*", 4, 2], ["*", 6, 0, 1, 2], ["*", 128, 0, 4, 6], ["+", 3],
    ],
    "result": [11, 7, 8],
    "dtypes": {"float16": 0, "bfloat16": 0, "float32": "the network raised"},
    "graphs": [[VARIANT]],
    "time": {"ms": {"float16": [[256, 1.0], [1024, 2.0], [4096, 6.0]]}},
}  # fmt: skip


def rounded(nbytes: int) -> int:
    return -(-nbytes // 512) * 512


def test_it_is_one_small_file_for_python_3_8_without_imports():
    text = FILE.read_text(encoding="utf-8")
    assert len(text.encode()) < 20_000
    tree = ast.parse(text, feature_version=(3, 8))
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= {"json", "bisect"}
    code = "import sys, srprof_estimate; print(sorted({'torch', 'srprof'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FILE.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (640, 480)])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_peak_is_the_most_of_its_pieces(size, batch):
    h, w = size
    image, maps = rounded(6 * batch * h * w), rounded(128 * batch * h * w)

    def peak(kind: str) -> int:
        return reader.peak_bytes(ESTIMATE, h, w, batch, "float16", kind)

    assert peak("planned") == 1536 + max(image + maps, 2 * maps)
    assert peak("eager") == 1536 + image + 2 * maps
    assert peak("allocated") >= peak("eager")
    assert peak("reserved") >= peak("allocated")
    assert reader.result_size(ESTIMATE, h, w) == (3, 4 * h, 4 * w)


@pytest.mark.parametrize("seed", range(20))
def test_the_allocator_is_the_simulation_s(seed):
    """Random programs of small and large blocks, with the cache given back now and then."""
    from random import Random

    random = Random(seed)
    allocator = new_allocator(Settings())
    sizes = [random.choice((0, 500, 70_000, MIB, 3 * MIB, 9 * MIB + 1, 33 * MIB)) for _ in range(9)]
    program: list[int | None] = []
    addresses: list[int | None] = []
    for _ in range(300):
        alive = [i for i, address in enumerate(addresses) if address is not None]
        if alive and random.random() < 0.5:
            gone = random.choice(alive)
            program.append(gone - len(addresses))
            allocator.free(addresses[gone] or 0)
            addresses[gone] = None
        elif random.random() < 0.02:
            program.append(None)
            allocator.release_cached()
        else:
            size = random.randrange(len(sizes))
            program.append(size)
            addresses.append(allocator.allocate(sizes[size]))
    variant = {"sizes": [*range(len(sizes))], "start": [0, 0, []], "program": program}
    peaks = allocator.peaks
    assert reader._replayed(variant, sizes) == (peaks.allocated, peaks.reserved)
    assert reader._replayed(variant, sizes, small_too=False)[0] == peaks.allocated


@pytest.mark.parametrize("seed", range(20))
def test_what_is_allocated_is_within_its_bounds_whatever_ran_before(seed):
    """A program of some blocks, in an allocator whose cache others have filled."""
    from random import Random

    random = Random(seed)
    allocator = new_allocator(Settings())
    for address in [allocator.allocate(random.randrange(40 * MIB)) for _ in range(20)]:
        allocator.free(address)
    sizes = [random.choice((700, 70_000, MIB, MIB + 1, 5 * MIB, 33 * MIB)) for _ in range(9)]
    program: list[int] = []
    addresses: list[int] = []
    most = 0
    for _ in range(30):
        program.append(random.randrange(len(sizes)))
        addresses.append(allocator.allocate(sizes[program[-1]]))
        most = max(most, allocator.allocated)
        if random.random() < 0.3:
            program.append(-1)
            allocator.free(addresses[-1])
    variant = {"sizes": [*range(9)], "net": 0, "start": [0, 0, []], "program": program}
    least, largest = reader._requested(variant, sizes)
    assert least <= most <= largest
    assert least == max(
        sum(rounded(sizes[s]) for s in program[: i + 1] if s >= 0)
        - sum(rounded(sizes[program[j - 1]]) for j in range(i + 1) if program[j] < 0)
        for i in range(len(program))
    )


def test_bounds_of_small_blocks_are_what_is_asked_for():
    least, most = reader.allocated_bounds(ESTIMATE, 16, 16)
    assert least == most == reader.peak_bytes(ESTIMATE, 16, 16)
    least, most = reader.allocated_bounds(ESTIMATE, 640, 480)
    assert least < most
    assert least <= reader.peak_bytes(ESTIMATE, 640, 480) <= most
    with pytest.raises(ValueError, match="nearest"):
        reader.allocated_bounds(ESTIMATE, 17, 16)


def test_terms_are_whole_numbers():
    terms = [["/", -1, 1, 2], ["+", 1, 3, 3], ["*", 3, 4, 0], ["*", 5]]
    assert reader._values(terms, 2, 7, 9) == [2, 7, 9, 3, 7, 42, 5]


@pytest.mark.parametrize("budget", [10 * MIB, 100 * MIB, 6000 * MIB])
@pytest.mark.parametrize("kind", reader.KINDS)
def test_the_largest_tile_fits_and_the_next_does_not(budget, kind):
    h, w = reader.largest_tile(ESTIMATE, budget, overlap=8, kind=kind)
    assert h == w
    assert reader.peak_bytes(ESTIMATE, h, w, kind=kind) <= budget
    assert reader.peak_bytes(ESTIMATE, h + 8, w + 8, kind=kind) > budget


def test_a_tile_is_no_larger_than_its_image():
    assert reader.largest_tile(ESTIMATE, 2**34, image=(100, 2000)) == (104, 2000)
    assert reader.largest_tile(ESTIMATE, 20 * MIB, image=(40, 20_000))[0] == 40


def test_the_largest_batch_fits_and_the_next_does_not():
    batch = reader.largest_batch(ESTIMATE, 100 * MIB, 64, 64)
    needs = [reader.peak_bytes(ESTIMATE, 64, 64, n) for n in (batch, batch + 1)]
    assert needs[0] <= 100 * MIB < needs[1]


def test_times_lie_between_those_predicted():
    assert reader.milliseconds(ESTIMATE, 32, 32) == 2.0
    assert reader.milliseconds(ESTIMATE, 32, 32, batch=2) == pytest.approx(2 + 4 / 3)
    assert reader.milliseconds(ESTIMATE, 64, 64, batch=2) == pytest.approx(6 + 4 * 4 / 3)
    with pytest.raises(ValueError, match="--profile"):
        reader.milliseconds({**ESTIMATE, "time": None}, 32, 32)


ONE = {**ESTIMATE, "graphs": [[{**VARIANT, "batch": [1, 1]}]]}
FIXED = {**ESTIMATE, "sides": {"least": 64, "step": None, "taken_from": 64}}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reader.peak_bytes({"schema": 3}, 16, 16), "no estimate"),
        (lambda: reader.peak_bytes([], 16, 16), "no estimate"),
        (
            lambda: reader.peak_bytes({**ESTIMATE, "version": 2}, 16, 16),
            "version 2.*reads version 1",
        ),
        (lambda: reader.peak_bytes(ESTIMATE, 17, 16), "17x16.*16, 24, 32.*nearest is 24x16"),
        (lambda: reader.peak_bytes(ESTIMATE, 8, 16), "nearest is 16x16"),
        (lambda: reader.peak_bytes(ESTIMATE, 16.0, 16), "sides"),
        (lambda: reader.peak_bytes(FIXED, 16, 16), "64 only.*64x64"),
        (lambda: reader.peak_bytes(ESTIMATE, 16, 16, 0), "batch 0"),
        (lambda: reader.peak_bytes(ONE, 16, 16, 2), "batch 2.*up to 1"),
        (lambda: reader.peak_bytes(ESTIMATE, 16, 16, 1, "float32"), "float32: the network raised"),
        (lambda: reader.peak_bytes(ESTIMATE, 16, 16, 1, "int8"), "float16, bfloat16.*int8"),
        (lambda: reader.peak_bytes(ESTIMATE, 16, 16, kind="peak"), "planned, eager"),
        (lambda: reader.largest_tile(ESTIMATE, 1000), "too small: a tile of 16x16 needs"),
        (lambda: reader.largest_tile(ESTIMATE, 2 * MIB, overlap=300), "tile of 608x608"),
        (lambda: reader.largest_tile(ESTIMATE, 2 * MIB, overlap=-1), "overlap"),
        (lambda: reader.largest_batch(ESTIMATE, 1000, 16, 16), "one image of 16x16 needs"),
        (lambda: reader.largest_batch(ESTIMATE, 2**30, 16, 20), "nearest is 16x24"),
    ],
)
def test_what_does_not_hold_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_batch_of_one_only_is_the_largest():
    assert reader.largest_batch(ONE, 2**40, 16, 16) == 1


def test_a_file_that_is_none_is_said(tmp_path):
    path = tmp_path / "net.estimate.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="no JSON"):
        reader.load(path)
    path.write_text(json.dumps(ESTIMATE))
    assert reader.load(path) == ESTIMATE


def test_a_call_is_fast():
    """300 steps of large blocks, as a deep network has once repetitions are folded."""
    program = [0] + [1, -1] * 150
    estimate = {**ESTIMATE, "graphs": [[{**VARIANT, "program": program}]]}
    times = []
    for side in range(512, 512 + 8 * 9, 8):
        start = time.perf_counter()
        reader.peak_bytes(estimate, side, side)
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3
