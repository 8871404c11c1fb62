"""What both back ends share: a recorded call of an instance, and the facts of its nodes."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import accumulate

import torch

from srprof.errors import SrprofError, user_raised
from srprof.inputs import TensorSpec
from srprof.measuring.backend import Draft
from srprof.measuring.record import Bytes, NodeFacts, fingerprint
from srprof.paths import place
from srprof.records import RESIDENT_ROLES, Node
from srprof.tracing.explaining import explain
from srprof.tracing.recorder import Recorder, call_model, recording
from srprof.words import shape_text
from srprof.workload import Instance, Workload, user_errors

#: What torch raises where a GPU's memory is too small.
OutOfMemoryError: type[RuntimeError] = torch.cuda.OutOfMemoryError


def new_instance(workload: Workload, where: str, run: int) -> Instance:
    """An instance with the same weights and inputs in each run, but other random numbers after.

    A model that draws its structure or its shapes thus shows it. Raises as `user_errors` does.
    """
    _seed(0)
    with user_errors(workload.name, workload.own):
        instance = workload.instance(where)
    _seed(run)
    return instance


def _seed(seed: int) -> None:
    """As `torch.manual_seed`, which would import torch._dynamo at its first call: a second."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def recorder_for(
    instance: Instance,
    where: str,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Recorder:
    """A recorder of one call of the instance, which is on this device ("cpu", "cuda:0")."""
    recorder = Recorder(instance.model, where.partition(":")[0], around=around)
    recorder.add_inputs(instance.args, instance.kwargs)
    return recorder


def run_recorded(workload: Workload, instance: Instance, recorder: Recorder) -> tuple[Node, ...]:
    """Call the instance under its recorder; gives the nodes. Raises as `user_errors` does."""
    try:
        with recording(recorder):
            result = call_model(*instance)
    except (SrprofError, OutOfMemoryError):
        raise
    except user_raised() as error:
        raise explain(error, workload, recorder.device, recorder) from error
    return recorder.finish(result)


def recorded_anew(workload: Workload, where: str, run: int) -> tuple[Instance, tuple[Node, ...]]:
    """A new instance, and the nodes of a call of it; raises as `run_recorded` does."""
    instance = new_instance(workload, where, run)
    return instance, run_recorded(workload, instance, recorder_for(instance, where))


def run_plain(workload: Workload, instance: Instance) -> None:
    """Call the instance as its user would, without gradients. Raises as `user_errors` does."""
    with user_errors(workload.name, workload.own), torch.no_grad():
        call_model(*instance)


def identify(draft: Draft, recorder: Recorder) -> None:
    """Enter what the recorder saw of the network into the draft."""
    draft.fingerprint = fingerprint(recorder.externals, recorder.nodes)
    inputs = [external for external in recorder.externals if external.role == "input"]
    draft.inputs = tuple(TensorSpec(e.name, e.info.shape, e.info.dtype) for e in inputs)


def resident_bytes(recorder: Recorder) -> tuple[int, int]:
    """Bytes of the parameters and buffers, and of the inputs, before the call."""
    net = inputs = 0
    for lifetime in recorder.ledger.lifetimes:
        if lifetime.birth < 0 and not lifetime.host:
            net += lifetime.nbytes if lifetime.role in RESIDENT_ROLES else 0
            inputs += lifetime.nbytes if lifetime.role == "input" else 0
    return net, inputs


def node_facts(
    recorder: Recorder, allocated: Sequence[Bytes], requested: Sequence[Bytes] = ()
) -> tuple[NodeFacts, ...]:
    """The facts of the nodes that ended, from what an instrument read around each.

    torch wraps a Python number in a tensor (`x * 2`) once on the way to the recorder and once
    more behind it. The second is the instrument's own doing, and taken off the peak.
    """
    lifetimes = recorder.ledger.lifetimes
    wrapped = Counter[int]()
    for lifetime in lifetimes:
        if lifetime.name == "number" and not lifetime.host:
            wrapped[lifetime.birth] += lifetime.nbytes

    def without_numbers(nbytes: Bytes, node: Node) -> Bytes:
        return replace(nbytes, peak=nbytes.peak - wrapped[node.index])

    return tuple(
        NodeFacts(
            index=node.index,
            op=node.op,
            module=node.module,
            file=node.file,
            line=node.line,
            shape=node.shape,
            outputs=sum(lifetimes[s].nbytes for s in node.created if not lifetimes[s].host),
            allocated=without_numbers(allocated[node.index], node),
            requested=without_numbers(requested[node.index], node) if requested else None,
        )
        for node in recorder.nodes[: len(allocated)]
    )


def compare_runs(draft: Draft, first: Sequence[Node], second: Sequence[Node]) -> None:
    """Enter into the draft whether two runs of new instances made the same calls."""
    difference = first_difference(first, second)
    draft.deterministic = difference is None
    if difference is not None:
        what = f"the model is not deterministic: {difference}"
        draft.notes.append(f"{what}; its figures hold for one run only")


def first_difference(first: Sequence[Node], second: Sequence[Node]) -> str | None:
    """Where two runs part, for a person; None if they made the same calls with the same shapes."""
    for one, other in zip(first, second, strict=False):
        if _call(one) != _call(other):
            return f"at node {one.index} one run called {_say(one)}, and another {_say(other)}"
    if len(first) != len(second):
        more = max(first, second, key=len)
        fewer = min(len(first), len(second))
        return f"one run ended after {fewer} calls, and another went on with {_say(more[fewer])}"
    return None


def _call(node: Node) -> tuple[object, ...]:
    outputs = tuple((output.shape, output.dtype) for output in node.outputs)
    return node.op, node.overload, outputs


def _say(node: Node) -> str:
    shape = shape_text(node.shape) or "a scalar"
    at = f" at {place(node.file, node.line)}" if node.file else ""
    return f"{node.op} to {shape} in {node.module or 'the model'}{at}"


def levels(changes: Iterable[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[Bytes]:
    """Bytes live before, after and at most within each span of time, by its begin and end.

    `changes` are time and bytes, more or fewer, of each allocation and free. Spans may nest, and
    what changes at their very begin counts as before.
    """
    ordered = sorted(changes, key=lambda change: change[0])
    times = [time for time, _ in ordered]
    live = [0, *accumulate(nbytes for _, nbytes in ordered)]
    levels = []
    for begin, end in spans:
        first, last = bisect_right(times, begin), bisect_right(times, end)
        levels.append(Bytes(live[first], live[last], max(live[first : last + 1])))
    return levels
