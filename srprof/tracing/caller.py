"""What the caller of a model holds, or makes, beside what the model does itself."""

from __future__ import annotations

from dataclasses import replace

from srprof.memory.model import of_the_run
from srprof.records import Node, Storage, TensorInfo, TensorRef, Trace
from srprof.workload import Workload

_NAME = "the previous result"


def as_called(workload: Workload, trace: Trace) -> Trace:
    """The trace of a call with what its caller does."""
    if workload.copied_result:
        trace = with_copied_result(trace)
    if workload.previous_result:
        trace = with_previous_result(trace)
    return replace(trace, warm=True) if workload.warm else trace


def with_previous_result(trace: Trace) -> Trace:
    """The trace of a call behind another one whose result a variable names until it is assigned to.

    As in `y = model(x)` in a loop: a result of the same bytes is there before the first node and
    behind the last.
    """
    made = [
        i for i, s in enumerate(trace.storages) if s.returned and s.birth >= 0 and of_the_run(s)
    ]
    end, first = len(trace.nodes), len(trace.storages)
    held = [Storage(trace.storages[i].nbytes, "input", -1, end, (), name=_NAME) for i in made]
    more = sum(storage.nbytes for storage in held)
    return replace(
        trace,
        storages=(*trace.storages, *held),
        nodes=tuple(replace(node, live=node.live + more) for node in trace.nodes),
        previous={first + place: result for place, result in enumerate(made)},
    )


def with_copied_result(trace: Trace) -> Trace:
    """The trace of a call whose result the caller copies on the device, and then has both.

    Only of a result that is one tensor: what a program does with others is not known.
    """
    if not isinstance(trace.result, TensorRef) or trace.result.node < 0:
        return trace
    result, end = trace.nodes[trace.result.node].outputs[trace.result.output], len(trace.nodes)
    storages = tuple(
        storage.at(storage.birth, end + 1, storage.uses)
        if storage.death >= end and (storage.returned or storage.role == "input" or storage.cached)
        else storage
        for storage in trace.storages
    )
    source = storages[result.storage]
    used = source.at(source.birth, end + 1, (*source.uses, end))
    copy = Storage(result.nbytes, "activation", end, end + 1, (), returned=True)
    storages = (*storages[: result.storage], used, *storages[result.storage + 1 :], copy)
    made = TensorInfo(len(trace.storages), result.shape, result.dtype, result.nbytes)
    live = sum(s.nbytes for s in storages if of_the_run(s) and s.birth <= end < s.death)
    node = Node(
        *(end, "clone", "default", "", "", 0, "", (result,), (made,), (made.storage,), ()),
        arguments=((trace.result,), {}),
        live=live,
    )
    return replace(trace, storages=storages, nodes=(*trace.nodes, node), result=TensorRef(end, 0))
