"""Why the figures of a check changed, or what makes up a peak: sentences, and places to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from srprof import figures
from srprof.analysis.record import AnalysisRecord, NodeRecord
from srprof.compare.diff import Diff, difference, explain_peak, explain_tensor, sketch
from srprof.gate import baseline as baselines
from srprof.gate.baseline import Entry, Excerpt
from srprof.gate.changes import Changes, NoChanges, said
from srprof.gate.record import Result
from srprof.paths import place
from srprof.words import mib_size, signed_size

#: Sentences of each kind in an explanation.
_MOST = 6


def explained(
    result: Result,
    record: AnalysisRecord,
    before: tuple[Entry, Mapping[str, str]] | None,
    edits: Changes,
) -> Result:
    """The result with why its figures changed and where to look."""
    changed = [row.metric for row in result.rows if row.fails or row.shrank]
    if not changed:
        return result
    lines: list[str] = []
    places: list[tuple[str, int]] = []
    moved = [row for row in result.rows if row.grew or row.shrank]
    if before is not None and moved:
        changes = difference(baselines.sketch(*before), sketch(record))
        peaks = [row.metric for row in moved if row.metric in figures.peak_names()]
        if peaks:
            lines += explain_peaks(changes, peaks, edits)
            live = [t.live for t in changes.tensors if t.difference > 0]
            places += [(tensor.file, tensor.line) for tensor in live]
        if any(row.metric not in (*figures.peak_names(), "net") for row in moved):
            steps = explain_steps(before[0].trace, record)
            steps.sort(key=lambda step: step[1:] not in edits)
            lines += [text for text, _, _ in steps]
            places += [(file, line) for _, file, line in steps]
        after = (changes.peak(name).after for name in peaks)
        places += [(node.file, node.line) for node in after if node is not None]
    over = [row.metric for row in result.rows if row.over and row.metric in figures.peak_names()]
    if over and not lines:
        lines += explain_now(record, over[0])
        places += [(held.file, held.line) for held in record.memory.held_at_peak]
        node = _peak_node(record, over[0])
        places += [(node.file, node.line)] if node else []
    places = [(f, n) for f, n in places if f and n]
    files = [file for file, _ in places] + [node.file for node in record.nodes if node.file]
    edited = edits.first(places, files)
    lines = [*([said(edited)] if edited else []), *lines]
    places = [*edited, *places]
    file, line = next(iter(places), ("", 0))
    return replace(result, explanation=tuple(lines), file=file, line=line)


def explain_peaks(
    changes: Diff, metrics: Sequence[str], changed: Changes | None = None
) -> list[str]:
    """How peaks changed, and what came to the eager peak and went from it.

    Tensors of lines that `changed` stand before those of lines that only repeat it.
    """
    others = [name for name in metrics if name != "eager" and changes.peak(name).moved]
    lines = [explain_peak(changes.peak(name)) for name in ("eager", *others)]
    if changes.net.difference:
        lines.append(f"parameters and buffers: {signed_size(changes.net.difference)}")
    known = changed or NoChanges()
    tensors = sorted(changes.tensors, key=lambda c: (c.live.file, c.live.line) not in known)
    return [*lines, *_first([explain_tensor(change) for change in tensors], "tensors")]


def explain_steps(excerpt: Excerpt, record: AnalysisRecord) -> list[tuple[str, str, int]]:
    """Steps that came and went, and large ones that cost otherwise: a sentence, its file, line."""
    nodes = record.nodes
    after = [baselines.digest(baselines.step(node)) for node in nodes]
    matcher = SequenceMatcher(None, excerpt.digests, after, autojunk=False)
    came: list[NodeRecord] = []
    went = 0
    same: dict[int, NodeRecord] = {}
    for tag, start, stop, start_after, stop_after in matcher.get_opcodes():
        if tag == "equal":
            same.update(zip(range(start, stop), nodes[start_after:stop_after], strict=True))
        else:
            came += nodes[start_after:stop_after]
            went += stop - start
    came.sort(key=lambda node: -(node.macs or 0))
    lines = [(f"new: {_node(node)}", node.file, node.line) for node in came[:_MOST]]
    if len(came) > _MOST:
        lines.append((f"and {len(came) - _MOST} more new steps", "", 0))
    if went:
        lines.append((f"{went} steps of the baseline are no longer there", "", 0))
    for row in excerpt.nodes:
        node = same.get(row.index)
        if node is not None and node.macs != row.macs:
            lines.append((f"{_node(node)}, was {row.macs or 0:,}", node.file, node.line))
    return lines


def _node(node: NodeRecord) -> str:
    at, macs = place(node.file, node.line), f"{node.macs:,} MACs" if node.macs else ""
    return ", ".join(filter(None, (f"node {node.index} {node.step}", at, macs)))


def explain_now(record: AnalysisRecord, peak: str) -> list[str]:
    """Where a peak is, what is held at the eager one, and what letting that go would save."""
    node = _peak_node(record, peak)
    lines = [f"the peak is at {_node(node)}"] if node else []
    sentences = [
        f"`{held.variable}` in {held.function}, line {held.line}, is held at the peak "
        f"though nothing needs it any more, {mib_size(held.bytes)}"
        for held in record.memory.held_at_peak
    ]
    lines += _first(sentences, "variables")
    best = max(record.memory.releases, key=lambda release: release.saving, default=None)
    if best is not None and best.saving > 0:
        saved = mib_size(best.saving)
        lines.append(f"releasing `{best.variable}` after its last use would save {saved}")
    return lines


def _peak_node(record: AnalysisRecord, peak: str) -> NodeRecord | None:
    return record.node(record.memory.peak_node.get(peak))


def _first(lines: Sequence[str], noun: str) -> list[str]:
    rest = len(lines) - _MOST
    return [*lines[:_MOST], *([f"and {rest} more {noun}"] if rest > 0 else [])]
