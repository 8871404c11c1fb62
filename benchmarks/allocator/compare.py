"""The simulated caching allocator against PyTorch's own, which runs here without a device.

    pip download --no-deps torch==2.13.0       # a wheel with CUDA, not the CPU one
    unzip torch-2.13.0-*.whl 'torch/lib/libc10*.so' 'torch/include/c10/*' 'torch/include/torch/*'
    python benchmarks/allocator/compare.py --torch torch --cuda /usr/local/cuda
    python benchmarks/allocator/compare.py --torch torch --cuda /usr/local/cuda --record \
        tests/golden/allocator_torch.json

`libc10_cuda.so`, which holds the allocator, is linked to a CUDA runtime whose memory is numbers
(fake_cuda.c). Both allocators then get the same random calls; every figure after every call, and
the tiling of every segment at the end, must be the same. `--cuda` is a folder with
`include/cuda_runtime_api.h` of the CUDA version that torch was built for. Needs gcc and nm.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from srprof.errors import OutOfDeviceMemoryError
from srprof.memory.allocator import new_allocator
from srprof.memory.settings import MIB, Settings

HERE = Path(__file__).parent

SETTINGS = (
    "",
    "max_split_size_mb:20",
    "max_split_size_mb:64",
    "max_split_size_mb:40,max_non_split_rounding_mb:25",
    "large_segment_size_mb:12",
    "large_segment_size_mb:48,max_split_size_mb:48",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:[1:8,4:2,16:4,>:16]",
    "roundup_power2_divisions:[256:1,512:2,1024:4,>:8]",
    "per_process_memory_fraction:0.5",
    "garbage_collection_threshold:0.3,per_process_memory_fraction:0.7",
    "garbage_collection_threshold:0.8,per_process_memory_fraction:0.9,max_split_size_mb:30",
    "expandable_segments:True",
    "expandable_segments:True,large_segment_size_mb:12,max_split_size_mb:30",
    "expandable_segments:True,roundup_power2_divisions:8",
    "expandable_segments:True,per_process_memory_fraction:0.6,garbage_collection_threshold:0.3",
)

#: Corners that random calls seldom reach: settings, MiB of the device, and calls; `a1:60` allocates
#: 60 MiB as 1, `f1` frees it, `e` empties the cache.
CORNERS = (
    # Of what is idle, only what was so for longer than the average is released...
    (
        "garbage_collection_threshold:0.9,per_process_memory_fraction:0.5",
        400,
        "a1:40 a2:30 a3:20 f1 a4:50 f2 a5:60 f3 a6:70",
    ),
    # ...then what was so for longer than the average of the rest.
    (
        "garbage_collection_threshold:0.35,per_process_memory_fraction:0.5",
        800,
        "a1:12 a2:90 f1 a3:60 f2 a4:92",
    ),
    # The smallest oversize block goes that is enough, or the largest until they are.
    ("max_split_size_mb:20", 100, "a1:50 a2:30 a3:12 f1 f2 a4:15"),
    ("max_split_size_mb:20", 100, "a1:30 a2:22 a3:24 a4:12 f1 f2 f3 a5:60"),
    ("max_split_size_mb:20", 100, "a1:30 a2:22 a3:40 f1 f2 a5:90"),
    # The process may not map what a segment of its own would need, though the device could.
    ("expandable_segments:True,per_process_memory_fraction:0.5", 200, "a1:50 a2:45"),
    ("expandable_segments:True", 100, "a1:50 a2:45"),
    # A row of pages at the end of the address space, which is 9/8 of the device.
    ("expandable_segments:True", 160, "a1:60 a2:20 a3:80 f1 f3 e a4:100"),
    ("expandable_segments:True", 160, "a1:60 a2:20 a3:80 f1 f3 e a4:101"),
    # Blocks at the end of what is mapped are as large as they can grow.
    ("expandable_segments:True", None, "a1:30 a2:3 a3:8 f2 f3 a4:2 a5:9"),
    # What remains of a block is as small as it can be.
    ("expandable_segments:True", None, "a1:19.99951171875"),
    ("", None, "a1:20 f1 a2:19 e a3:20 f3 a4:18.99951171875"),
    ("", None, "a1:1 a2:0.99951171875"),
)

#: `("a", id, bytes)`, `("f", id)` or `("e",)`, as harness.cpp reads them.
Call = tuple[object, ...]

#: Settings, bytes of the device (None: more than is needed), calls.
Run = tuple[str, int | None, list[Call]]


@dataclass(frozen=True)
class Answer:
    """One line for each call, and one for each segment at the end."""

    figures: list[str]
    segments: list[str]


def build(torch: Path, cuda: Path, folder: Path) -> Path:
    """The harness and the libraries that stand in for CUDA's; gives the harness."""
    library = torch / "lib" / "libc10_cuda.so"
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    ).stdout
    source = (HERE / "fake_cuda.c").read_text()
    defined = set(re.findall(r"\b(cuda\w+)\(", source))
    rest = sorted(set(re.findall(r"U (cuda\w+)@", symbols)) - defined)
    (folder / "rest.c").write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in rest))
    (folder / "versions").write_text("libcudart.so.13 { global: *; };\n")
    headers = [f"-I{torch / 'include'}", f"-I{cuda / 'include'}"]
    for name in ("libcudart.so.13", "libnvidia-ml.so.1"):
        command = ["gcc", "-w", "-shared", "-fPIC", "-o", folder / name, HERE / "fake_cuda.c"]
        command += [folder / "rest.c", f"-Wl,-soname,{name}", *headers]
        command += [f"-Wl,--version-script={folder / 'versions'}"]
        subprocess.run(command, check=True)
    harness = folder / "harness"
    command = ["g++", "-w", "-std=c++20", "-o", harness, HERE / "harness.cpp", *headers]
    command += [library, torch / "lib" / "libc10.so", folder / "libcudart.so.13"]
    subprocess.run([*command, f"-Wl,-rpath,{(torch / 'lib').resolve()}"], check=True)
    return harness


