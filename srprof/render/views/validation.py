"""Validations: predicted memory beside measured."""

from __future__ import annotations

from typing import Any

from srprof.codec import encode
from srprof.compare.validate import NodeCheck, Validation, Validations
from srprof.measuring.record import OpWorkspace, workspace_by_op
from srprof.paths import place
from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.words import mib, shape_text

#: Nodes and ops listed of each validation that does not hold.
_LISTED = 5


def document(record: Validations) -> Document:
    """A line for each model, then what the largest differences are; sizes in bytes."""
    sections = [_overview(record)] if record.validations else []
    sections += [_details(validation) for validation in record.validations if not validation.holds]
    if record.errors:
        sections.append(Section("Not validated", record.errors))

    def data() -> dict[str, Any]:
        return {
            "schema": 1,
            "holds": record.holds,
            "validations": [_as_dict(validation) for validation in record.validations],
            "errors": list(record.errors),
        }

    return Document(tuple(sections), data)


def _overview(record: Validations) -> Section:
    ruled = any(peak.by_rule is not None for v in record.validations for peak in v.peaks[:1])
    columns = (
        Column("model"),
        Column("input"),
        Column("dtype"),
        Column("on"),
        Column("predicted MiB", "mib"),
        Column("measured MiB", "mib"),
        Column("error", "change"),
        *((Column("by rule", "change", "error_by_rule"),) if ruled else ()),
        Column("without scratch", "change", "error_without_scratch"),
        Column("nodes equal", "number", "nodes_unequal"),
        Column("verdict", key="holds"),
    )
    rule = "by rule: with that of --workspace tensor-cores, where the GPU has them; "
    after = (
        "error: of the predicted peak, with the scratch that was measured inside nodes; "
        f"{rule if ruled else ''}without scratch: where none is known. nodes equal: live bytes at "
        "the node's end, to the byte.",
    )
    title = f"Peak memory, predicted and measured (tolerance {record.validations[0].tolerance:.2%})"
    rows = tuple(_row(validation, ruled) for validation in record.validations)
    return Section(title, (), Table(columns, rows), after)


def _row(validation: Validation, ruled: bool) -> tuple[Any, ...]:
    measurement, peak = validation.measurement, next(iter(validation.peaks), None)
    unequal, nodes = len(validation.worst), len(validation.nodes)
    return (
        measurement.spec,
        ", ".join(shape_text(t.shape) for t in measurement.inputs),
        measurement.dtype,
        measurement.device.kind,
        peak and peak.predicted,
        peak and peak.measured,
        peak and peak.error,
        *((peak and peak.error_by_rule,) if ruled else ()),
        peak and peak.error_without_workspace,
        Cell(unequal, f"{nodes - unequal} of {nodes}"),
        Cell(validation.holds, "holds" if validation.holds else "FAILS"),
    )


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
    rows = tuple(map(_node_row, validation.worst[:_LISTED]))
    lines = list(validation.failures)
    lines += map(_scratch, workspace_by_op(validation.measurement.nodes)[:_LISTED])
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
        Cell(check.difference, f"{check.difference:+,} B"),
        check.workspace,
    )


def _scratch(op: OpWorkspace) -> str:
    return f"scratch: {op.op}, {op.calls} calls, up to {mib(op.largest)} MiB"


def _as_dict(validation: Validation) -> dict[str, Any]:
    measurement = validation.measurement
    checked = ("node", "op", "module", "predicted", "measured", "workspace")
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
        "worst": [{k: getattr(check, k) for k in checked} for check in validation.worst[:20]],
        "workspace_by_op": [encode(op) for op in workspace_by_op(measurement.nodes)],
    }
