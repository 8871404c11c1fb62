"""The memory of a training step: by phase, by part, and what is saved by line."""

from __future__ import annotations

from srprof.memory.training import KINDS, PHASES, Phase
from srprof.paths import place
from srprof.records import Node
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.training.record import TrainingAnalysis
from srprof.words import mib, shape_text

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
    """What a step takes, and why.

    Args:
        top: rows of saved lines; None is 10, 0 is all.
    """
    parts = (_headline(analysis), _parts(analysis), _saved(analysis, top))
    sections = (*parts, *notes(analysis.trace.notes))
    nodes = [{**row, "shape": shape_text(row["shape"])} for row in analysis.to_dict()["nodes"]]
    return Document(sections, analysis.to_dict, main=Table.of(nodes))


def _headline(analysis: TrainingAnalysis) -> Section:
    trace = analysis.trace
    inputs = ", ".join(
        f"{shape_text(e.info.shape)} {e.info.dtype}" for e in trace.inputs if "target" not in e.name
    )
    rows = []
    for phase in PHASES:
        peak = analysis.memory.phases[phase]
        node = None if peak.node is None else _node(trace.nodes[peak.node])
        mark = "the peak" if peak.node == analysis.memory.peak.node else ""
        rows.append((_PHASES[phase], peak.nbytes, node, mark))
    columns = (Column("phase"), Column("MiB", "mib"), Column("most at node"), Column(""))
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
    return Section(title, lines, Table(columns, tuple(rows)), after)


def _node(node: Node) -> str:
    where = place(node.file, node.line)
    inside = f" of {node.module}" if node.module else ""
    return f"{node.index} {node.op}{inside}{f' ({where})' if where else ''}"


def _parts(analysis: TrainingAnalysis) -> Section:
    total = analysis.peak
    rows = [
        (kind, analysis.at_peak[kind], analysis.at_peak[kind] / total, _MEANING[kind])
        for kind in KINDS
    ]
    columns = (Column("part"), Column("MiB", "mib"), Column("share", "share"), Column("what"))
    return Section("What the peak is made of", (), Table(columns, tuple(rows)))


def _saved(analysis: TrainingAnalysis, top: int | None) -> Section:
    count = _ROWS if top is None else top or len(analysis.saved)
    rows = [
        (place(s.file, s.line) or "the loss", s.function, ", ".join(s.ops), s.storages, s.nbytes)
        for s in analysis.saved[:count]
    ]
    columns = (
        Column("made at"),
        Column("function"),
        Column("by"),
        Column("tensors", "count"),
        Column("MiB", "mib"),
    )
    rest = analysis.saved[count:]
    after = (
        (f"{len(rest)} more lines: {mib(sum(s.nbytes for s in rest))} MiB; --top 0 shows all",)
        if rest
        else ()
    )
    title = "Saved for backward at the peak, by source line"
    return Section(title, (), Table(columns, tuple(rows)), after)
