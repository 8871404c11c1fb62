"""Validations: predicted memory beside measured."""

from __future__ import annotations

from collections.abc import Callable

from srprof.codec import encode, pick
from srprof.compare.validate import Validation, Validations
from srprof.measuring.record import workspace_by_op
from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.render.views import LOCATED
from srprof.words import mib, shape_text

#: Nodes and ops listed of each validation that does not hold.
_LISTED = 5


def document(record: Validations | Validation) -> Document:
    """A line for each model, then what the largest differences are; sizes in bytes."""
    if isinstance(record, Validation):
        return document(Validations((record,)))
    sections = [_overview(record)] if record.validations else []
    sections += [_details(validation) for validation in record.validations if not validation.holds]
    if record.errors:
        sections.append(Section("Not validated", record.errors))

    def data() -> dict[str, object]:
        return {
            "schema": 1,
            "holds": record.holds,
            "validations": [_data(validation) for validation in record.validations],
            "errors": list(record.errors),
        }

    return Document(tuple(sections), data)


def _overview(record: Validations) -> Section:
    validations = record.validations
    ruled = any(peak.by_rule is not None for v in validations for peak in v.peaks[:1])

    def peak(name: str) -> Callable[[Validation], object]:
        return lambda validation: getattr(next(iter(validation.peaks), None), name, None)

    by_rule = (Column("by rule", "change", "error_by_rule", spare=3), peak("error_by_rule"))
    without = Column("without scratch", "change", "error_without_scratch", spare=4)
    table = Table.build(
        validations,
        (Column("model"), lambda v: v.measurement.spec),
        (Column("input"), lambda v: ", ".join(shape_text(t.shape) for t in v.measurement.inputs)),
        (Column("dtype", spare=2), lambda v: v.measurement.dtype),
        (Column("on", spare=1), lambda v: v.measurement.device.kind),
        (Column("predicted MiB", "mib"), peak("predicted")),
        (Column("measured MiB", "mib"), peak("measured")),
        (Column("error", "change"), peak("error")),
        *((by_rule,) if ruled else ()),
        (without, peak("error_without_workspace")),
        (Column("nodes equal", "number", "nodes_unequal"), _equal),
        (Column("verdict", key="holds"), lambda v: Cell(v.holds, "holds" if v.holds else "FAILS")),
    )
    rule = "by rule: with that of --workspace tensor-cores, where the GPU has them; "
    after = (
        "error: of the predicted peak, with the scratch that was measured inside nodes; "
        f"{rule if ruled else ''}without scratch: where none is known. nodes equal: live bytes at "
        "the node's end, to the byte.",
    )
    title = f"Peak memory, predicted and measured (tolerance {validations[0].tolerance:.2%})"
    return Section(title, (), table, after)


def _equal(validation: Validation) -> Cell:
    unequal, nodes = len(validation.worst), len(validation.nodes)
    return Cell(unequal, f"{nodes - unequal} of {nodes}")


def _details(validation: Validation) -> Section:
    table = Table.build(
        validation.worst[:_LISTED],
        (Column("node", "count"), lambda check: check.node),
        *LOCATED,
        (Column("predicted", "mib"), lambda check: check.predicted),
        (Column("measured", "mib"), lambda check: check.measured),
        (Column("difference"), lambda check: Cell(check.difference, f"{check.difference:+,} B")),
        (Column("scratch", "mib"), lambda check: check.workspace),
    )
    lines = list(validation.failures)
    for op in workspace_by_op(validation.measurement.nodes)[:_LISTED]:
        lines.append(f"scratch: {op.op}, {op.calls} calls, up to {mib(op.largest)} MiB")
    title = f"{validation.measurement.spec}: beyond tolerance"
    return Section(title, tuple(lines), table if table.rows else None)


def _data(validation: Validation) -> dict[str, object]:
    measurement, worst = validation.measurement, validation.worst
    peaks = (
        "name predicted by_rule without_workspace measured "
        "error error_by_rule error_without_workspace"
    )
    return {
        "spec": measurement.spec,
        "inputs": [pick(tensor, "shape dtype") for tensor in measurement.inputs],
        **pick(measurement, "dtype layout"),
        "device": measurement.device.name,
        "torch": measurement.versions.torch,
        **pick(validation, "tolerance holds failures"),
        "peaks": [pick(peak, peaks) for peak in validation.peaks],
        "nodes": len(validation.nodes),
        "nodes_equal": len(validation.nodes) - len(worst),
        "worst": [pick(c, "node op module predicted measured workspace") for c in worst[:20]],
        "workspace_by_op": encode(workspace_by_op(measurement.nodes)),
    }
