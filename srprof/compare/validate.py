"""Predicted memory against measured, in total and node by node.

A record of a measurement is enough: the device is not needed again. Pure but for the trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from srprof.call import Call
from srprof.errors import InputError
from srprof.inputs import RUN_DTYPES, Keywords
from srprof.measuring.record import Measurement, NodeFacts, on_tensor_cores
from srprof.memory.settings import Settings
from srprof.memory.simulation import Simulation, simulate
from srprof.memory.workspace import (
    WorkspaceTable,
    call_key,
    kept_workspaces,
    tensor_core_workspaces,
)
from srprof.ops import row
from srprof.records import Node, Trace
from srprof.shown import Shown
from srprof.words import mib_size


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """Bytes live when a node of the trace ended, without the network: predicted and measured.

    `workspace` is scratch that was measured inside it.
    """

    node: int
    op: str
    module: str
    file: str
    line: int
    predicted: int
    measured: int
    workspace: int

    @property
    def difference(self) -> int:
        """Predicted less measured."""
        return self.predicted - self.measured


@dataclass(frozen=True, slots=True)
class PeakCheck:
    """One peak of the whole run, in bytes.

    Attributes:
        name: "max_allocated" or "max_reserved", cold.
        predicted: with the scratch that the measurement found inside nodes.
        without_workspace: what is predicted where no scratch is known.
        by_rule: with the scratch of the rule for tensor cores; None where they are not used.
    """

    name: str
    measured: int
    predicted: int
    without_workspace: int
    by_rule: int | None = None

    @property
    def error(self) -> float:
        """Predicted against measured, as a fraction."""
        return self.predicted / self.measured - 1

    @property
    def error_without_workspace(self) -> float:
        """The same without any knowledge of scratch."""
        return self.without_workspace / self.measured - 1

    @property
    def error_by_rule(self) -> float | None:
        """The same with the rule for tensor cores."""
        return None if self.by_rule is None else self.by_rule / self.measured - 1


@dataclass(frozen=True, repr=False)
class Validation(Shown):
    """One model on one device.

    Attributes:
        tolerance: of the cold peak, as a fraction; and for each node, of that peak.
        missing: calls that only the trace or only the measurement has, for a person.
        workspaces: the scratch that was measured, by call.
    """

    view = "validation"

    measurement: Measurement
    tolerance: float
    peaks: tuple[PeakCheck, ...]
    nodes: tuple[NodeCheck, ...]
    missing: tuple[str, ...]
    workspaces: WorkspaceTable

    @property
    def worst(self) -> tuple[NodeCheck, ...]:
        """Nodes whose live bytes differ, the worst first."""
        differing = [check for check in self.nodes if check.difference]
        return tuple(sorted(differing, key=lambda c: (-abs(c.difference), c.node)))

    @property
    def failures(self) -> tuple[str, ...]:
        """What is beyond tolerance, one line each."""
        found = [
            f"{peak.name}: predicted {mib_size(peak.predicted)}, "
            f"measured {mib_size(peak.measured)} ({peak.error:+.2%})"
            for peak in self.peaks
            if peak.name == "max_allocated" and abs(peak.error) > self.tolerance
        ]
        allowed = self.tolerance * max((peak.measured for peak in self.peaks), default=0)
        beyond = [check for check in self.worst if abs(check.difference) > allowed]
        for first in beyond[:1]:
            found.append(
                f"live bytes at {len(beyond)} nodes, most at node {first.node} {first.op} in "
                f"{first.module or 'the model'}: predicted {mib_size(first.predicted)}, measured "
                f"{mib_size(first.measured)}"
            )
        if self.measurement.deterministic is False:
            found += [n for n in self.measurement.notes if "not deterministic" in n]
        if self.missing:
            found.append(f"other calls: {'; '.join(self.missing[:3])}")
        return tuple(found)

    @property
    def holds(self) -> bool:
        """Whether everything is within tolerance."""
        return not self.failures


@dataclass(frozen=True, repr=False)
class Validations(Shown):
    """Several models, and what could not be validated, one line each."""

    view = "validation"

    validations: tuple[Validation, ...]
    errors: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all of it could be validated, and is within tolerance."""
        return not self.errors and all(validation.holds for validation in self.validations)


def trace_of(measurement: Measurement) -> Trace:
    """A trace of what was measured, on the CPU if that was; raises as `srprof.trace` does."""
    from srprof.tracing.run import trace_call

    call = Call(
        measurement.spec,
        _inputs(measurement),
        dtype=measurement.dtype if measurement.dtype in RUN_DTYPES else None,
        channels_last=measurement.layout == "channels_last",
        trace_on="cpu" if measurement.device.kind == "cpu" else "meta",
    )
    return trace_call(call, holders=False)


def _inputs(measurement: Measurement) -> tuple[Any, ...]:
    """The inputs of the call; those that have a name of their own are keyword arguments."""
    named = {t.name: t for t in measurement.inputs if not re.fullmatch(r"input(_\d+)*", t.name)}
    args = [tensor for tensor in measurement.inputs if tensor.name not in named]
    return (*args, Keywords(named)) if named else tuple(args)