def theirs(harness: Path, settings: str, capacity: int | None, calls: list[Call]) -> Answer:
    """What torch's allocator answers."""
    stand_ins = [str(harness.parent / n) for n in ("libcudart.so.13", "libnvidia-ml.so.1")]
    environment = {**os.environ, "LD_PRELOAD": ":".join(stand_ins), "PYTORCH_ALLOC_CONF": settings}
    if capacity is not None:
        environment["FAKE_CUDA_TOTAL"] = str(capacity)
    text = "\n".join(" ".join(map(str, call)) for call in [*calls, ("s",)])
    done = subprocess.run(
        [harness], input=text, capture_output=True, text=True, env=environment, check=True
    )
    lines = done.stdout.splitlines()
    return Answer(
        figures=[line for line in lines if line[0] != "s"],
        segments=sorted(line for line in lines if line[0] == "s"),
    )


def ours(settings: str, capacity: int | None, calls: list[Call]) -> Answer:
    """What the simulation answers, in the same words."""
    allocator = new_allocator(Settings.parse(settings), capacity)
    addresses: dict[object, int] = {}
    figures = []
    for call in calls:
        letter, *arguments = call
        if letter == "a":
            name, size = arguments
            assert isinstance(size, int)
            try:
                addresses[name] = allocator.allocate(size)
            except OutOfDeviceMemoryError:
                letter = "o"
        elif letter == "f":
            allocator.free(addresses.pop(arguments[0], 0))
        else:
            allocator.release_cached()
        usage, peaks = allocator.usage, allocator.peaks
        shown = (usage.allocated, usage.requested, usage.reserved, usage.inactive_split)
        figures.append(" ".join(map(str, (letter, *shown, peaks.allocated, peaks.requested))))
        figures[-1] += f" {peaks.reserved}"
    segments = []
    for segment in allocator.segments():
        blocks = " ".join(f"{b.size}:{b.requested}" for b in segment.blocks)
        segments.append(f"s {segment.size} {int(segment.small)} {blocks}")
    return Answer(figures, sorted(segments))


