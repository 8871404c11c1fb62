"""Counts that the NTIRE challenges published, beside ours for each network whose code is public.

    python benchmarks/challenge_counts.py                       # the table of docs/validation.md
    python benchmarks/challenge_counts.py --repositories DIR    # make its record again

DIR has `ntire2022`, `ntire2024` and `ntire2026`, the trees of the challenges' public repositories;
their code is run to build the networks, without weights, each in a process of its own that is ended
after ten minutes. Parameters, activations and convolutions are counted as each year counts them,
and FLOPs by 2022's rules or by what fvcore counts (`srprof.cost.fvcore`), at 1x3x256x256.

Beside that, of every network fvcore itself is run on the CPU at 1x3x64x64 and held against our
rules for it: of most of 2024's nothing is published, but code is public. The record
(`records/challenge_counts.json`) has figures alone.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

from h200_peaks import alone
from latency_tables import table
from ntire2022_peaks import NUMBERS, RESULTS

import srprof
from srprof.challenge.script import build
from srprof.challenge.years import YEARS
from srprof.figures import find

RECORD = Path(__file__).parent / "records" / "challenge_counts.json"
#: Seconds that a network has.
LIMIT = 600
#: What is published, by our figure: its key in the rows, the key in results.json, what one of its
#: unit is, and decimals as they are printed.
COUNTS: Mapping[str, tuple[str, str, float, int]] = {
    "params": ("params_M", "num_parameters", 1e6, 3),
    "flops": ("flops_G", "flops", 1e9, 2),
    "activations": ("acts_M", "activations", 1e6, 2),
    "convs": ("convs", "num_conv", 1, 0),
}


def counted(root: Path, year: str, number: int) -> dict[str, Any]:
    """Ours at 256x256, and what fvcore and our rules for it count at 64x64."""
    stand_in()
    network = build(root / year, number)
    analysis = srprof.analyze(network, (1, 3, 256, 256))
    flops = YEARS[year].flops
    names = {"params": "params", "flops": flops, "activations": "activations", "convs": "convs"}
    ours = {name: find(figure).of(analysis.record) for name, figure in names.items()}
    by_rule = find("fvcore_flops").of(srprof.analyze(network, (1, 3, 64, 64)).record)
    return {**ours, "rule": by_rule, "fvcore": _by_fvcore(network)}


def stand_in() -> None:
    """Modules that entries import and this machine has not, so far as a count depends on them.

    BasicSR's registry, which gives classes back, initializations, and timm's `DropPath`, which does
    nothing in evaluation. Operators that CUDA's compiler builds count nothing: fvcore sees what
    they take from torch, and of an operator in Python (`torch.autograd.Function`) that its result
    depends on its operands.
    """
    import torch

    class DropPath(torch.nn.Identity):
        pass

    def same(tensor: Any, **_: Any) -> Any:
        return tensor

    def to_2tuple(sides: Any) -> Any:
        return sides if isinstance(sides, tuple) else (sides, sides)

    def span_attention(x: Any, *_: Any) -> Any:
        return torch.empty_like(x)

    def selective_scan_fn(u: Any, delta: Any, *rest: Any, **_: Any) -> Any:
        return u + delta + sum(operand.sum() for operand in rest if operand is not None)

    modules: dict[str, dict[str, Any]] = {
        "basicsr.utils.registry": {"ARCH_REGISTRY": Registry()},
        "basicsr.archs.arch_util": {"to_2tuple": to_2tuple, "trunc_normal_": same},
        "timm.models.layers": {"DropPath": DropPath, "to_2tuple": to_2tuple, "trunc_normal_": same},
        "mamba_ssm.ops.selective_scan_interface": {"selective_scan_fn": selective_scan_fn},
        "span_attention": {"span_attention": span_attention},
        "torchvision.transforms": {},
    }
    missing = [name for name in modules if not _is_there(name.partition(".")[0])]
    for name in missing:
        for part in accumulate(name.split("."), "{}.{}".format):
            sys.modules.setdefault(part, ModuleType(part)).__path__ = []
        vars(sys.modules[name]).update(modules[name])


def _is_there(package: str) -> bool:
    """Whether a package can be imported: torchvision may be of another torch."""
    with suppress(Exception):
        importlib.import_module(package)
        return True
    return False


class Registry:
    """BasicSR's, which keeps a class under its name."""

    def register(self) -> Callable[[type], type]:
        """A decorator."""
        return lambda kind: kind


def _by_fvcore(network: Any) -> int | str:
    """What fvcore counts, or why it does not."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    logging.disable()
    try:
        return int(FlopCountAnalysis(network, torch.rand(1, 3, 64, 64)).total())
    except Exception as error:  # of the network's code, or of fvcore's
        return _first_line(error)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.120}"


# -- what is published -----------------------------------------------------------------------------


def names(script: Path) -> dict[int, str]:
    """The networks that a challenge's `select_model` knows, by number: `{model_id:02}_SPAN`."""
    found = {}
    for branch in ast.walk(ast.parse(script.read_text())):
        if isinstance(branch, ast.If) and ast.unparse(branch.test).startswith("model_id == "):
            texts = (n for part in branch.body for n in ast.walk(part))
            parts = (t.values for t in texts if isinstance(t, ast.JoinedStr))
            name = next((p[1].value for p in parts if len(p) > 1 and _is_text(p[1])), "")
            found[int(ast.unparse(branch.test).rpartition(" ")[2])] = str(name).strip("_")
    return dict(sorted(found.items()))


