"""From lines of measured operations to a table: what each asks of a device beside what it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from statistics import median
from typing import Any, TypeVar

from srprof.calibration.operations import Line, bench
from srprof.call import Call
from srprof.cost.classes import NodeCost, bias_cost, node_costs
from srprof.cost.tables import Convolutions, Operations, convolution
from srprof.inputs import ITEMSIZE
from srprof.ops import CONVOLUTIONS
from srprof.tracing.run import run_trace
from srprof.workload import resolve

_Part = TypeVar("_Part", Convolutions, Operations)

#: What `NodeCost` says of an operation that is no convolution, and its table has.
_SAID = ("op", "variant", "family", "written", "strided", "gathered", "serial", "row")
_SAID_OF_A_CONVOLUTION = (
    *("channels_last", "transposed", "groups", "taps", "stride", "dilation", "pixels"),
)


def tabulate(lines: Iterable[Line]) -> tuple[Convolutions, Operations]:
    """The columns of measured operations.

    Each of the `lines` names an operation as `srprof.calibration.operations` does, with `kernels`,
    the name or number and the microseconds of each that one call launched, in order. A kernel that
    adds a bias is a row of its own.
    """
    convolutions: dict[str, list[Any]] = defaultdict(list)
    operations: dict[str, list[Any]] = defaultdict(list)
    biases: dict[tuple[str, int], list[float]] = defaultdict(list)
    for line in lines:
        taken = [us for _, us in line.get("kernels", ())]
        if not taken:
            continue
        if line["op"] == "conv2d":
            nbytes, us = _add_convolution(convolutions, line, taken)
            if us:
                biases[line["dtype"], nbytes].append(us)
        else:
            for cost, kernels in _by_node(_costs(line), taken):
                if cost.family in CONVOLUTIONS:
                    _append(convolutions, _row(cost, kernels))
                else:
                    _add(operations, cost, kernels)
    for (dtype, nbytes), times in sorted(biases.items()):
        _add(operations, bias_cost(dtype, nbytes), [round(median(times), 2)])
    return _columns(Convolutions, convolutions), _columns(Operations, operations)


def columns(rows: Iterable[tuple[NodeCost, Sequence[float]]]) -> tuple[Convolutions, Operations]:
    """The columns of operations by their costs, each with the microseconds of its kernels."""
    convolutions: dict[str, list[Any]] = defaultdict(list)
    operations: dict[str, list[Any]] = defaultdict(list)
    for cost, taken in rows:
        if cost.family in CONVOLUTIONS:
            _append(convolutions, _row(cost, taken))
        else:
            _add(operations, cost, taken)
    return _columns(Convolutions, convolutions), _columns(Operations, operations)


def _add_convolution(
    columns: dict[str, list[Any]], line: Line, taken: Sequence[float]
) -> tuple[int, float]:
    """Add one; gives the bytes of its result, and the microseconds of adding a bias, if alone."""
    pixels = ((line["h"] - 1) // line["stride"] + 1) * ((line["w"] - 1) // line["stride"] + 1)
    depthwise = line["groups"] == line["cin"] > 1
    # torch's own depthwise kernels add the bias as they go
    *kernels, added = taken if len(taken) > 1 and not depthwise else [*taken, 0.0]
    tensor = line["dtype"] == "float32" and line["tf32"]
    cost = convolution(
        mode="tf32" if tensor else line["dtype"],
        channels_last=line["channels_last"],
        transposed=False,
        inner=line["cin"],
        outer=line["cout"],
        groups=line["groups"],
        taps=line["k"] ** 2,
        stride=line["stride"],
        dilation=line["dilation"],
        pixels=pixels,
    )
    _append(columns, _row(cost, kernels, "tf32" if tensor else line["dtype"]))
    return pixels * line["cout"] * ITEMSIZE[line["dtype"]], added


def _row(cost: NodeCost, kernels: Sequence[float], mode: str = "") -> dict[str, Any]:
    """A convolution as the table has it."""
    said = {name: getattr(cost, name) for name in _SAID_OF_A_CONVOLUTION}
    inner, outer = cost.channels
    taken = {"kernels": len(kernels), "us": round(sum(kernels), 2)}
    return {**said, "inner": inner, "outer": outer, "mode": mode or cost.dtype, **taken}


def _costs(line: Line) -> list[NodeCost]:
    """What a line's operation asks of a device, node by node."""
    made = bench(line)
    workload = resolve(Call(made.model, made.inputs, dtype=made.dtype))
    costs = node_costs(run_trace(workload, "meta", holders=False))
    return [cost for cost in costs if cost.family != "view"]


def _by_node(
    costs: Sequence[NodeCost], taken: Sequence[float]
) -> Iterator[tuple[NodeCost, Sequence[float]]]:
    """The kernels of each node, where that is clear: there is one node, or a kernel for each."""
    if len(costs) == 1:
        yield costs[0], taken
    elif len(costs) == len(taken):
        yield from ((cost, [us]) for cost, us in zip(costs, taken, strict=True))


def _add(columns: dict[str, list[Any]], cost: NodeCost, taken: Sequence[float]) -> None:
    product = cost.product or (0, 0, 0, 0)
    sizes = dict(zip(("batch", "rows", "columns", "depth"), product, strict=True))
    said = {name: getattr(cost, name) for name in _SAID}
    timed = {"kernels": len(taken), "us": round(sum(taken), 2)}
    _append(columns, {**said, **sizes, "mode": cost.dtype, "read": cost.read, **timed})


def _append(columns: dict[str, list[Any]], row: Mapping[str, Any]) -> None:
    for name, value in row.items():
        columns[name].append(value)


def _columns(kind: type[_Part], columns: Mapping[str, list[Any]]) -> _Part:
    return kind(**{field.name: tuple(columns[field.name]) for field in fields(kind)})
