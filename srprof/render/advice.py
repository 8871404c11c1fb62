"""Advice as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from srprof.advising.record import Advice
from srprof.advising.rewrite import (
    BindCall,
    Construct,
    Delete,
    ExchangeStatements,
    MoveStatement,
    Overwrite,
    Rewrite,
)
from srprof.paths import place
from srprof.render.markdown import markdown_sections
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.words import mib, shape_text

_SPLIT = (
    "split: y = F.conv2d(a, w[:, :n], bias), then y += F.conv2d(b, w[:, n:m]) for each further "
    "part, with w the 1x1 convolution's weight;",
    "the parts, variables that share their memory, and a name that is new are let go (del) after "
    "their last use. Results differ by rounding.",
)
_IN_PLACE = "in-place: for inference; autograd may need what is overwritten."


def sections(advice: Advice) -> list[Section]:
    """What a person reads of it."""
    tensors = ", ".join(f"{shape_text(e.info.shape)} {e.info.dtype}" for e in advice.trace.inputs)
    found = [Section(f"{advice.trace.name} at {tensors}", (_summary(advice),))]
    if advice.steps:
        found.append(_steps(advice))
    notes = (*_where_it_is_then(advice), *advice.trace.notes, *advice.notes)
    if notes:
        found.append(Section("Notes", notes))
    return found


def _summary(advice: Advice) -> str:
    what = f"{advice.memory} peak {mib(advice.peak)} MiB"
    if advice.budget is not None and advice.peak <= advice.budget:
        return f"{what}: within the budget of {mib(advice.budget)} MiB as it is"
    if not advice.steps:
        said = f"{what}: no change of a line was found that lowers it"
    else:
        edits = f"{len(advice.steps)} edits" if len(advice.steps) > 1 else "one edit"
        share = 1 - advice.peak_after / advice.peak
        said = f"{what}; with {edits} {mib(advice.peak_after)} MiB, {share:.0%} less"
    if advice.budget is None:
        return said
    if advice.within_budget:
        return f"{said}: the fewest that were found for a budget of {mib(advice.budget)} MiB"
    return f"{said}; the budget of {mib(advice.budget)} MiB is not reached"


def _steps(advice: Advice) -> Section:
    columns = (
        Column("edit"),
        Column("line"),
        Column("what to write"),
        Column("in"),
        Column("saves MiB", "mib"),
        Column("peak then", "mib"),
    )
    rows = tuple(
        (
            step.candidate.kind,
            place(step.candidate.file, step.candidate.line),
            words(step.candidate.rewrite),
            step.candidate.function,
            step.saving,
            step.peak_after,
        )
        for step in advice.steps
    )
    kinds = {step.candidate.kind for step in advice.steps}
    after = [
        "Each line was tried on the recorded run together with all above it; a saving of 0.00 is "
        "one that only shows with the next line.",
        *([_IN_PLACE] if "in-place" in kinds else []),
        *(_SPLIT if "split" in kinds else ()),
    ]
    return Section("Edits, the most saving first", (), Table(columns, rows), tuple(after))


def _where_it_is_then(advice: Advice) -> tuple[str, ...]:
    """Where the peak is with all edits, and what of it is dead."""
    node = advice.node
    if node is None:
        return ()
    inside = f" in {node.module}" if node.module else ""
    where = place(node.file, node.line)
    said = f"the peak is then at {node.op}{inside}" + (f", {where}" if where else "")
    if advice.held:
        said += (
            f"; {mib(advice.held)} MiB of it is dead, but no edit of one line lets go of it, as "
            "where it is the argument of a call that still runs"
        )
    return (said,)


def words(rewrite: Rewrite) -> str:
    """What to write, in one line."""
    if isinstance(rewrite, Delete):
        block = f"the block of lines {rewrite.after[0]} to {rewrite.after[2]}"
        return f"del {', '.join(rewrite.names)} after {block if rewrite.block else 'this line'}"
    if isinstance(rewrite, BindCall):
        return f"{rewrite.name} = {rewrite.text} on a line of its own before this one"
    if isinstance(rewrite, Overwrite):
        return f"{rewrite.new} for {rewrite.old}"
    if isinstance(rewrite, Construct):
        module = f"{rewrite.path} of {rewrite.owner}"
        return f"construct {module}, which runs in this line, with inplace=True"
    if isinstance(rewrite, ExchangeStatements):
        return f"exchange this line and line {rewrite.second[0]}"
    if isinstance(rewrite, MoveStatement):
        if rewrite.below:
            return f"move this line below line {rewrite.beside[2]}"
        return f"move this line above line {rewrite.beside[0]}"
    when = "each part as soon as it is made" if rewrite.early else "all parts here"
    return f"split this cat and the 1x1 convolution in line {rewrite.line}, {when}"


def data(advice: Advice) -> dict[str, object]:
    """The JSON object: the advice, each edit with its words."""
    edits = [
        {"kind": step.candidate.kind, "write": words(step.candidate.rewrite)} | step.to_dict()
        for step in advice.steps
    ]
    return {**advice.to_dict(), "advice": edits}


def _json(advice: Advice) -> str:
    return json.dumps(data(advice), indent=1) + "\n"


FORMATS: Mapping[str, Callable[[Advice], str]] = {
    "text": lambda advice: plain_sections(sections(advice)),
    "markdown": lambda advice: markdown_sections(sections(advice)),
    "json": _json,
}
