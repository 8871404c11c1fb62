"""The baseline: what the checks gave when somebody last agreed to it, as a file to commit.

An entry holds the figures, what was run, and as much of the trace as explains a change later:
what was alive at the peak, the peak nodes, the largest nodes, and a digest of every step. No
times and no path of a machine is in it. No torch here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

from srprof import figures
from srprof.analysis.record import AnalysisRecord, LiveRecord, NodeRecord
from srprof.codec import Key, decode_record, encode, made_of
from srprof.compare.diff import Live, Place, Side, Sketch, difference
from srprof.errors import InputError
from srprof.files import parse_json, read_text
from srprof.gate.config import Settings
from srprof.output import replacing
from srprof.paths import below, package_root
from srprof.words import one_line

#: Version of the file. The first has older names of metrics, and is read.
SCHEMA = 2

#: How many of the nodes with the most bytes, and with the most MACs, an entry names.
LARGEST = 4

_UPDATE = "run `srprof check --update`"
_MARKER = re.compile(r"^(<{7} |={7}$|>{7} |\|{7} )")


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A storage alive at the eager peak; `at` is `file:line`, `made_by` the step of its node."""

    variable: str
    function: str
    at: str
    part: str
    bytes: int
    made_by: Annotated[str, Key(sparse=True)] = ""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node worth naming: `step` is its op and module, `bytes` what is referenced at its end."""

    index: int
    step: str
    at: str
    bytes: int
    macs: int | None


@dataclass(frozen=True)
class Excerpt:
    """What of an analysis explains a change.

    Attributes:
        peak_node: index by peak, where there is one. live: at the eager peak, oldest first.
        nodes: the peaks' and the largest. steps: the digests of all, one after the other.
    """

    traced_on: str
    peak_node: Mapping[str, int]
    live: tuple[LiveRow, ...]
    nodes: tuple[NodeRow, ...]
    steps: str

    @property
    def digests(self) -> list[str]:
        """The digest of every step, in order."""
        return [self.steps[i : i + 4] for i in range(0, len(self.steps), 4)]


@dataclass(frozen=True)
class Entry:
    """What was run, but for defaults; its figures in their smallest unit; what explains them."""

    settings: Mapping[str, object]
    metrics: Mapping[str, int]
    trace: Excerpt


@dataclass(frozen=True)
class Baseline:
    """Entries by the checks' names, and the versions that they were made with."""

    environment: Mapping[str, str]
    entries: Mapping[str, Entry] = field(default_factory=dict)


def described(settings: Settings) -> dict[str, object]:
    """Settings as an entry holds them: what is as by default is left out."""
    usual = asdict(Settings("", ()))
    given = {key: value for key, value in asdict(settings).items() if value != usual[key]}
    return {**given, "inputs": list(settings.inputs)}


def excerpt(record: AnalysisRecord, root: str) -> Excerpt:
    """What of an analysis explains a change; files as from `root`."""
    nodes = record.nodes
    peak_node = {name: i for name, i in record.memory.peak_node.items() if i is not None}
    live = sorted(record.memory.live_at_peak, key=lambda s: (s.birth, s.storage))
    worth = set(peak_node.values())
    for size in (lambda node: node.referenced, lambda node: node.macs or 0):
        worth |= {node.index for node in sorted(nodes, key=size, reverse=True)[:LARGEST]}
    return Excerpt(
        traced_on=record.traced_on,
        peak_node=peak_node,
        live=tuple(
            made_of(
                LiveRow,
                item,
                at=_at(item, root),
                made_by=step(nodes[item.birth]) if item.birth >= 0 else "",
            )
            for item in live
        ),
        nodes=tuple(
            made_of(NodeRow, n, step=step(n), at=_at(n, root), bytes=n.referenced)
            for n in (nodes[index] for index in sorted(worth))
        ),
        steps="".join(digest(step(node)) for node in nodes),
    )


def digest(text: str) -> str:
    """Four hexadecimal digits of a step: enough to align two runs by."""
    return f"{crc32(text.encode('utf-8', 'backslashreplace')) & 0xFFFF:04x}"


def step(node: NodeRecord) -> str:
    """`convolution body.0`: a node's op and module."""
    return f"{node.op} {node.module}".rstrip()


def _at(item: LiveRecord | NodeRecord, root: str) -> str:
    return f"{portable(item.file, root)}:{item.line}" if item.file else ""


def portable(path: str, root: str) -> str:
    """A file from the project's folder, else from its outermost package; never a machine's path."""
    real = Path(os.path.realpath(path))
    return below(root, path) or real.relative_to(package_root(real)).as_posix()


