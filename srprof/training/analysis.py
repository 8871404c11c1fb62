"""What one training step of a model takes, computed from the trace of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from srprof.call import call_of
from srprof.errors import InputError
from srprof.memory.model import GRANULARITY
from srprof.training.record import TrainingAnalysis


def analyze_training(
    model: Any,
    *inputs: Any,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    trace_on: str = "auto",
    granularity: int = GRANULARITY,
) -> TrainingAnalysis:
    """Predict the memory of one training step, without allocating an activation.

    The step is `srprof train`'s: L1 loss, Adam with `foreach=False`, gradients set to None, no
    output kept once the loss is there. A zoo network that has a training form is taken in it. The
    caller's model is left as it is.

    Args:
        model, inputs, weights, dtype, channels_last, trace_on: as for `srprof.trace`; the batch is
            the first side of the input, and there is no attention as fused kernels.
        granularity: as for `srprof.analyze`.

    Raises:
        InputError: the SPEC or an input is wrong.
        ModelError: the model raised, or has nothing to train.
    """
    from srprof.tracing.run import run_trace
    from srprof.workload import resolve

    if granularity < 1:
        raise InputError(f"granularity {granularity} is not a positive number of bytes")
    call = call_of(model, inputs, weights, dtype, channels_last, trace_on)
    if call.trace_on == "cuda-fake":
        raise InputError(
            "trace_on 'cuda-fake': torch ends the process where a fake GPU's tensor takes a "
            "gradient; use meta or cpu"
        )
    if isinstance(call.spec, str):
        call = replace(call, spec=training_spec(call.spec))
    trace = run_trace(replace(resolve(call), training=True), call.trace_on)
    return TrainingAnalysis(trace, granularity)


def training_spec(text: str) -> str:
    """A SPEC with `form='train'` added where the network has two forms and none is named."""
    from srprof import spec

    parsed = spec.parse(text)
    if parsed.network is None or not parsed.network.merge or "form" in dict(parsed.kwargs):
        return text
    return parsed.with_arguments([("form", "train")])
