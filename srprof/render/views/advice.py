"""Which lines to change, what to write there, and what that saves."""

from __future__ import annotations

from functools import partial

from srprof._version import __version__
from srprof.advising.candidate import Suggestion
from srprof.advising.record import Advice
from srprof.advising.wording import words
from srprof.analysis.compute import input_records
from srprof.codec import encode, pick
from srprof.memory.host import host_work
from srprof.paths import place
from srprof.render.charts import AFTER, Series, bars, digits
from srprof.render.document import Chart, Column, Document, Section, Table, notes
from srprof.render.views import widths
from srprof.words import MIB, mib

_SPLIT = (
    "split: y = F.conv2d(a, w[:, :n], bias), then y += F.conv2d(b, w[:, n:m]) for each further "
    "part, with w the 1x1 convolution's weight;",
    "the parts, variables that share their memory, and a name that is new are let go (del) after "
    "their last use. Results differ by rounding.",
)
_IN_PLACE = "in-place: for inference; autograd may need what is overwritten."


def document(advice: Advice) -> Document:
    """The peak before and after, and the edits between."""
    title = f"{advice.trace.name} at {advice.trace.inputs_text}"
    sections = [Section(title, (_summary(advice),))]
    if advice.steps:
        sections.append(_steps(advice))
    work = host_work(advice.trace)
    if work:
        lines = tuple(f"{item.text}: {item.mend}" for item in work)
        sections.append(Section("Work in main memory", lines))
    sections += widths.sections(advice)
    texts = (*_where_it_is_then(advice), *advice.trace.notes, *advice.notes)
    return Document(
        (*sections, *notes(texts)), lambda: _data(advice), main=widths.table_asked(advice)
    )


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
    table = Table.build(
        advice.steps,
        (Column("edit"), lambda step: step.candidate.kind),
        (Column("line"), lambda step: place(step.candidate.file, step.candidate.line)),
        (Column("what to write", long=True), lambda step: words(step.candidate.rewrite)),
        (Column("in", spare=1), lambda step: step.candidate.function),
        (Column("saves MiB", "mib"), lambda step: step.saving),
        (Column("peak then", "mib"), lambda step: step.peak_after),
    )
    kinds = {step.candidate.kind for step in advice.steps}
    after = [
        "Each line was tried on the recorded run together with all above it; a saving of 0.00 is "
        "one that only shows with the next line.",
        *([_IN_PLACE] if "in-place" in kinds else []),
        *(_SPLIT if "split" in kinds else ()),
    ]
    charts = (partial(_bars, advice),)
    return Section("Edits, the most saving first", (), table, tuple(after), charts=charts)


def _bars(advice: Advice) -> Chart:
    """The peak after each edit and all above it."""
    names = [
        f"{step.candidate.kind} at {place(step.candidate.file, step.candidate.line)}"
        for step in advice.steps
    ]
    peaks = [advice.peak, *(step.peak_after for step in advice.steps)]
    series = Series(f"{advice.memory} peak", [digits(peak / MIB) for peak in peaks], AFTER)
    limit = None if advice.budget is None else advice.budget / MIB
    budget = "" if limit is None else " The line is the budget."
    caption = f"The peak as it is, and with each edit and all above it.{budget}"
    title = f"{advice.memory} peak (MiB)"
    return bars(title, caption, ["as it is", *names], series, limit=limit)


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


def _data(advice: Advice) -> dict[str, object]:
    """The JSON object; sizes in bytes."""
    trace, node = advice.trace, advice.node
    then = node and {**pick(node, "op module file line"), "held": advice.held}
    return {
        "schema": 1,
        "srprof": __version__,
        "torch": trace.torch_version,
        "traced_on": trace.device,
        "notes": [*trace.notes, *advice.notes],
        "model": pick(trace, "spec name"),
        "inputs": encode(input_records(trace)),
        **pick(advice, "memory granularity peak peak_after budget within_budget lowest"),
        "peak_node_after": then,
        "main_memory": [{**encode(work), "write": work.mend} for work in host_work(trace)],
        "advice": [_step_data(step) for step in advice.steps],
        "profile": None if advice.profile is None else advice.profile.name,
        "widths": [widths.data(found) for found in advice.widths],
    }


def _step_data(step: Suggestion) -> dict[str, object]:
    candidate = step.candidate
    return {
        "kind": candidate.kind,
        "write": words(candidate.rewrite),
        "rewrite": {"form": candidate.rewrite.form, **encode(candidate.rewrite)},
        **pick(candidate, "file line"),
        "other_line": candidate.other_line or None,
        **pick(candidate, "function places exact"),
        **pick(step, "saving peak_after"),
    }
