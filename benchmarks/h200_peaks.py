"""Predicted peaks beside what an NVIDIA H200 took of public networks of the NTIRE challenges.

    python benchmarks/h200_peaks.py                       # the zoo's eight of them
    python benchmarks/h200_peaks.py --repositories DIR    # all 74

DIR has `ntire2022` and `ntire2024`, the trees of the challenges' public repositories
(ofsoundof/NTIRE2022_ESR, Amazingren/NTIRE2024_ESR); their code is run to build the networks,
without weights, each in a process of its own. All were measured on whole images.

What was measured is one program for each network (`records/nvidia-h200/peaks.json`): it loads the
network and an image of 510x510, runs it (the peak is `f32_510`), runs it again some times, then
at 339x510 and 256x256 (`f32_256`, less the large image, which is still there), then without TF32
(`ieee_510`), makes the network half, and runs it at 510x510 and 256x256 (`f16_510`, `f16_256`).
Before each peak it empties the allocator's cache. So the same program is simulated, for the state
in which the allocator is left moves a peak by up to 1 MiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from srprof import trace
from srprof.call import Call
from srprof.challenge.script import build
from srprof.cost.profiles import load_profile
from srprof.errors import SrprofError
from srprof.memory.allocator import new_allocator
from srprof.memory.settings import Settings
from srprof.memory.simulation import Runner
from srprof.memory.workspace import kept_workspaces, tensor_core_workspaces
from srprof.records import Trace

RECORD = Path(__file__).parent / "records" / "nvidia-h200" / "peaks.json"
#: The zoo's networks by challenge and id.
OF_ZOO = {
    "2022 -1": "imdn",
    "2022 0": "e_rfdn",
    "2022 3": "fmen_s",
    "2022 4": "rlfn",
    "2022 5": "neesr",
    "2022 10": "repafdn",
    "2022 39": "rainbow",
    "2022 40": "megsr",
}
SIZES = ((510, 510), (339, 510), (256, 256))
LARGE, MIDDLE, SMALL = SIZES
#: Runs before a peak: what the allocator has then no longer changes.
_WARM = 3


#: A network's traces by dtype and size.
Traces = Mapping[tuple[str, tuple[int, int]], Trace]


def traces(model: Any) -> dict[tuple[str, tuple[int, int]], Trace]:
    """A network's traces by dtype and size; without those of a dtype that it does not run in."""
    made: dict[tuple[str, tuple[int, int]], Trace] = {}
    for dtype in ("float32", "float16"):
        try:
            for size in SIZES if dtype == "float32" else (LARGE, SMALL):
                made[dtype, size] = trace(Call(model, ((1, 3, *size),), dtype=dtype))
        except SrprofError:
            if dtype == "float32":
                raise
    return made


def peaks(made: Traces) -> dict[str, int]:
    """Bytes of `max_memory_allocated` by condition, of the program above."""
    profile = load_profile("h200")
    scratch = tensor_core_workspaces(profile.in_tensor_cores).at_least
    kept = dict(kept_workspaces(profile.capability))
    runner = Runner(new_allocator(Settings()), scratch, kept, keep_input=False, keep_result=False)
    float32 = {size: t for (dtype, size), t in made.items() if dtype == "float32"}
    float16 = {size: t for (dtype, size), t in made.items() if dtype == "float16"}
    found: dict[str, int] = {}

    def peak(of: Trace, inputs: list[int]) -> int:
        runner.allocator.release_cached()
        return runner.run(of, inputs=inputs).peaks.allocated

    def warm(of: Trace, inputs: list[int]) -> None:
        for _ in range(_WARM):
            runner.run(of, inputs=inputs)

    runner.load(float32[LARGE])
    before = runner.allocator.allocated
    large = runner.inputs(float32[LARGE])
    image = runner.allocator.allocated - before
    found["f32_510"] = peak(float32[LARGE], large)
    warm(float32[LARGE], large)
    middle = runner.inputs(float32[MIDDLE])
    warm(float32[MIDDLE], middle)
    runner.drop(middle)
    small = runner.inputs(float32[SMALL])
    warm(float32[SMALL], small)
    found["f32_256"] = peak(float32[SMALL], small) - image
    runner.drop(small)
    runner.workspace = None
    found["ieee_510"] = peak(float32[LARGE], large)
    warm(float32[LARGE], large)
    runner.workspace = scratch
    if float16:
        runner.replace_network(float32[LARGE], float16[LARGE])
        halved = runner.inputs(float16[LARGE])
        runner.drop(large)
        found["f16_510"] = peak(float16[LARGE], halved)
        warm(float16[LARGE], halved)
        full = runner.inputs(float32[SMALL])  # the small image is made in float32
        small = runner.inputs(float16[SMALL])
        runner.drop(full)
        runner.drop(halved)
        found["f16_256"] = peak(float16[SMALL], small)
    return found


