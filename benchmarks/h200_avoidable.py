"""What could be saved, against what was: channels-last maps and CUDA graphs on an H200.

    python benchmarks/h200_avoidable.py h200_compile.json

Prints milliseconds of the zoo's networks in the file: a list of objects of a network's `name` and,
by `eager_f16_510` and the like, its fastest call's `min` (`f16cl` with channels-last maps, `graph`
in a CUDA graph). Beside each measured pair stands what `analyze --profile h200` says of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import srprof
from srprof.registry import networks

DTYPES = {"f32": "float32", "f16": "float16"}
PROFILE = "h200"


def copies(run: Mapping[str, Any], name: str) -> Iterator[str]:
    """Plain and channels-last maps at 510x510, where the host is ahead of the device."""
    now, then = (run.get(f"eager_{form}_510", {}).get("min") for form in ("f16", "f16cl"))
    if now and then:
        latency = srprof.analyze(name, "510x510", dtype="float16", profile=PROFILE).record.latency
        saved = sum(cost.ms for cost in latency.avoidable if cost.kind == "layout")
        yield row(name, "channels_last", "510 f16", now, then, latency.predicted_ms, saved)


def graphs(run: Mapping[str, Any], name: str) -> Iterator[str]:
    """Calls of 256x256, and CUDA graphs of them."""
    for short, dtype in DTYPES.items():
        forms = (f"eager_{short}_256", f"eager_graph_{short}_256")
        now, then = (run.get(form, {}).get("min") for form in forms)
        if now and then:
            latency = srprof.analyze(name, "256x256", dtype=dtype, profile=PROFILE).record.latency
            saved = latency.predicted_ms - latency.graph_ms
            yield row(name, "CUDA graph", f"256 {short}", now, then, latency.predicted_ms, saved)


def row(
    name: str, what: str, case: str, now: float, then: float, predicted: float, saved: float
) -> str:
    """A line of the table."""
    measured, said = (
        f"{a:8.2f} {b:8.2f}" for a, b in ((now, then), (predicted, predicted - saved))
    )
    return f"{name:8} {what:14} {case:8} {measured} {said}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    runs = json.loads(parser.parse_args().file.read_text(encoding="utf-8"))
    print("network  with           case     measured     with predicted     with")
    zoo = {network.name for network in networks()}
    for run in runs:
        if run["name"] in zoo:
            print(*copies(run, run["name"]), *graphs(run, run["name"]), sep="\n")


if __name__ == "__main__":
    main()