def random_calls(generator: random.Random, count: int) -> list[Call]:
    """Calls that allocate and free about as often, and now and then empty the cache."""
    calls: list[Call] = []
    alive: list[int] = []
    for identity in range(count):
        dice = generator.random()
        if alive and dice < 0.48:
            calls.append(("f", alive.pop(generator.randrange(len(alive)))))
        elif dice < 0.5:
            calls.append(("e",))
        else:
            alive.append(identity)
            calls.append(("a", identity, random_size(generator)))
    return calls


def random_size(generator: random.Random) -> int:
    """Bytes: small, around the limits of the pools, feature maps, and large."""
    dice = generator.random()
    if dice < 0.25:
        return generator.randint(1, 2000)
    if dice < 0.45:
        return generator.randint(1, MIB)
    if dice < 0.65:
        return generator.randint(MIB - 2000, 12 * MIB)
    if dice < 0.9:
        channels = generator.choice((3, 16, 48, 50))
        return 4 * channels * generator.choice((510 * 510, 339 * 510, 256 * 256))
    return generator.randint(10 * MIB, 90 * MIB)


def corners() -> Iterator[Run]:
    """The runs of `CORNERS`."""
    for settings, mebibytes, text in CORNERS:
        calls: list[Call] = []
        for word in text.split():
            identity, _, size = word[1:].partition(":")
            arguments = [int(identity)] if identity else []
            arguments += [int(float(size) * MIB)] if size else []
            calls.append((word[0], *arguments))
        yield settings, None if mebibytes is None else mebibytes * MIB, calls


def random_runs(seed: int, lengths: tuple[int, ...]) -> Iterator[Run]:
    """Random calls under every setting, on a device without a limit and on one with."""
    for settings in SETTINGS:
        generator = random.Random(f"{seed} {settings}")
        for capacity in (None, generator.randint(60 * MIB, 600 * MIB)):
            yield settings, capacity, random_calls(generator, generator.choice(lengths))


def compare(harness: Path, seeds: int) -> int:
    """Print what differs, and give how many runs do."""
    count = differing = 0
    runs = (random_runs(seed, (30, 120, 400)) for seed in range(seeds))
    for settings, capacity, calls in chain(corners(), *runs):
        count += 1
        if ours(settings, capacity, calls) != theirs(harness, settings, capacity, calls):
            differing += 1
            print(f"differs: settings {settings!r}, capacity {capacity}, calls {calls}")
    print(f"{count} runs, {differing} differ")
    return differing


def record(harness: Path, path: Path) -> None:
    """Write what torch answers to some runs, for the tests of machines without torch's wheel."""
    runs = []
    for settings, capacity, calls in chain(corners(), random_runs(0, (50,))):
        answer = theirs(harness, settings, capacity, calls)
        runs.append(
            {
                "settings": settings,
                "capacity": capacity,
                "calls": [" ".join(map(str, call)) for call in calls],
                "figures": answer.figures,
                "segments": answer.segments,
            }
        )
    lines = ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs)
    path.write_text(f"[\n{lines}\n]\n")


def main() -> int:
    """Build, then compare or record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--torch", type=Path, required=True, help="the wheel's torch folder")
    parser.add_argument("--cuda", type=Path, required=True, help="folder of include/cuda.h")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--record", type=Path, help="write torch's answers instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        harness = build(args.torch, args.cuda, Path(folder))
        if args.record:
            record(harness, args.record)
            return 0
        return 1 if compare(harness, args.seeds) else 0


if __name__ == "__main__":
    sys.exit(main())