def alone(script: str, root: Path, only: object, limit: float | None = None) -> Any:
    """What a script prints of one network, as JSON: in a process, for names of modules collide.

    None if it failed or took longer than so many seconds; why is printed.
    """
    command = [sys.executable, script, "--repositories", str(root), f"--only={only}"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        print(only, f"took longer than {limit} s")
        return None
    if run.returncode:
        print(only, run.stderr.strip().splitlines()[-1])
        return None
    return json.loads(run.stdout.strip().splitlines()[-1])


def repositories(page: str | None, predicted: Callable[[Path, int], Any]) -> Path | None:
    """The folder that a script over one year's repository is given, as its page says.

    None where it is asked of one network `--only`, as by `alone`: that is printed.
    """
    parser = argparse.ArgumentParser(description=(page or "").partition("\n")[0])
    parser.add_argument("--repositories", type=Path, required=True, help="the repositories' folder")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="of this network, as JSON")
    arguments = parser.parse_args()
    root: Path = arguments.repositories.resolve()
    if arguments.only is None:
        return root
    print(json.dumps(predicted(root, arguments.only)))
    return None


def of_both_years(
    script: str, page: str | None, keys: Iterable[str], predicted: Callable[[Traces], Any]
) -> Iterator[tuple[str, Any]]:
    """What is `predicted` of each network of 2022 and 2024, by challenge and id, as a page says.

    Without the repositories' folder, of the zoo's. A network that is asked for `--only`, as by
    `alone`, is printed, and the process ends.
    """
    parser = argparse.ArgumentParser(description=(page or "").partition("\n")[0])
    parser.add_argument("--repositories", type=Path, help="the folder of the public repositories")
    parser.add_argument("--only", metavar="'YEAR ID'", help="of this network, as JSON")
    arguments = parser.parse_args()
    root = arguments.repositories and arguments.repositories.resolve()
    if arguments.only:
        year, number = arguments.only.split()
        network = build(root / f"ntire{year}", int(number), as_called=False)
        print(json.dumps(predicted(traces(network))))
        raise SystemExit
    for key in keys:
        if root is None and key not in OF_ZOO:
            continue
        found = alone(script, root, key) if root else predicted(traces(OF_ZOO[key]))
        if found is not None:
            yield key, found


def main() -> None:
    """Print each network's errors, and how many peaks are how near."""
    errors: list[float] = []
    measured = json.loads(RECORD.read_text())["peaks"]
    for key, found in of_both_years(__file__, __doc__, measured, peaks):
        row = measured[key]
        of_row = {name: found[name] / row[name] - 1 for name in found if name in row}
        errors += of_row.values()
        listed = "  ".join(f"{name} {error:+.3%}" for name, error in of_row.items())
        print(f"{key:8} {row['name']:16} {listed}", flush=True)
    for most in (0.001, 0.01):
        near = sum(abs(error) <= most for error in errors)
        print(f"{near} of {len(errors)} peaks are within {most:.1%}")


if __name__ == "__main__":
    main()
