"""Predicted latency beside published runtimes of networks on GPUs that none of us has touched.

    python benchmarks/published_runtimes.py            # the tables of docs/latency.md
    python benchmarks/published_runtimes.py --fit      # rtx_a6000 and rtx4090, with held-out errors
    python benchmarks/published_runtimes.py --sizes --data DIR    # 2026's images of a new size
    python benchmarks/published_runtimes.py --record --repositories DIR --data DIR

Three sets, each with what its networks ask of a device, node by node (`records/published.json.gz`,
which the last command makes):

- `ntire2022`: the 42 networks with public code of the challenge, mean over DIV2K's validation and
  test images; at 339x510, of nearly half of them and of their mean area.
- `ntire2026`: 13 of the 16 of that year (an RTX A6000, torch 1.13), the median over DIV2K's test
  images of 339x510: the second hundred of its 200. Two need CUDA code to be built for Mamba, one
  for itself, so they cannot be traced.
- `rtx4090`: spandrel's of traiNNer-redux's table of x4 networks, whose parameters are as many as
  published there: 1x3x480x640 under autocast, contiguous and channels-last, `cudnn.benchmark` on.

DIR of the repositories has `ntire2022` and `ntire2026`, whose code is run to build the networks,
without weights; --data is the folder of what was published. What is fitted has a physical meaning,
and nothing is of one network; each is predicted by a fit to others.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from fit_ntire2022 import NETWORKS
from h200_peaks import alone
from latency_tables import table
from ntire2022_peaks import NUMBERS, RESULTS

from srprof.call import Call
from srprof.challenge.script import build
from srprof.cost.classes import NodeCost, node_costs
from srprof.cost.estimate import total_seconds
from srprof.cost.fitting import Fit, Parameter, Sample, fit, spearman
from srprof.cost.profiles import Profile, load_profile, to_toml
from srprof.ops import Product
from srprof.tracing.run import run_trace
from srprof.workload import resolve

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "records" / "published.json.gz"
#: Networks of 2026 that need CUDA's compiler: Mamba's two, and one with an operator of its own.
NOT_TRACED = {5, 12, 22}
COMMAND = "python benchmarks/published_runtimes.py --fit"
SIZE = (339, 510)
#: The teams whose networks `ntire2022` is fitted to, as its own script names these.
FITTED = {
    "IMDN_baseline", "TieGuoDun", "NJU_Jet", "ByteESR", "NEESR", "Super", "rainbow", "MegSR"
}  # fmt: skip
assert len(FITTED) == len(NETWORKS)


@dataclass(frozen=True)
class Run:
    """A published runtime: its network's name, what that asks of a device, and milliseconds."""

    name: str
    costs: tuple[NodeCost, ...]
    ms: float


# -- the record ------------------------------------------------------------------------------------


def bare(costs: Sequence[NodeCost]) -> list[NodeCost]:
    """Costs without what tells one node from another that costs the same.

    Storages are numbered anew for each node, but those that the node before it wrote keep their
    numbers: that is all that an estimate asks of them.
    """
    found = []
    written: dict[int, int] = {}
    for cost in costs:
        numbers = {s: written[s] for s in _storages(cost) if s in written}
        free = (n for n in count() if n not in written.values())
        for storage in _storages(cost):
            if storage not in numbers:
                numbers[storage] = next(free)
        reads = tuple((numbers[storage], nbytes) for storage, nbytes in cost.reads)
        writes = tuple(numbers[storage] for storage in cost.writes)
        found.append(replace(cost, index=0, module="", reads=reads, writes=writes))
        if cost.family != "view":
            written = {storage: numbers[storage] for storage in cost.writes}
    return found


def _storages(cost: NodeCost) -> list[int]:
    return [*(storage for storage, _ in cost.reads), *cost.writes]


