"""What one training step of a model takes, computed from the trace of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from srprof.analysis.compute import headed, input_records
from srprof.analysis.record import Heading
from srprof.codec import encode
from srprof.errors import InputError
from srprof.memory.model import GRANULARITY
from srprof.memory.training import (
    KINDS,
    PHASES,
    SavedLine,
    StepMemory,
    phase_of,
    saved_lines,
    step_memory,
)
from srprof.records import Trace
from srprof.shown import Shown

if TYPE_CHECKING:
    from srprof.memory.model import Peak

#: The step that is predicted.
RECIPE = {
    "loss": "L1",
    "optimizer": "Adam",
    "foreach": False,
    "step": 2,
}


@dataclass(frozen=True, repr=False)
class TrainingAnalysis(Shown):
    """The memory of one training step, in bytes: forward, L1 loss, backward, Adam's update.

    It is the second step, and each after it: the first makes Adam's two moments. What libraries
    take inside a node (cuDNN's and oneDNN's scratch) is not known and comes on top.
    """

    view = "training"

    trace: Trace
    granularity: int = GRANULARITY

    @cached_property
    def memory(self) -> StepMemory:
        """Bytes by node and kind, and the peaks."""
        return step_memory(self.trace, self.granularity)

    @property
    def peak(self) -> int:
        """The most that the program references at the end of any node."""
        return self.memory.peak.nbytes

    @cached_property
    def at_peak(self) -> dict[str, int]:
        """What the peak is made of, by kind."""
        node = self.memory.peak.node
        assert node is not None
        return dict(zip(KINDS, self.memory.kinds[node], strict=True))

    @cached_property
    def saved(self) -> tuple[SavedLine, ...]:
        """What backward still needs at the peak, by the line that made it, the largest first."""
        node = self.memory.peak.node
        assert node is not None
        return saved_lines(self.trace, node, self.granularity)

    def to_dict(self) -> dict[str, Any]:
        """The object of `srprof analyze --train --format json`."""
        trace = self.trace
        return {
            **encode(headed(Heading, trace)),
            "inputs": encode(input_records(trace)),
            "training": dict(RECIPE),
            "params": trace.parameters,
            "granularity": self.granularity,
            "peak": {**self._peak(self.memory.peak), "parts": self.at_peak},
            "phases": {phase: self._peak(self.memory.phases[phase]) for phase in PHASES},
            "saved": [
                {
                    "file": line.file,
                    "line": line.line,
                    "function": line.function,
                    "ops": list(line.ops),
                    "storages": line.storages,
                    "bytes": line.nbytes,
                }
                for line in self.saved
            ],
            "nodes": [self._row(index) for index in range(len(trace.nodes))],
        }

    def _peak(self, peak: Peak) -> dict[str, Any]:
        if peak.node is None or self.trace.step is None:
            return {"bytes": peak.nbytes, "node": None, "phase": None}
        phase = phase_of(self.trace.step, peak.node)
        return {"bytes": peak.nbytes, "node": peak.node, "phase": phase}

    def _row(self, index: int) -> dict[str, Any]:
        node, step = self.trace.nodes[index], self.trace.step
        assert step is not None
        return {
            "index": index,
            "phase": phase_of(step, index),
            "op": node.op,
            "module": node.module,
            "file": node.file,
            "line": node.line,
            "shape": list(node.shape),
            **dict(zip(KINDS, self.memory.kinds[index], strict=True)),
        }


def analyze_training(
    model: Any,
    *inputs: Any,
    weights: str | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
    trace_on: str = "auto",
    granularity: int = GRANULARITY,
) -> TrainingAnalysis:
    """Predict the memory of one training step, without allocating an activation.

    The step is `srprof train`'s: L1 loss, Adam with `foreach=False`, gradients set to None, no
    output kept once the loss is there. A zoo network that has a training form is taken in it. The
    caller's model is left as it is.

    Args:
        model, inputs, weights, dtype, channels_last: as for `srprof.analyze`; the batch is the
            first side of the input.
        trace_on: as for `srprof.analyze`; there is no attention as fused kernels.
        granularity: as for `srprof.analyze`.

    Raises:
        InputError: the SPEC or an input is wrong.
        ModelError: the model raised, or has nothing to train.
    """
    from srprof.tracing.run import run_trace
    from srprof.workload import resolve

    if granularity < 1:
        raise InputError(f"granularity {granularity} is not a positive number of bytes")
    if isinstance(model, str):
        model = training_spec(model)
    workload = resolve(model, inputs, weights=weights, dtype=dtype, channels_last=channels_last)
    trace = run_trace(replace(workload, training=True), trace_on)
    return TrainingAnalysis(trace, granularity)


def training_spec(text: str) -> str:
    """A SPEC with `form='train'` added where the network has two forms and none is asked for.

    Raises:
        InputError: the text is no SPEC.
    """
    from srprof import spec

    parsed = spec.parse(text)
    if parsed.network is None or not parsed.network.merge or "form" in dict(parsed.kwargs):
        return text
    words = [*map(repr, parsed.args), *(f"{k}={v!r}" for k, v in parsed.kwargs), "form='train'"]
    return f"{parsed.factory}({', '.join(words)})"
