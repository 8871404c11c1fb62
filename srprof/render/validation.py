"""Validations as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from srprof.compare.validate import NodeCheck, Validation
from srprof.measuring.base import OpWorkspace, workspace_by_op
from srprof.paths import place
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.words import mib, shape_text

#: Nodes and ops listed of each validation that does not hold.
_LISTED = 5


def validation_text(found: Sequence[Validation], errors: Sequence[str]) -> str:
    """A line for each model, then what the largest differences are, ending with a newline."""
    sections = []
    if found:
        sections.append(_overview(found))
    sections += [_details(validation) for validation in found if not validation.holds]
    if errors:
        sections.append(Section("Not validated", tuple(errors)))
    return plain_sections(sections)


def _overview(found: Sequence[Validation]) -> Section:
    peaks = [validation.peaks[0] if validation.peaks else None for validation in found]
    ruled = any(peak is not None and peak.by_rule is not None for peak in peaks)
    rows = []
    for validation, peak in zip(found, peaks, strict=True):
        measurement = validation.measurement
        errors = (peak.error, peak.error_by_rule, peak.error_without_workspace) if peak else ()
        known, by_rule, unknown = map(_percent, errors or (None, None, None))
        rows.append(
            (
                measurement.spec,
                ", ".join(shape_text(t.shape) for t in measurement.inputs),
                measurement.dtype,
                measurement.device.kind,
                peak.predicted if peak else None,
                peak.measured if peak else None,
                known,
                *((by_rule,) if ruled else ()),
                unknown,
                f"{len(validation.nodes) - len(validation.worst)} of {len(validation.nodes)}",
                "holds" if validation.holds else "FAILS",
            )
        )
    columns = (
        Column("model"),
        Column("input"),
        Column("dtype"),
        Column("on"),
        Column("predicted MiB", "mib"),
        Column("measured MiB", "mib"),
        Column("error", "number"),
        *((Column("by rule", "number"),) if ruled else ()),
        Column("without scratch", "number"),
        Column("nodes equal", "number"),
        Column("verdict"),
    )
    title = f"Peak memory, predicted and measured (tolerance {found[0].tolerance:.2%})"
    rule = "by rule: with that of --workspace tensor-cores, where the GPU has them; "
    after = (
        "error: of the predicted peak, with the scratch that was measured inside nodes; "
        f"{rule if ruled else ''}without scratch: where none is known. nodes equal: live bytes at "
        "the node's end, to the byte.",
    )
    return Section(title, (), Table(columns, tuple(rows)), after)


def _percent(part: float | None) -> str | None:
    return None if part is None else f"{part:+.2%}"


def _details(validation: Validation) -> Section:
    columns = (
        Column("node", "count"),
        Column("op"),
        Column("module"),
        Column("line"),
        Column("predicted", "mib"),
        Column("measured", "mib"),
        Column("difference"),
        Column("scratch", "mib"),
    )
    rows = tuple(_node_row(check) for check in validation.worst[:_LISTED])
    lines = list(validation.failures)
    lines += [_scratch(w) for w in workspace_by_op(validation.measurement.nodes)[:_LISTED]]
    title = f"{validation.measurement.spec}: beyond tolerance"
    return Section(title, tuple(lines), Table(columns, rows) if rows else None)


def _node_row(check: NodeCheck) -> tuple[Any, ...]:
    return (
        check.node,
        check.op,
        check.module,
        place(check.file, check.line),
        check.predicted,
        check.measured,
        f"{check.difference:+,} B",
        check.workspace,
    )


def _scratch(found: OpWorkspace) -> str:
    return f"scratch: {found.op}, {found.calls} calls, up to {mib(found.largest)} MiB"


def validation_json(found: Sequence[Validation], errors: Sequence[str]) -> str:
    """One object for each model; sizes in bytes."""
    data = {
        "schema": 1,
        "holds": not errors and all(validation.holds for validation in found),
        "validations": [_as_dict(validation) for validation in found],
        "errors": list(errors),
    }
    return json.dumps(data, indent=1) + "\n"


def _as_dict(validation: Validation) -> dict[str, Any]:
    measurement = validation.measurement
    return {
        "spec": measurement.spec,
        "inputs": [{"shape": list(t.shape), "dtype": t.dtype} for t in measurement.inputs],
        "dtype": measurement.dtype,
        "layout": measurement.layout,
        "device": measurement.device.name,
        "torch": measurement.versions.torch,
        "tolerance": validation.tolerance,
        "holds": validation.holds,
        "failures": list(validation.failures),
        "peaks": [
            {
                "name": peak.name,
                "predicted": peak.predicted,
                "by_rule": peak.by_rule,
                "without_workspace": peak.without_workspace,
                "measured": peak.measured,
                "error": peak.error,
                "error_by_rule": peak.error_by_rule,
                "error_without_workspace": peak.error_without_workspace,
            }
            for peak in validation.peaks
        ],
        "nodes": len(validation.nodes),
        "nodes_equal": len(validation.nodes) - len(validation.worst),
        "worst": [
            {
                "node": check.node,
                "op": check.op,
                "module": check.module,
                "predicted": check.predicted,
                "measured": check.measured,
                "workspace": check.workspace,
            }
            for check in validation.worst[:20]
        ],
        "workspace_by_op": [
            {"op": w.op, "calls": w.calls, "largest": w.largest, "node": w.node}
            for w in workspace_by_op(measurement.nodes)
        ],
    }
