"""A quick timing beside its prediction."""

from __future__ import annotations

from srprof.codec import encode, pick
from srprof.measuring.record import Timing
from srprof.render.document import Column, Document, Section, Table


def document(timing: Timing) -> Document:
    """The median with its spread, and the prediction beside it; times in milliseconds."""
    summary, predicted = timing.latency.summary, timing.predicted
    flat = {
        "spec": timing.trace.spec,
        "device": timing.device.name,
        "median_ms": summary.median,
        "iqr_ms": summary.iqr,
        "predicted_ms": predicted and 1e3 * predicted.seconds,
        "uncertainty_ms": predicted and 1e3 * predicted.uncertainty,
        "difference": timing.difference,
    }
    return Document((_section(timing),), lambda: _data(timing), main=Table.of([flat]))


def _section(timing: Timing) -> Section:
    latency, summary = timing.latency, timing.latency.summary
    count = latency.flags.threads
    threads = f", {count} thread{'s' if count > 1 else ''}" if timing.device.kind == "cpu" else ""
    spread = f"quartiles {summary.written(summary.q1)} to {summary.written(summary.q3)}"
    how = f"the median; {spread} (spread {summary.iqr / summary.median:.1%})"
    rows = [("measured", summary.written(summary.median), how)]
    after = [f"{name}: {words}" for name, words in latency.doubts.items()]
    predicted, difference = timing.predicted, timing.difference
    if predicted is not None and difference is not None:
        doubt = f"give or take {1e3 * predicted.uncertainty:.3g}: {predicted.uncertainty_from}"
        rows.append(("predicted", f"{1e3 * predicted.seconds:.4g}", doubt))
        rows.append(("difference", f"{difference:+.1%}", f"by {predicted.profile.title}"))
    else:
        kind = timing.device.kind
        after.append(
            f"no prediction: srprof has no profile of {timing.device.name}; make one with srprof "
            f"calibrate --device {kind} -o {kind}.toml, and give --profile {kind}.toml"
        )
    title = f"{timing.trace.spec} at {timing.trace.inputs_text} on {timing.device.name}{threads}"
    lines = (f"{summary.count} passes after {latency.warmup} of warm-up, by {latency.clock}",)
    columns = (Column("ms"), Column("value", "number"), Column("how"))
    return Section(title, lines, Table(columns, tuple(rows)), tuple(after))


def _data(timing: Timing) -> dict[str, object]:
    """The samples, their summary and the prediction."""
    latency, predicted = timing.latency, timing.predicted
    return {
        "model": pick(timing.trace, "spec name"),
        "inputs": [pick(external.info, "shape dtype") for external in timing.trace.inputs],
        "device": encode(timing.device),
        "measured": {
            "median_ms": latency.summary.median,
            "iqr_ms": latency.summary.iqr,
            "doubts": list(latency.doubts),
            **pick(latency, "warmup clock flags samples_ms waited"),
        },
        "predicted": predicted
        and {
            "device": predicted.profile.name,
            "predicted_ms": 1e3 * predicted.seconds,
            "uncertainty_ms": 1e3 * predicted.uncertainty,
            "uncertainty_from": predicted.uncertainty_from,
            "difference": timing.difference,
        },
    }
