"""The baseline: what the checks gave when somebody last agreed to it, as a file to commit.

An entry holds the figures, what was run, and as much of the trace as explains a change later:
what was alive at the peak, the peak nodes, the largest nodes, and a digest of every step. No
times and no path of a machine is in it. No torch here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from srprof.compare.diff import COUNTS, diff
from srprof.errors import InputError
from srprof.gate.config import Settings
from srprof.output import replacing
from srprof.quantities import METRICS

#: Version of the file.
SCHEMA = 1

#: How many of the nodes with the most bytes, and with the most MACs, an entry names.
LARGEST = 4

_UPDATE = "run `srprof check --update`"
_MARKER = re.compile(r"^(<{7} |={7}$|>{7} |\|{7} )")


@dataclass(frozen=True)
class Entry:
    """One check's figures and the excerpt of its trace.

    Attributes:
        settings: what was run, as in the file: without what is as by default.
        metrics: by name, in the smallest unit of each. excerpt: see `excerpt`.
    """

    settings: Mapping[str, Any]
    metrics: Mapping[str, int]
    excerpt: Mapping[str, Any]


@dataclass(frozen=True)
class Baseline:
    """Entries by the checks' names, and the versions that they were made with."""

    environment: Mapping[str, str]
    entries: Mapping[str, Entry] = field(default_factory=dict)


def described(settings: Settings) -> dict[str, Any]:
    """Settings as an entry holds them: what is as by default is left out."""
    usual = asdict(Settings("", ()))
    given = {key: value for key, value in asdict(settings).items() if value != usual[key]}
    return {**given, "inputs": list(settings.inputs)}


# -- an excerpt of an analysis ----------------------------------------------------------------


def excerpt(data: Mapping[str, Any], root: str) -> dict[str, Any]:
    """What of an analysis (`Analysis.to_dict()`) explains a change; files as from `root`."""
    memory, nodes = data["memory"], data["nodes"]
    peak_node = {name: i for name, i in memory["peak_node"].items() if i is not None}
    live = sorted(memory["live_at_peak"], key=lambda s: (s["birth"], s["storage"]))
    kept = set(peak_node.values())
    for size in (_referenced, lambda node: node["macs"] or 0):
        kept |= {n["index"] for n in sorted(nodes, key=size, reverse=True)[:LARGEST]}
    return {
        "traced_on": data["traced_on"],
        "peak_node": peak_node,
        "live": [
            {
                "variable": item["variable"],
                "function": item["function"],
                "at": _at(item, root),
                "part": item["part"],
                "bytes": item["bytes"],
                **({"made_by": _step(nodes[item["birth"]])} if item["birth"] >= 0 else {}),
            }
            for item in live
        ],
        "nodes": [
            {
                "index": index,
                "step": _step(nodes[index]),
                "at": _at(nodes[index], root),
                "bytes": _referenced(nodes[index]),
                "macs": nodes[index]["macs"],
            }
            for index in sorted(kept)
        ],
        "steps": "".join(digest(_step(node)) for node in nodes),
    }


def digest(step: str) -> str:
    """Four hexadecimal digits of a step: enough to align two runs by."""
    return f"{crc32(step.encode()) & 0xFFFF:04x}"


def steps(found: Mapping[str, Any]) -> list[str]:
    """The digests of an excerpt's steps, in order."""
    text = found["steps"]
    return [text[i : i + 4] for i in range(0, len(text), 4)]


def _step(node: Mapping[str, Any]) -> str:
    return f"{node['op']} {node['module']}".rstrip()


def _referenced(node: Mapping[str, Any]) -> int:
    return int(sum(node[part] for part in ("input", "output", "kept", "held")))


def _at(item: Mapping[str, Any], root: str) -> str:
    return f"{portable(item['file'], root)}:{item['line']}" if item["file"] else ""


def portable(path: str, root: str) -> str:
    """A file from the project's folder, else from its outermost package; never a machine's path."""
    real, root = os.path.realpath(path), os.path.realpath(root)
    if real.startswith(root + os.sep):
        return Path(real[len(root) + 1 :]).as_posix()
    top = Path(real).parent
    while (top / "__init__.py").exists() and top.parent != top:
        top = top.parent
    return Path(real).relative_to(top).as_posix()


