"""What a baseline was made in, and what may be compared with one of another environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from srprof import figures
from srprof._version import __version__
from srprof.analysis.record import AnalysisRecord
from srprof.gate.baseline import Entry, described
from srprof.gate.config import Settings
from srprof.gate.record import UPDATE


def depends() -> Mapping[str, frozenset[str]]:
    """What else a metric depends on: a baseline that differs in it is not compared in these.

    Counts come from the layers that are called, and not from the ops that torch makes of them.
    """
    every = frozenset(figures.names())
    peaks = frozenset(figures.peak_names())
    of_ops = peaks | {"macs", "fvcore_flops", "latency_ms"}
    of_rules = every - {"params", "net"}
    of_allocator = frozenset(peak.name for peak in figures.peaks() if peak.least is not None)
    return {
        "torch": of_ops,
        "srprof": of_rules,
        "CUBLAS_WORKSPACE_CONFIG": of_allocator,
        **dict.fromkeys(("traced_on", "trace_on", "channels_last"), of_ops),
        "dtype": peaks | {"net", "latency_ms"},
        "inputs": of_rules,
        **dict.fromkeys(("protocol", "sizes", "allocator"), of_allocator),
        "profile": frozenset({"latency_ms"}),
        "weights": frozenset(),
        "model": every,
    }


def versions(record: AnalysisRecord) -> dict[str, str]:
    """The versions and variables that figures depend on; torch's without its build."""
    cublas = os.environ.get("CUBLAS_WORKSPACE_CONFIG", "")
    own = {"srprof": __version__, "torch": record.torch.partition("+")[0]}
    return {**own, **({"CUBLAS_WORKSPACE_CONFIG": cublas} if cublas else {})}


def differences(
    settings: Settings,
    record: AnalysisRecord,
    entry: Entry,
    before: Mapping[str, str],
    now: Mapping[str, str],
) -> dict[str, tuple[str, str]]:
    """What a baseline's entry was made with otherwise than now: its value and ours."""
    was = {**entry.settings, **before, "traced_on": entry.trace.traced_on}
    ours = {**described(settings), **now, "traced_on": record.traced_on}
    keys = [key for key in depends() if was.get(key) != ours.get(key)]
    keys += sorted(k for k in was if k not in depends() and was[k] != ours.get(k))
    return {key: (shown(was.get(key)), shown(ours.get(key))) for key in keys}


def shown(value: Any) -> str:
    """A setting's value as it is written to people."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "the default" if value is None else str(value)


def patch_only(was: str, now: str) -> bool:
    """Whether two versions of torch differ in their last number alone: 2.13.0 and 2.13.1."""
    first, second = was.split("."), now.split(".")
    return len(first) == len(second) == 3 and first[:2] == second[:2]


def left_out(differing: Mapping[str, tuple[str, str]], metrics: Iterable[str]) -> Iterator[str]:
    """A sentence for each difference by which metrics are not compared."""
    for key, (was, ours) in differing.items():
        lost = [name for name in metrics if name in depends().get(key, figures.names())]
        if lost:
            what = f"the baseline is of another {key} ({was}, now {ours})"
            mend = f"{UPDATE}, or check with {key} as it was"
            yield f"{what}, so these were not compared: {', '.join(lost)}; {mend}"