def sketch(entry: Entry, environment: Mapping[str, str]) -> Sketch:
    """What of an entry is compared; of its steps there are none."""
    trace, metrics = entry.trace, entry.metrics
    places = {n.index: Place(n.index, *_op(n.step), *_split(n.at)) for n in trace.nodes}
    return Sketch(
        side=Side(str(entry.settings["model"]), "", 0, environment.get("torch", "")),
        net=metrics["net"],
        peaks={name: metrics[name] for name in figures.peak_names() if name in metrics},
        peak_places={name: places[index] for name, index in trace.peak_node.items()},
        live=tuple(map(_live, trace.live)),
        steps=(),
        counts={f.name: metrics[f.name] for f in figures.counts() if f.name in metrics},
    )


def _live(row: LiveRow) -> Live:
    op, module = _op(row.made_by)
    made_by = f"{op} in {module or 'the model'}" if op else ""
    place = _split(row.at)
    return Live(row.variable, row.function, *place, row.part, row.bytes, (), made_by)


def _op(step: str) -> tuple[str, str]:
    op, _, module = step.partition(" ")
    return op, module


def _split(at: str) -> tuple[str, int]:
    file, _, line = at.rpartition(":")
    return file, int(line or 0)


def dumps(baseline: Baseline) -> str:
    """The file's text: sorted, one row of an excerpt a line, so that a change reads as one."""
    return _json({"schema": SCHEMA, **encode(baseline)}, depth=4) + "\n"


def _json(value: Any, depth: int, indent: str = "") -> str:
    """JSON with sorted keys; below a depth, and in the rows of a list, on one line."""
    inner = indent + " "
    if depth and isinstance(value, Mapping) and value:
        items = ((json.dumps(key), _json(value[key], depth - 1, inner)) for key in sorted(value))
        rows = (f"{inner}{key}: {item}" for key, item in items)
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "[\n" + ",\n".join(inner + _json(row, 0) for row in value) + f"\n{indent}]"
    return json.dumps(value, sort_keys=True)


def write(baseline: Baseline, path: Path) -> None:
    """Put the file in its place, whole or not at all; an InputError if the system refuses."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(dumps(baseline), encoding="utf-8", newline="\n")
    except InputError as error:
        raise InputError(f"the baseline {path.name}: {error}") from error


def load(path: Path) -> Baseline:
    """Read a baseline; an InputError if it is missing, in conflict, damaged or too new."""
    if not path.exists():
        mend = "to make it, and commit it; or set baseline = false to hold limits alone"
        raise InputError(f"there is no baseline {path.name}: {_UPDATE} {mend}")
    text = read_text(path, f"the baseline {path.name}", _UPDATE)
    for number, line in enumerate(text.splitlines(), 1):
        if _MARKER.match(line):
            what = f"the baseline {path.name} has merge-conflict markers (line {number})"
            raise InputError(f"{what}: settle the code first, then {_UPDATE} to make it anew")
    return loads(text, path.name)


def loads(text: str, name: str) -> Baseline:
    """The baseline that a text holds; an InputError if it is damaged, or of another schema."""
    source, again = f"the baseline {name}", f"take it from git again, or {_UPDATE}"
    data = parse_json(text, source, again)
    if isinstance(data, dict) and data.get("schema") == 1:
        data = {**data, "schema": SCHEMA}
    baseline = decode_record(Baseline, data, SCHEMA, source, _UPDATE)
    entries = {key: _renamed(entry) for key, entry in baseline.entries.items()}
    for key, entry in entries.items():
        try:
            _check_comparable(entry, baseline.environment)
        except (ValueError, KeyError, IndexError) as error:
            what = f"{source} is damaged: entries.{one_line(key)}: {one_line(error)}"
            raise InputError(f"{what}; {again}") from error
    return replace(baseline, entries=entries)


def _renamed(entry: Entry) -> Entry:
    """The entry with metrics and settings called as today; what is no metric any more stays."""
    settings = {"profile" if key == "device" else key: v for key, v in entry.settings.items()}
    known = ((figures.known(name), name, value) for name, value in entry.metrics.items())
    metrics = {f.name if f else name: value for f, name, value in known}
    return replace(entry, settings=settings, metrics=metrics)


def _check_comparable(entry: Entry, environment: Mapping[str, str]) -> None:
    """Raise whatever would come up where the entry is compared with another."""
    missing = [name for name in ("net", "eager") if name not in entry.metrics]
    if missing:
        raise ValueError(f"metrics.{missing[0]} is missing")
    read = sketch(entry, environment)
    difference(read, read)
