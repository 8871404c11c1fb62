"""Which lines to change, what to write there, and what that saves."""

from __future__ import annotations

from srprof._version import __version__
from srprof.advising.candidate import Suggestion
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
from srprof.codec import encode
from srprof.paths import place
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.words import mib, shape_text

_SPLIT = (
    "split: y = F.conv2d(a, w[:, :n], bias), then y += F.conv2d(b, w[:, n:m]) for each further "
    "part, with w the 1x1 convolution's weight;",
    "the parts, variables that share their memory, and a name that is new are let go (del) after "
    "their last use. Results differ by rounding.",
)
_IN_PLACE = "in-place: for inference; autograd may need what is overwritten."


def document(advice: Advice) -> Document:
    """The peak before and after, and the edits between."""
    tensors = ", ".join(f"{shape_text(e.info.shape)} {e.info.dtype}" for e in advice.trace.inputs)
    sections = [Section(f"{advice.trace.name} at {tensors}", (_summary(advice),))]
    if advice.steps:
        sections.append(_steps(advice))
    texts = (*_where_it_is_then(advice), *advice.trace.notes, *advice.notes)
    return Document((*sections, *notes(texts)), lambda: _data(advice))


def _summary(advice: Advice) -> str:
    what = f"{advice.memory} peak {mib(advice.peak)} MiB"
    if advice.budget is not None and advice.peak <= advice.budget:
        return f"{what}: within the budget of {mib(advice.budget)} MiB as it is"
    if not advice.steps:
        summary = f"{what}: no change of a line was found that lowers it"
    else:
        edits = f"{len(advice.steps)} edits" if len(advice.steps) > 1 else "one edit"
        share = 1 - advice.peak_after / advice.peak
        summary = f"{what}; with {edits} {mib(advice.peak_after)} MiB, {share:.0%} less"
    if advice.budget is None:
        return summary
    if advice.within_budget:
        return f"{summary}: the fewest that were found for a budget of {mib(advice.budget)} MiB"
    return f"{summary}; the budget of {mib(advice.budget)} MiB is not reached"


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
    text = f"the peak is then at {node.op}{inside}" + (f", {where}" if where else "")
    if advice.held:
        text += (
            f"; {mib(advice.held)} MiB of it is dead, but no edit of one line lets go of it, as "
            "where it is the argument of a call that still runs"
        )
    return (text,)


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


def _data(advice: Advice) -> dict[str, object]:
    """The JSON object; sizes in bytes."""
    trace, node = advice.trace, advice.node
    then = None if node is None else {
        "op": node.op, "module": node.module, "file": node.file, "line": node.line,
        "held": advice.held,
    }  # fmt: skip
    return {
        "schema": 1,
        "srprof": __version__,
        "torch": trace.torch_version,
        "traced_on": trace.device,
        "notes": [*trace.notes, *advice.notes],
        "model": {"spec": trace.spec, "name": trace.name},
        "inputs": [
            {"name": e.name, "shape": list(e.info.shape), "dtype": e.info.dtype}
            for e in trace.inputs
        ],
        "memory": advice.memory,
        "granularity": advice.granularity,
        "peak": advice.peak,
        "peak_after": advice.peak_after,
        "budget": advice.budget,
        "within_budget": advice.within_budget,
        "lowest": advice.lowest,
        "peak_node_after": then,
        "advice": [_step_data(step) for step in advice.steps],
    }


def _step_data(step: Suggestion) -> dict[str, object]:
    candidate = step.candidate
    return {
        "kind": candidate.kind,
        "write": words(candidate.rewrite),
        "rewrite": {"form": candidate.rewrite.form, **encode(candidate.rewrite)},
        "file": candidate.file,
        "line": candidate.line,
        "other_line": candidate.other_line or None,
        "function": candidate.function,
        "places": candidate.places,
        "exact": candidate.exact,
        "saving": step.saving,
        "peak_after": step.peak_after,
    }
