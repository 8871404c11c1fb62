"""From lines of measured operations to a table: what each asks of a device beside what it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from statistics import median
from typing import Any, TypeVar

from srprof.calibration.operations import Line, bench
from srprof.call import Call
from srprof.cost.classes import NodeCost, bias_cost, node_costs
from srprof.cost.measured import Row
from srprof.cost.tables import Convolutions, Operations, convolution
from srprof.inputs import ITEMSIZE
from srprof.ops import CONVOLUTIONS, VECTOR
from srprof.tracing.run import run_trace
from srprof.workload import resolve

#: Parts of the names of kernels that copy plain maps into channels-last ones, and back, and of what
#: sets memory to zero.
_INTO = ("nchwToNhwc", "tensorTransform")
_BACK = ("nhwcToNchw", "nchwAddPadding")
_ZEROING = "Memset"

_Part = TypeVar("_Part", Convolutions, Operations)

#: What `NodeCost` says of an operation that is no convolution, and its table has.
_SAID = (
    "op",
    "variant",
    "family",
    "read",
    "written",
    "strided",
    "gathered",
    "serial",
    "row",
    "single",
)
_SAID_OF_A_CONVOLUTION = (
    *("channels_last", "transposed", "groups", "taps", "stride", "dilation", "pixels"),
)


def tabulate(lines: Iterable[Line]) -> tuple[Convolutions, Operations]:
    """The columns of measured operations.

    Each of the `lines` names an operation as `srprof.calibration.operations` does, with `kernels`,
    the name or number and the microseconds of each that one call launched, in order. A kernel that
    adds a bias is a row of its own.
    """
    return columns(_rows(lines))


def columns(rows: Iterable[Row]) -> tuple[Convolutions, Operations]:
    """The columns of a table of these rows; `srprof.cost.tables.rows_of` gives them back."""
    convolutions: dict[str, list[Any]] = defaultdict(list)
    operations: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        is_one = row.cost.family in CONVOLUTIONS
        into, said = (convolutions, _convolution) if is_one else (operations, _operation)
        timed = {"mode": row.mode, "kernels": row.kernels, "us": round(1e6 * row.seconds, 2)}
        if is_one:
            timed["uncopied"] = round(1e6 * row.uncopied, 2)
        for name, value in {**said(row.cost), **timed}.items():
            into[name].append(value)
    return _columns(Convolutions, convolutions), _columns(Operations, operations)


def row_of(cost: NodeCost, taken: Sequence[float], mode: str = "") -> Row:
    """A row of the microseconds of its kernels; `mode` is its dtype where that is left out."""
    return Row(cost, mode or cost.dtype, len(taken), 1e-6 * round(sum(taken), 2))


def _rows(lines: Iterable[Line]) -> Iterator[Row]:
    """The rows of lines, the biases last: one for each size of what they are added to."""
    biases: dict[tuple[str, int], list[float]] = defaultdict(list)
    for line in lines:
        taken = [us for _, us in line.get("kernels", ())]
        if not taken:
            continue
        if line["op"] == "conv2d":
            row, added = _of_convolution(line, taken)
            yield row
            if added:
                biases[line["dtype"], row.cost.written].append(added)
        else:
            yield from (row_of(cost, kernels) for cost, kernels in _by_node(_costs(line), taken))
    for (dtype, nbytes), times in sorted(biases.items()):
        yield row_of(bias_cost(dtype, nbytes), [median(times)])


def _of_convolution(line: Line, taken: Sequence[float]) -> tuple[Row, float]:
    """A convolution's row, and the microseconds of adding its bias, where a kernel does that."""
    pixels = ((line["h"] - 1) // line["stride"] + 1) * ((line["w"] - 1) // line["stride"] + 1)
    depthwise = line["groups"] == line["cin"] > 1
    # torch's own depthwise kernels, of plain maps, add the bias as they go
    adds = len(taken) > 1 and (line["channels_last"] or not depthwise)
    *kernels, added = taken if adds else [*taken, 0.0]
    mode = "tf32" if line["dtype"] == "float32" and line["tf32"] else line["dtype"]
    cost = convolution(
        mode=mode,
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
    row = row_of(cost, kernels, mode)
    if not line["channels_last"] and cost.family == "conv":
        row = replace(row, uncopied=1e-6 * round(_uncopied(line, len(kernels)), 2))
    return row, added


def _uncopied(line: Line, kernels: int) -> float:
    """Microseconds of a convolution of plain maps that one of channels-last maps needs too.

    cuDNN copies the image, the filters and the result, what is to be filled up after a kernel that
    sets it to zero. Channels that are no whole vectors are filled up in channels-last maps too. 0
    where nothing is copied: its kernel is not the one that channels-last maps have.
    """
    names = [str(name) for name, _ in line["kernels"][:kernels]]
    taken = [float(us) for _, us in line["kernels"][:kernels]]
    into = [place for place, name in enumerate(names) if any(part in name for part in _INTO)]
    if not into:
        return 0.0
    zeroed = {n: taken[n - 1] for n in into if n and _ZEROING in names[n - 1]}
    image, *filters = (taken[n] + zeroed.get(n, 0.0) for n in into)
    back = sum(
        us for us, name in zip(taken, names, strict=True) if any(part in name for part in _BACK)
    )
    whole = (n * ITEMSIZE[line["dtype"]] % VECTOR == 0 for n in (line["cin"], line["cout"]))
    copies = sum(us for us, left_out in zip((image, back), whole, strict=True) if left_out)
    return sum(taken) - copies - sum(filters)


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


def _convolution(cost: NodeCost) -> dict[str, Any]:
    """A convolution as the table has it."""
    said = {name: getattr(cost, name) for name in _SAID_OF_A_CONVOLUTION}
    return said | dict(zip(("inner", "outer"), cost.channels, strict=True))


def _operation(cost: NodeCost) -> dict[str, Any]:
    """Another operation as the table has it."""
    said = {name: getattr(cost, name) for name in _SAID}
    product = cost.product or (0, 0, 0, 0)
    return said | dict(zip(("batch", "rows", "columns", "depth"), product, strict=True))


def _columns(kind: type[_Part], columns: Mapping[str, list[Any]]) -> _Part:
    return kind(**{field.name: tuple(columns[field.name]) for field in fields(kind)})
