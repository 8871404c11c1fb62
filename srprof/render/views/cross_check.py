"""The counts of fvcore beside ours."""

from __future__ import annotations

from dataclasses import replace

from srprof import figures
from srprof.codec import encode
from srprof.compare.cross_check import CrossCheck, Figure
from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.words import shape_text

_ELEMENTS = "fvcore counts elements, of which none is a multiplication and a sum"
#: Why a figure differs by a kind of operator, where it does.
_REASONS = {
    ("flops", "convolution"): "the challenge of 2022 counts transposed convolutions at their "
    "output's size, and only calls of modules",
    ("flops", "matrix product"): "the challenge of 2022 counts a Linear once a call, whatever the "
    "size of its input, and no other product",
    ("macs", "attention"): "fvcore leaves out fused attention",
    ("macs", "normalization"): _ELEMENTS,
    ("macs", "interpolation"): _ELEMENTS,
    ("macs", "pooling"): _ELEMENTS,
    ("macs", "sampling"): _ELEMENTS,
    ("activations", "matrix product"): "the challenge counts outputs of convolution modules "
    "alone, and fvcore those of all convolutions and matrix products",
}


def document(record: CrossCheck) -> Document:
    """The figures side by side, with the operators that make them differ."""
    title = f"Cross-check with fvcore {record.fvcore}"
    section = Section(title, (f"Not comparable: {record.why}.",))
    if record.how != "none":
        table = Table.build(
            record.figures.items(),
            (Column("figure"), lambda item: figures.find(item[0]).title),
            (Column("ours", "number"), lambda item: _cell(item[0], item[1].ours)),
            (Column("fvcore", "number"), lambda item: _cell(item[0], item[1].fvcore)),
            (Column("difference", "number"), lambda item: _difference(*item)),
            (Column("by operators"), lambda item: _operators(*item)),
        )
        section = Section(title, (_how(record),), table, _after(record))
    return Document((section,), data=lambda: encode(record))


def added(analysis: Document, record: CrossCheck) -> Document:
    """An analysis with its cross-check, which is the one table of formats that hold just one."""
    check = document(record)
    return replace(
        analysis,
        sections=(*analysis.sections, *check.sections),
        data=lambda: {**analysis.data(), "cross_check": check.data()},
        main=analysis.main if record.how == "none" else check.table,
    )


def _cell(name: str, count: int) -> Cell:
    return Cell(count, _amount(name, count))


def _difference(name: str, figure: Figure) -> Cell:
    text = _amount(name, figure.difference, "+") if figure.difference else "none"
    return Cell(figure.difference, text)


def _operators(name: str, figure: Figure) -> str:
    return ", ".join(
        f"{kind} {_amount(name, pair.difference, '+')}"
        for kind, pair in figure.by_operator.items()
        if pair.difference
    )


def _amount(name: str, count: int, sign: str = "") -> str:
    """A count in the figure's unit, all its digits where the unit would show nothing."""
    figure = figures.find(name)
    if count and abs(count) < figure.factor / 2e4:
        return f"{count:{sign},}"
    return f"{count / figure.factor:{sign}.4f} {figure.unit}"


def _how(record: CrossCheck) -> str:
    """What fvcore needed."""
    sizes = [shape_text(size) for size in record.ran_at]
    run = "fvcore ran the real forward on the CPU"
    if record.how == "scaled":
        text = (
            f"{run} at {', '.join(sizes[:-1])} and {sizes[-1]}; each operator's count grows with "
            "the pixels at a fixed rate and is scaled to this input."
        )
    elif record.how == "full":
        text = f"{run} at the input's own size, because {record.why}."
    else:
        text = f"{run} at {sizes[0]}, and both counts are of that size, because {record.why}."
    return text + (f" Counts are of all {record.batch} images." if record.batch > 1 else "")


def _after(record: CrossCheck) -> tuple[str, ...]:
    lines = [
        f"{kind}: {_REASONS[name, kind]}."
        for name, figure in record.figures.items()
        for kind, pair in figure.by_operator.items()
        if pair.difference and (name, kind) in _REASONS
    ]
    if record.unsupported:
        listed = ", ".join(f"{op} ({calls}x)" for op, calls in record.unsupported.items())
        lines.append(f"fvcore's FLOPs leave out: {listed}")
    lines.append("Our FLOPs are the challenge's of 2022; since 2024 it has counted with fvcore.")
    return tuple(lines)