def validate(measurement: Measurement, trace: Trace, tolerance: float = 0.01) -> Validation:
    """Compare a trace's predictions with a measurement of the same network at the same input.

    The trace is on the CPU for a measurement there, else on meta. An InputError if it is of another
    network or input, or the record has no nodes.
    """
    measurement.require_same_network(trace)
    if not measurement.nodes or measurement.memory.cold is None:
        raise InputError(
            f"the record of {measurement.spec} is not whole: it was interrupted; measure again"
        )
    pairs = list(aligned(trace.nodes, measurement.nodes))
    table = workspaces(measurement, trace)
    missing = (
        *_missing("traced", trace.nodes, [node for node, _ in pairs]),
        *_missing("measured", measurement.nodes, [facts for _, facts in pairs]),
    )
    peaks, nodes = _peaks(measurement, trace, table), tuple(_check_nodes(measurement, pairs))
    return Validation(measurement, tolerance, peaks, nodes, missing, table)


def _missing(
    where: str, calls: Sequence[Node | NodeFacts], paired: Sequence[Node | NodeFacts]
) -> Iterator[str]:
    indices = {call.index for call in paired}
    for call in calls:
        # torch's own batch norm has an empty tensor where cuDNN's has none
        holds_nothing = call.op == "empty" and tuple(call.shape) == (0,)
        if call.index not in indices and not holds_nothing:
            yield f"{call.op} of node {call.index} only {where}"


def aligned(nodes: Sequence[Node], facts: Sequence[NodeFacts]) -> Iterator[tuple[Node, NodeFacts]]:
    """Traced and measured nodes of the same call, where composite calls differ by device.

    A batch norm is one whichever library computes it: a trace on meta has torch's own op where a
    GPU has cuDNN's, with the bytes of cuDNN's. So is attention in half precision on Hopper.
    """
    ours = [_call(node) for node in nodes]
    theirs = [_call(fact) for fact in facts]
    if ours == theirs:
        yield from zip(nodes, facts, strict=True)
        return
    for first, second, length in SequenceMatcher(None, ours, theirs, False).get_matching_blocks():
        yield from zip(nodes[first : first + length], facts[second : second + length], strict=True)


def _call(node: Node | NodeFacts) -> tuple[str, tuple[int, ...]]:
    return row(node.op).same_as or node.op, tuple(node.shape)


def _check_nodes(
    measurement: Measurement, pairs: Sequence[tuple[Node, NodeFacts]]
) -> Iterator[NodeCheck]:
    """Live bytes from where the run began; what cuBLAS keeps for good is nobody's tensor."""
    memory = measurement.memory
    kept = 0
    for node, facts in pairs:
        known = facts.requested is not None and memory.start_requested is not None
        start = memory.start_requested if known else memory.start
        assert start is not None
        kept += facts.retained if row(facts.op).scratch == "cublas" else 0
        after = facts.exact.after if known else facts.allocated.after
        live = after - start - kept + memory.inputs
        where = (node.index, node.op, node.module, node.file, node.line)
        yield NodeCheck(*where, predicted=node.live, measured=live, workspace=facts.workspace)


def _peaks(measurement: Measurement, trace: Trace, table: WorkspaceTable) -> tuple[PeakCheck, ...]:
    cold = measurement.memory.cold
    assert cold is not None
    if measurement.device.kind == "cpu":
        predicted = {"max_allocated": _requested_peaks(measurement, trace, table)}
    else:
        runs = _simulated(measurement, trace, table)
        predicted = {
            "max_allocated": [run.peak_allocated for run in runs],
            "max_reserved": [run.peak_reserved for run in runs],
        }
    checks = [PeakCheck(n, getattr(cold, n) or 0, *nbytes) for n, nbytes in predicted.items()]
    return tuple(check for check in checks if check.measured)


def _simulated(measurement: Measurement, trace: Trace, table: WorkspaceTable) -> list[Simulation]:
    """Runs on a GPU: with the scratch that was measured, with none, and with the rule's if any."""
    flags = measurement.flags
    settings = Settings.from_environment(flags.environment)
    kept = kept_workspaces(
        measurement.device.compute_capability, flags.environment.get("CUBLAS_WORKSPACE_CONFIG", "")
    )
    scratch: list[Callable[[Node], int] | None] = [table.at_least, None]
    if on_tensor_cores(measurement.device, flags, measurement.dtype):
        scratch.append(tensor_core_workspaces().at_least)
    return [
        simulate([trace], settings, with_construction=False, workspace=s, kept_workspaces=kept)
        for s in scratch
    ]


def _requested_peaks(measurement: Measurement, trace: Trace, table: WorkspaceTable) -> list[int]:
    """What the CPU's allocator has at most: it hands out what is asked, and frees as Python does.

    While a node runs, what lives at its end is there already, and scratch on top.
    """
    memory = measurement.memory
    net = memory.start - memory.inputs  # with what else its constructor left, as a kept result
    idle = sum(external.info.nbytes for external in trace.inputs)
    without = max((node.live for node in trace.nodes), default=idle)
    with_ = max((node.live + table.at_least(node) for node in trace.nodes), default=idle)
    return [net + with_, net + without]


def workspaces(measurement: Measurement, trace: Trace) -> WorkspaceTable:
    """The scratch that a measurement found, by call, for other networks on the same device.

    Of several calls with one key the largest counts.
    """
    versions, device = measurement.versions, measurement.device
    libraries = [f"torch {versions.torch}"]
    libraries += [f"cuDNN {versions.cudnn}"] if versions.cudnn else []
    libraries += [f"oneDNN {versions.onednn}"] if versions.onednn and device.kind == "cpu" else []
    entries: dict[str, int] = {}
    for node, facts in aligned(trace.nodes, measurement.nodes):
        key = call_key(node)
        entries[key] = max(facts.workspace, entries.get(key, 0))
    return WorkspaceTable(f"{device.name}, {', '.join(libraries)}", device.kind, entries)