def write(sets: Mapping[str, Sequence[Run]]) -> None:
    """Write the record: each distinct cost once, and networks as indices of these."""
    numbers: dict[NodeCost, int] = {}
    runs = {
        name: [
            {
                "name": run.name,
                "ms": run.ms,
                "nodes": [numbers.setdefault(cost, len(numbers)) for cost in bare(run.costs)],
            }
            for run in of_set
        ]
        for name, of_set in sets.items()
    }
    record = {"costs": [_written(cost) for cost in numbers], "sets": runs}
    RECORD.write_bytes(gzip.compress(json.dumps(record, separators=(",", ":")).encode(), mtime=0))


def _written(cost: NodeCost) -> dict[str, Any]:
    """A cost's figures that are not the defaults."""
    values = {field.name: getattr(cost, field.name) for field in fields(cost)}
    defaults = {field.name: field.default for field in fields(cost)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def _read(values: dict[str, Any]) -> NodeCost:
    values["reads"] = tuple(map(tuple, values["reads"]))
    values["writes"] = tuple(values.get("writes", ()))
    if "channels" in values:
        values["channels"] = tuple(values["channels"])
    if "product" in values:
        values["product"] = Product(*values["product"])
    return NodeCost(**values)


@cache
def runs() -> Mapping[str, tuple[Run, ...]]:
    """The sets of the record."""
    record = json.loads(gzip.decompress(RECORD.read_bytes()))
    costs = [_read(values) for values in record["costs"]]
    return {
        name: tuple(
            Run(run["name"], tuple(costs[node] for node in run["nodes"]), run["ms"])
            for run in of_set
        )
        for name, of_set in record["sets"].items()
    }


# -- the tables ------------------------------------------------------------------------------------


def networks(name: str, profiles: Sequence[str]) -> str:
    """A set's networks: published, and how far off each profile is."""
    rows = []
    for run in sorted(runs()[name], key=lambda run: run.ms):
        errors = (1e3 * total_seconds(run.costs, load_profile(p)) / run.ms - 1 for p in profiles)
        star = " *" if name == "ntire2022" and run.name not in FITTED else ""
        rows.append((run.name + star, f"{run.ms:.2f}", *(f"{error:+.0%}" for error in errors)))
    return table((name, "ms", *profiles), rows)


def _is_all(_: str) -> bool:
    return True


def _is_unseen(name: str) -> bool:
    return name not in FITTED


def _is_in(layout: str, name: str) -> bool:
    return name.endswith(layout)


#: What is summed up: words, set, profile, and which of its networks.
SUMMED: Sequence[tuple[str, str, str, Callable[[str], bool]]] = (
    ("2022, all", "ntire2022", "gtx1080ti", _is_all),
    ("2022, not fitted *", "ntire2022", "gtx1080ti", _is_unseen),
    ("2022, all", "ntire2022", "titanxp", _is_all),
    ("2022, not fitted *", "ntire2022", "titanxp", _is_unseen),
    ("2022, not fitted *", "ntire2022", "ntire2022", _is_unseen),
    ("2026", "ntire2026", "rtx_a6000", _is_all),
    ("spandrel's, contiguous", "rtx4090", "rtx4090", partial(_is_in, "contiguous")),
    ("spandrel's, channels-last", "rtx4090", "rtx4090", partial(_is_in, "channels-last")),
)


def summary() -> str:
    """Errors and rank correlation of each set."""
    rows = []
    for what, name, profile, chosen in SUMMED:
        taken = [run for run in runs()[name] if chosen(run.name)]
        predicted = [1e3 * total_seconds(run.costs, load_profile(profile)) for run in taken]
        measured = [run.ms for run in taken]
        ratios = [p / m for p, m in zip(predicted, measured, strict=True)]
        errors = [abs(ratio - 1) for ratio in ratios]
        within = sum(error <= 0.25 for error in errors)
        worst = max(max(ratio, 1 / ratio) for ratio in ratios)
        rank = spearman(predicted, measured)
        row = f"{median(errors):.1%}", f"{within} of {len(taken)}", f"{worst:.2f}", f"{rank:.3f}"
        rows.append((what, f"`{profile}`", *row))
    return table(("networks", "profile", "median error", "within 25 %", "worst", "Spearman"), rows)


def tables() -> tuple[str, ...]:
    """The tables of the page, as Markdown."""
    return (
        summary(),
        networks("ntire2022", ("gtx1080ti", "ntire2022")),
        networks("ntire2026", ("rtx_a6000",)),
        networks("rtx4090", ("rtx4090",)),
    )


# -- the fits --------------------------------------------------------------------------------------

#: At most what a clock above the datasheet's allows: 0.85 of the peak, times 1.25.
_COMPUTE = Parameter("compute", prior=1.0, spread=0.2, lower=0.4, upper=1.25)
_LAUNCH = Parameter("launch", prior=6.5e-6, spread=0.5, lower=1e-6, upper=3e-5)
_BANDWIDTH = Parameter("bandwidth_share", prior=1.0, spread=0.2, lower=0.5, upper=2.0)
#: Masks of windows are made on the CPU.
_HOST = (
    Parameter("host.cpu", prior=8e9, spread=0.5, lower=2e9, upper=1e11),
    Parameter("host.copy", prior=8e9, spread=0.5, lower=2e9, upper=3e10),
)
#: By profile, its set, what is fitted, and in how many parts networks are left out.
FITS: Mapping[str, tuple[str, tuple[Parameter, ...], int]] = {
    "rtx_a6000": ("ntire2026", (_COMPUTE, _LAUNCH), 13),
    "rtx4090": ("rtx4090", (_COMPUTE, _BANDWIDTH, *_HOST), 7),
}
#: An unfitted profile with tensor cores: a fit starts from its assumed figures.
_ASSUMED = "rtx3090"
#: But a GeForce's of Ada are an eighth as fast for each multiprocessor as the H100's that those
#: figures are of, so that what feeds them does not hold them up: any tile reaches the most.
_FED = {"rtx4090": dict.fromkeys(("tensor_32", "tensor_64", "tensor_128"), 0.85)}


def plain(name: str) -> Profile:
    """A card by its datasheet, with assumed figures where a fit has others."""
    assumed = load_profile(_ASSUMED)
    figures = {key: getattr(assumed, key) for key in ("bandwidth_share", "launch", "host")}
    compute = {**assumed.compute, **_FED.get(name, {})}
    return replace(load_profile(name), **figures, compute=compute)


def fitted(profile: str) -> Fit:
    """The figures of a profile that explain its set; a network is left out with all its runs."""
    name, parameters, folds = FITS[profile]
    networks = list(dict.fromkeys(_network(run) for run in runs()[name]))
    samples = [Sample(run.name, run.costs, 1e-3 * run.ms) for run in runs()[name]]
    parts = [networks.index(_network(run)) % folds for run in runs()[name]]
    return fit(samples, plain(profile), parameters, noise=0.1, folds=parts)


def _network(run: Run) -> str:
    """A run's network, whatever the layout."""
    return run.name.partition(", ")[0]


def report(profile: str, found: Fit) -> None:
    """Print a fit, its errors with each network left out, and what it changes in the profile."""
    errors = [p / m - 1 for p, m in zip(found.left_out, found.measured, strict=True)]
    worst = max(max(1 + error, 1 / (1 + error)) for error in errors)
    values = ", ".join(f"{key} = {value:.3g}" for key, value in found.values.items())
    print(f"{profile}, {len(errors)} runs: {values}")
    print(
        f"each network left out: median error {median(map(abs, errors)):.1%}, mean "
        f"{found.leave_one_out:.1%}, worst by {worst:.2f} times, Spearman "
        f"{spearman(found.left_out, found.measured):.3f}\n"
    )
    print(to_toml(replace(found.profile, command=COMMAND), plain(profile), profile))


# -- making the record -----------------------------------------------------------------------------


def of_2022(root: Path) -> Iterator[Run]:
    """The challenge's networks of 2022."""
    ms = {row["team"]: row["time_ms"] for row in json.loads(RESULTS.read_text())["rows"]}
    for team, number in NUMBERS.items():
        yield Run(team, _traced(root, "2022", number), ms[team])


def of_2026(root: Path, data: Path) -> Iterator[Run]:
    """Those of 2026 whose code runs without CUDA's compiler."""
    for team, times in _times_of_2026(data):
        number = int(team.partition("_")[0])
        if number not in NOT_TRACED:
            yield Run(team, _traced(root, "2026", number), _usual(times))


def _times_of_2026(data: Path) -> Iterator[tuple[str, list[tuple[float, tuple[int, ...]]]]]:
    """Each network's milliseconds for each of DIV2K's test images, and the image's size."""
    results = json.loads(gzip.decompress((data / "ntire_results.json.gz").read_bytes()))["2026"]
    sizes = json.loads((ROOT / "srprof" / "data" / "div2k_test_lr_sizes.json").read_text())["hw"]
    for team, row in results.items():
        yield team, [*zip(row["test_runtime"][100:], map(tuple, sizes), strict=True)]


def _usual(times: Sequence[tuple[float, tuple[int, ...]]]) -> float:
    return median(time for time, size in times if size == SIZE)


def new_sizes(data: Path) -> str:
    """By how many ms images of 2026 took longer than their pixels say, the first of a size alone.

    A program that meets a size for the first time has cuDNN's kernels to choose and memory to find.
    """
    rows = []
    for team, times in _times_of_2026(data):
        each = _usual(times) / (SIZE[0] * SIZE[1])
        first: list[float] = []
        later: list[float] = []
        seen: set[tuple[int, ...]] = set()
        for time, size in times:
            (later if size in seen else first).append(time - each * size[0] * size[1])
            seen.add(size)
        cells = f"{_usual(times):.2f}", *(f"{median(part):+.2f}" for part in (first, later))
        rows.append((team, *cells))
    return table(("network", "ms at 339x510", "first of a size", "later"), rows)


def _traced(root: Path, year: str, number: int) -> tuple[NodeCost, ...]:
    """The costs of a challenge's network: in a process of its own, for names of modules collide."""
    found = alone(__file__, root, f"{year} {number}")
    if found is None:
        raise SystemExit(f"{year}'s {number} was not traced")
    return tuple(map(_read, found))


def of_spandrel(data: Path) -> Iterator[Run]:
    """Spandrel's networks, in both layouts."""
    from spandrel_networks import networks

    for row, network in networks(data / "trainner_rtx4090.csv"):
        for layout, taken in row.ms.items():
            yield Run(f"{row.name}, {layout}", _costs(row.call(network, layout)), taken)


def _costs(call: Call) -> tuple[NodeCost, ...]:
    return node_costs(run_trace(resolve(call), holders=False))


def main() -> None:
    """Print the tables, or fit, or make the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fit", action="store_true", help="fit rtx_a6000 and rtx4090")
    parser.add_argument("--sizes", action="store_true", help="what a new size costs; needs --data")
    parser.add_argument("--record", action="store_true", help="trace the networks again")
    parser.add_argument("--repositories", type=Path, help="the folder of the public repositories")
    parser.add_argument("--data", type=Path, help="the folder of what was published")
    parser.add_argument("--only", metavar="'YEAR NUMBER'", help="this network's costs, as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        year, number = arguments.only.split()
        network = build(arguments.repositories.resolve() / f"ntire{year}", int(number))
        costs = _costs(Call(network, ((1, 3, *SIZE),)))
        print(json.dumps([_written(cost) for cost in bare(costs)]))
    elif arguments.record:
        root, data = arguments.repositories.resolve(), arguments.data.resolve()
        of_challenges = {"ntire2022": [*of_2022(root)], "ntire2026": [*of_2026(root, data)]}
        write({**of_challenges, "rtx4090": [*of_spandrel(data)]})
    elif arguments.sizes:
        print(new_sizes(arguments.data.resolve()))
    elif arguments.fit:
        for profile in FITS:
            report(profile, fitted(profile))
    else:
        print(*tables(), sep="\n\n")


if __name__ == "__main__":
    main()