def _is_text(part: ast.expr) -> bool:
    return isinstance(part, ast.Constant)


def published(root: Path) -> Iterator[tuple[str, int, str, dict[str, str]]]:
    """Year, number, team and the printed digits of every network; {} where none are published."""
    for row in json.loads(RESULTS.read_text())["rows"]:
        if row["team"] in NUMBERS:
            digits = {f: f"{row[key]:.{n}f}" for f, (key, _, _, n) in COUNTS.items()}
            yield "ntire2022", NUMBERS[row["team"]], row["team"], digits
    for year in ("ntire2024", "ntire2026"):
        results = json.loads((root / year / "results.json").read_text())
        rows = {int(name.partition("_")[0]): row for name, row in results.items()}
        for number, name in names(root / year / "test_demo.py").items():
            row = rows.get(number, {})
            digits = {f: f"{row[key]:.{n}f}" for f, (_, key, _, n) in COUNTS.items() if row}
            yield year, number, name, digits


def record(root: Path, kept: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Write a row for each network: what is published, and ours; or why it has none.

    What is `kept` is not run again. The file is whole after each row.
    """
    for year, number, name, digits in published(root):
        row = {"year": year, "number": number, "name": name, "published": digits}
        known = kept.get((year, number), {"reason": ""})
        if "reason" in known:
            known = alone(__file__, root, f"{year} {number}", LIMIT)
            known = known or {"reason": f"took longer than {LIMIT} s"}
            print(_line(row | known), flush=True)
        kept[year, number] = known | row
        rows = sorted(kept.values(), key=lambda row: (row["year"], row["number"]))
        RECORD.write_text(json.dumps(rows, indent=1) + "\n")


# -- the table -------------------------------------------------------------------------------------


def differing(row: Mapping[str, Any]) -> list[str]:
    """Of a row with published digits: the figures whose digits ours are not."""
    return [
        f"{name} {_digits(row, name)} for {digits}"
        for name, digits in row["published"].items()
        if _digits(row, name) != digits
    ]


def _digits(row: Mapping[str, Any], name: str) -> str:
    _, _, factor, decimals = COUNTS[name]
    return f"{row[name] / factor:.{decimals}f}"


def _line(row: Mapping[str, Any]) -> str:
    equal = "equal" if row["published"] else "nothing published"
    said = row.get("reason") or ", ".join(differing(row)) or equal
    fvcore = "" if row.get("rule") == row.get("fvcore") else f"; {row['rule']} {row['fvcore']}"
    return f"{row['year']} {row['number']:3} {row['name']:24} {said}{fvcore}"


def summary(rows: list[dict[str, Any]]) -> str:
    """A row for each year, then what is not equal and what did not run, one line each."""
    found = []
    for year in dict.fromkeys(row["year"] for row in rows):
        of_year = [row for row in rows if row["year"] == year]
        ran = [row for row in of_year if "reason" not in row]
        known = [row for row in of_year if row["published"]]
        equal = sum("reason" not in row and not differing(row) for row in known)
        same = sum(row["rule"] == row["fvcore"] for row in ran)
        tried = sum(isinstance(row["fvcore"], int) for row in ran)
        found.append(
            (YEARS[year].title, len(of_year), len(ran), f"{equal} of {len(known)}",
             f"{same} of {tried}")
        )  # fmt: skip
    head = ("year", "public code", "ran here", "published digits equal", "rule equals fvcore")
    lines = [_line(row) for row in rows if not _as_published(row)]
    return table(head, [tuple(map(str, row)) for row in found]) + "\n\n" + "\n".join(lines)


def _as_published(row: Mapping[str, Any]) -> bool:
    return "reason" not in row and not differing(row) and row["rule"] == row["fvcore"]


def main() -> None:
    """Make the record, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repositories", type=Path, help="the folder of the public repositories")
    parser.add_argument("--missing", action="store_true", help="only those that did not run before")
    parser.add_argument("--only", metavar="'YEAR NUMBER'", help="this network's counts, as JSON")
    arguments = parser.parse_args()
    root = arguments.repositories and arguments.repositories.resolve()
    if arguments.only:
        year, number = arguments.only.split()
        try:
            found = counted(root, year, int(number))
        except Exception as error:  # of the network's code: it is named, and the others go on
            found = {"reason": _first_line(error)}
        print(json.dumps(found))
    elif root:
        rows = json.loads(RECORD.read_text()) if arguments.missing else []
        record(root, {(row["year"], row["number"]): row for row in rows})
    else:
        print(summary(json.loads(RECORD.read_text())))


if __name__ == "__main__":
    main()
