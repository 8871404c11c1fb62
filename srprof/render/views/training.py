"""The memory of a training step: by phase, by part, and what is saved by line."""

from __future__ import annotations

from srprof.memory.training import KINDS, PHASES, Phase
from srprof.paths import place
from srprof.records import Trace
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.training.record import TrainingAnalysis
from srprof.words import mib, shape_text, tensors_text

#: Rows of the table of saved activations, unless more are asked for.
_ROWS = 10

_PHASES: dict[Phase, str] = {
    "forward": "forward and loss",
    "backward": "backward",
    "update": "Adam's update",
}
_MEANING = {
    "net": "parameters and buffers",
    "state": "Adam's two moments, from the second step on",
    "gradients": "of the parameters",
    "images": "LR input and HR target",
    "saved": "activations that backward needs",
    "temporary": "the rest: feature maps and their gradients on the way",
}


def document(analysis: TrainingAnalysis, top: int | None = None) -> Document:
    """What a step takes, and why; `top` rows of saved lines, None is 10, 0 is all."""
    parts = (_headline(analysis), _parts(analysis), _saved(analysis, top))
    sections = (*parts, *notes(analysis.trace.notes))
    nodes = [{**row, "shape": shape_text(row["shape"])} for row in analysis.to_dict()["nodes"]]
    return Document(sections, analysis.to_dict, main=Table.of(nodes))


def _headline(analysis: TrainingAnalysis) -> Section:
    trace = analysis.trace
    inputs = tensors_text(e.info for e in trace.inputs if "target" not in e.name)
    peaks, top = analysis.memory.phases, analysis.memory.peak
    table = Table.build(
        PHASES,
        (Column("phase"), lambda phase: _PHASES[phase]),
        (Column("MiB", "mib"), lambda phase: peaks[phase].nbytes),
        (Column("most at node"), lambda phase: _node(trace, peaks[phase].node)),
        (Column(""), lambda phase: "the peak" if peaks[phase].node == top.node else ""),
    )
    lines = (
        f"traced on {trace.device}, torch {trace.torch_version}; {trace.parameters:,} parameters",
    )
    after = (
        "The second step, as every later one: L1 loss, Adam with foreach=False, gradients set to "
        "None.",
        "At the ends of ATen calls; what cuDNN or oneDNN takes inside one is not known and comes "
        "on top.",
    )
    title = f"One training step of {trace.spec} at {inputs}: {mib(analysis.peak)} MiB"
    return Section(title, lines, table, after)


def _node(trace: Trace, index: int | None) -> str | None:
    if index is None:
        return None
    node = trace.nodes[index]
    where = place(node.file, node.line)
    inside = f" of {node.module}" if node.module else ""
    return f"{node.index} {node.op}{inside}{f' ({where})' if where else ''}"


def _parts(analysis: TrainingAnalysis) -> Section:
    table = Table.build(
        KINDS,
        (Column("part"), lambda kind: kind),
        (Column("MiB", "mib"), lambda kind: analysis.at_peak[kind]),
        (Column("share", "share"), lambda kind: analysis.at_peak[kind] / analysis.peak),
        (Column("what"), lambda kind: _MEANING[kind]),
    )
    return Section("What the peak is made of", (), table)


def _saved(analysis: TrainingAnalysis, top: int | None) -> Section:
    count = _ROWS if top is None else top or len(analysis.saved)
    table = Table.build(
        analysis.saved[:count],
        (Column("made at"), lambda saved: place(saved.file, saved.line) or "the loss"),
        (Column("function", spare=1), lambda saved: saved.function),
        (Column("by"), lambda saved: ", ".join(saved.ops)),
        (Column("tensors", "count"), lambda saved: saved.storages),
        (Column("MiB", "mib"), lambda saved: saved.nbytes),
    )
    rest = analysis.saved[count:]
    more = f"{len(rest)} more lines: {mib(sum(s.nbytes for s in rest))} MiB; --top 0 shows all"
    title = "Saved for backward at the peak, by source line"
    return Section(title, (), table, (more,) if rest else ())
