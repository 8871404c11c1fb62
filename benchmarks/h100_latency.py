"""Predicted latency beside what an NVIDIA H100 took: the tables of docs/latency.md.

    python benchmarks/h100_latency.py            # the tables, from benchmarks/records/nvidia-h100
    python benchmarks/h100_latency.py --refit    # first fit calibrated.toml to calibrate.json anew
    python benchmarks/h100_latency.py --refit calibrate.log    # and take the samples from a new run

The records are those of `srprof validate --device cuda` (benchmarks/gpu_session.py), each runtime
the median of 20 passes. Profiles: `h100`, a datasheet with shares that were set with the kernels of
eleven networks in sight, and `calibrated.toml`, which saw the benches of `srprof calibrate` alone.
`calibrate.json` is what `srprof calibrate --device cuda --format json` printed on the card, all
samples in it; `--refit` fits a profile to them as that command does, with today's model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from latency_tables import table

from srprof import trace
from srprof.calibration.benches import Bench
from srprof.calibration.kinds import plan
from srprof.calibration.run import run_calibration
from srprof.cost.estimate import estimate
from srprof.cost.fitting import mean_error, spearman
from srprof.cost.profiles import load_profile, to_toml
from srprof.measuring.record import Device as Hardware
from srprof.measuring.statistics import summarize

RECORDS = Path(__file__).parent / "records" / "nvidia-h100"
CALIBRATED = RECORDS / "calibrated.toml"
PROFILES = {"h100": "h100", "calibrated": str(CALIBRATED)}

#: Networks whose kernels were in sight, at 339x510, when the shares of `h100` were set.
SEEN = frozenset(
    "e_rfdn edsr_baseline fmen fmen_s imdn latticenet megsr neesr rainbow repafdn rlfn".split()
)
#: Size and dtype of the columns, and the folder of their records.
RUNS = (
    ("339x510", "float32", "published"),
    ("510x510", "float32", "timed"),
    ("510x510", "float16", "timed"),
    ("256x256", "float32", "timed"),
    ("256x256", "float16", "timed"),
)


@dataclass(frozen=True)
class Run:
    """A network's runtime in ms, and by profile what was predicted."""

    spec: str
    measured: float
    predicted: dict[str, float]

    def errors(self) -> tuple[str, ...]:
        """For a table: what was measured, and how far off each profile is."""
        off = (f"{self.predicted[p] / self.measured - 1:+.0%}" for p in PROFILES)
        return f"{self.measured:.2f}", *off


@cache
def runs(size: str, dtype: str, folder: str) -> tuple[Run, ...]:
    """All runs at a size, by name."""
    found = []
    for path in sorted((RECORDS / folder).glob(f"*_{size}_{dtype}.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        traced = trace(record["spec"], tuple(record["inputs"][0]["shape"]), dtype=dtype)
        found.append(
            Run(
                record["spec"],
                summarize(record["latency"]["samples_ms"]).median,
                {
                    name: 1e3 * estimate(traced, load_profile(profile)).seconds
                    for name, profile in PROFILES.items()
                },
            )
        )
    return tuple(found)


def errors_table() -> str:
    """How far off each network is, where the device and not its host is the slower."""
    shown = {run[:2]: {r.spec: r.errors() for r in runs(*run)} for run in RUNS[:3]}
    specs = sorted({spec for column in shown.values() for spec in column})
    headers = ["ms"]
    for size, dtype in shown:
        headers += [f"{size} {dtype}", *PROFILES]
    rows = []
    for spec in (*(s for s in specs if s in SEEN), *(s for s in specs if s not in SEEN)):
        row = [f"`{spec}`{'' if spec in SEEN else ' *'}"]
        for column in shown.values():
            row += column.get(spec, ("",) * (1 + len(PROFILES)))
        rows.append(row)
    return table(headers, rows)


def summary_table() -> str:
    """Mean errors and rank correlations: of all, and of networks that were not in sight."""
    rows = []
    for run in RUNS:
        found = runs(*run)
        others = [r for r in found if r.spec not in SEEN]
        row = [f"{run[0]} {run[1]}", str(len(found)), str(len(others))]
        for profile in PROFILES:
            row += [_mean(found, profile), _mean(others, profile)]
            pairs = [[r.predicted[profile] for r in found], [r.measured for r in found]]
            row.append(f"{spearman(*pairs):.3f}")
        rows.append(row)
    headers = ["size", "networks", "of these *"]
    headers += [f"{p}: {what}" for p in PROFILES for what in ("error", "of *", "Spearman")]
    return table(headers, rows)


def _mean(found: Any, profile: str) -> str:
    return f"{mean_error([r.predicted[profile] for r in found], [r.measured for r in found]):.1%}"


class _Samples:
    """A stopwatch that reads from a calibration's samples."""

    where = "meta"

    def __init__(self, samples: dict[str, list[float]]) -> None:
        self._rest = {name: iter(taken) for name, taken in samples.items()}

    def active(self) -> AbstractContextManager[None]:
        """Nothing runs."""
        return nullcontext()

    def seconds(self, bench: Bench, call: Callable[[], object]) -> float:
        """The next sample."""
        del call
        return next(self._rest[bench.name])


def keep(log: Path) -> None:
    """Keep the JSON that `srprof calibrate --format json` printed, with other lines around it."""
    text = log.read_text(encoding="utf-8")
    data, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    (RECORDS / "calibrate.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def refit() -> None:
    """Fit a profile to the samples of the benches that were timed, and write it."""
    data = json.loads((RECORDS / "calibrate.json").read_text(encoding="utf-8"))
    samples = {bench["name"]: bench["samples_s"] for bench in (*data["roofs"], *data["benches"])}
    record = json.loads(next((RECORDS / "timed").glob("imdn_*.json")).read_text(encoding="utf-8"))
    card = record["device"]
    properties = SimpleNamespace(
        total_memory=card["memory"], multi_processor_count=132, L2_cache_size=50 * 2**20
    )
    cuda = SimpleNamespace(current_device=lambda: 0, get_device_properties=lambda index: properties)
    hardware = Hardware("cuda", card["name"], card["capability"], memory=card["memory"])
    chosen = plan(hardware, quick=False, threads=1, cuda=cuda)
    timed = tuple(bench for bench in chosen.benches if bench.name in samples)
    print(f"{len(timed)} of {len(chosen.benches)} benches of today's plan were timed")
    found = run_calibration(
        replace(chosen, benches=timed),
        _Samples(samples),
        "calibrated",
        "srprof calibrate --device cuda; python benchmarks/h100_latency.py --refit",
        data["rounds"],
    )
    CALIBRATED.write_text(to_toml(found.profile), encoding="utf-8")
    print(f"error {found.fit.mean_error:.1%}, held out {found.fit.leave_one_out:.1%}")


def tables() -> tuple[str, str]:
    """The two tables, as Markdown."""
    return errors_table(), summary_table()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--refit", nargs="?", type=Path, const=RECORDS / "calibrate.json")
    log = parser.parse_args().refit
    if log is not None:
        keep(log)
        refit()
    print(*tables(), sep="\n\n")


if __name__ == "__main__":
    main()