def analysis_of(entry: Entry, environment: Mapping[str, str]) -> dict[str, Any]:
    """The part of `Analysis.to_dict()` that `compare.diff.diff` reads, from an entry.

    Its nodes are those of the excerpt only, so of a diff only peaks, tensors and counts count.
    """
    found, metrics = entry.excerpt, entry.metrics
    net = metrics["net"]
    nodes = [
        {**_place(row["step"], row["at"]), "index": row["index"], "output": row["bytes"]}
        for row in found["nodes"]
    ]
    positions = {row["index"]: i for i, row in enumerate(found["nodes"])}
    live = []
    for storage, item in enumerate(found["live"]):
        file, line = _split(item["at"])
        birth = -1
        if "made_by" in item:
            birth = len(nodes)
            nodes.append({**_place(item["made_by"], ""), "index": birth, "output": 0})
        part = {key: item[key] for key in ("variable", "function", "part", "bytes")}
        live.append(
            {**part, "file": file, "line": line, "storage": storage, "birth": birth, "shape": []}
        )
    return {
        "torch": environment.get("torch", ""),
        "model": {"spec": entry.settings["model"]},
        "inputs": [],
        "complexity": {name: metrics[name] for name in COUNTS},
        "memory": {
            "net": net,
            "granularity": 0,
            "peak": {n.partition(".")[2]: v for n, v in metrics.items() if n.startswith("peak.")},
            "peak_node": {name: positions[i] for name, i in found["peak_node"].items()},
            "live_at_peak": live,
        },
        "nodes": nodes,
    }


def _place(step: str, at: str) -> dict[str, Any]:
    op, _, module = step.partition(" ")
    file, line = _split(at)
    parts = dict.fromkeys(("input", "kept", "held"), 0)
    return {"op": op, "module": module, "file": file, "line": line, **parts}


def _split(at: str) -> tuple[str, int]:
    file, _, line = at.rpartition(":")
    return file, int(line or 0)


# -- the file -------------------------------------------------------------------------------------


def dumps(baseline: Baseline) -> str:
    """The file's text: sorted, one row of an excerpt a line, so that a change reads as one."""
    data = {
        "schema": SCHEMA,
        "environment": dict(baseline.environment),
        "entries": {
            name: {
                "settings": dict(entry.settings),
                "metrics": dict(entry.metrics),
                "trace": dict(entry.excerpt),
            }
            for name, entry in baseline.entries.items()
        },
    }
    return _json(data, depth=4) + "\n"


def _json(value: Any, depth: int, indent: str = "") -> str:
    """JSON with sorted keys; below a depth, and in the rows of a list, on one line."""
    inner = indent + " "
    if depth and isinstance(value, Mapping) and value:
        rows = [
            f"{inner}{json.dumps(key)}: {_json(value[key], depth - 1, inner)}"
            for key in sorted(value)
        ]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "[\n" + ",\n".join(inner + _json(row, 0) for row in value) + f"\n{indent}]"
    return json.dumps(value, sort_keys=True)


def write(baseline: Baseline, path: Path) -> None:
    """Put the file in its place, whole or not at all.

    Raises:
        InputError: the system refuses.
    """
    text = dumps(baseline)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    except InputError as error:
        raise InputError(f"the baseline {path.name}: {error}") from error


def load(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        InputError: it is missing, has merge-conflict markers, is damaged or of another schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"there is no baseline {path.name}: {_UPDATE} to make it, and commit it; or set "
            "baseline = false to hold limits alone"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the baseline {path.name} cannot be read ({error}); {_UPDATE}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if _MARKER.match(line):
            raise InputError(
                f"the baseline {path.name} has merge-conflict markers (line {number}): settle the "
                f"code first, then {_UPDATE} to make it anew"
            )
    return loads(text, path.name)


def loads(text: str, name: str) -> Baseline:
    """The baseline that a text holds.

    Raises:
        InputError: it is damaged, or of another schema.
    """
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise InputError(
                f"the baseline {name} has schema {data['schema']!r:.20}, this srprof reads "
                f"{SCHEMA}; {_UPDATE}"
            )
        environment = {str(k): str(v) for k, v in data["environment"].items()}
        entries = {key: _entry(row, environment) for key, row in data["entries"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(
            f"the baseline {name} is damaged ({type(error).__name__}: {str(error)[:80]}); take it "
            f"from git again, or {_UPDATE}"
        ) from error
    return Baseline(environment, entries)


def _entry(row: Mapping[str, Any], environment: Mapping[str, str]) -> Entry:
    """An entry that can be compared with; anything else raises."""
    entry = Entry(row["settings"], _whole(row["metrics"].items()), row["trace"])
    data = analysis_of(entry, environment)
    for text in (entry.excerpt["traced_on"], *steps(entry.excerpt)):
        text.encode()
    for node in entry.excerpt["nodes"]:
        _whole({name: node[name] or 0 for name in ("macs", "index")}.items(), needed=())
    diff(data, data)
    return entry


def _whole(
    items: Iterable[tuple[str, Any]], needed: Iterable[str] = tuple(METRICS)
) -> dict[str, int]:
    """The items, if all are whole numbers and none that is needed is missing."""
    found = dict(items)
    wrong = [n for n, v in found.items() if not isinstance(v, int) or isinstance(v, bool)]
    missing = [n for n in needed if n not in found and n != "latency"]
    if wrong or missing:
        raise ValueError(f"metric {(wrong or missing)[0]}")
    return found
