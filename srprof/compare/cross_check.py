"""fvcore's count beside ours: parameters, FLOPs and activations, operator by operator.

fvcore traces a real forward with `torch.jit`, so the network runs on the CPU with all that it
computes. Two counts at small sizes say what one at a large size would be, if each operator's
count grows with the pixels at a fixed rate. Three sizes show whether fvcore's counts do, and
srprof's own traces, which cost nothing, whether each node's work does so up to the input's size.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from srprof.blame import blame
from srprof.cost.complexity import CONVOLUTIONS, challenge_flops, macs
from srprof.cost.fvcore import fvcore_flops_of_nodes
from srprof.errors import InputError, ModelError, user_raised
from srprof.inputs import TensorSpec
from srprof.ops import CONVOLUTIONS as CONVOLUTION_FAMILIES
from srprof.ops import row
from srprof.records import Node, Trace
from srprof.tracing.isolation import isolated
from srprof.tracing.run import run_trace
from srprof.workload import Instance, Workload

Size = tuple[int, int]
How = Literal["scaled", "full", "small", "none"]

#: Bytes of activations that one real run may make: torch.jit keeps many until the run has ended.
_MOST_BYTES = 2**32

#: Sides of the small images. Each gives three sizes, of which one is not square.
_SIDES = (32, 64)

_CONVOLUTION, _PRODUCT, _NORM = "convolution", "matrix product", "normalization"
#: fvcore's operators by kind; those that are missing here stand for themselves.
_FVCORE_KINDS = {
    "conv": _CONVOLUTION,
    **dict.fromkeys("addmm bmm einsum linear matmul mm".split(), _PRODUCT),
    **dict.fromkeys("batch_norm group_norm instance_norm layer_norm".split(), _NORM),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_nearest2d"), "interpolation"),
    "adaptive_avg_pool2d": "pooling",
    "grid_sampler": "sampling",
}
#: Modules that the challenge counts by kind; the others that it counts are activation functions.
_MODULE_KINDS = dict.fromkeys(CONVOLUTIONS, _CONVOLUTION)
_MODULE_KINDS |= {"Linear": _PRODUCT, "BatchNorm2d": _NORM}
#: Our calls by kind, of those that fvcore counts by their elements; the rest are products.
_ELEMENT_KINDS = {
    "mean": "pooling",
    "_adaptive_avg_pool2d": "pooling",
    "grid_sampler_2d": "sampling",
    "grid_sampler_3d": "sampling",
    "upsample_nearest2d": "interpolation",
    "upsample_bilinear2d": "interpolation",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One count twice."""

    ours: int
    fvcore: int

    @property
    def difference(self) -> int:
        """What fvcore counts more."""
        return self.fvcore - self.ours


@dataclass(frozen=True, slots=True)
class Figure(Pair):
    """One figure twice, and what it is made of by kind of operator, the largest first."""

    by_operator: Mapping[str, Pair]


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """fvcore's counts beside ours, of the whole batch.

    Attributes:
        fvcore: its version.
        how: "scaled" from small sizes, which is exact, or run at the "full" size of the input;
            else compared at one "small" size, or not at all: "none".
        ran_at: heights and widths at which fvcore ran the network; () if the input is no image.
        why: it was not scaled, or is not comparable; "" if it was.
        batch: images of the call.
        figures: "params", "flops" (ours are the challenge's of 2022), "macs" (fvcore's are its
            FLOPs), "activations", and "fvcore_flops", by our rules what fvcore counts; {} if it is
            not comparable.
        unsupported: operators that fvcore leaves out of its FLOPs, with their calls.
    """

    fvcore: str
    how: How
    ran_at: tuple[Size, ...]
    why: str
    batch: int
    figures: Mapping[str, Figure]
    unsupported: Mapping[str, int]


class _Counts(NamedTuple):
    """What fvcore counts in one call, FLOPs and activations by its operators."""

    parameters: int
    flops: Mapping[str, int]
    activations: Mapping[str, int]
    unsupported: Mapping[str, int]


class _FvcoreError(Exception):
    """fvcore cannot count the network; the message says why."""


def check_fvcore() -> None:
    """Refuse a cross-check where fvcore is not installed, with an InputError."""
    if find_spec("fvcore") is None:
        raise InputError(
            "--cross-check needs fvcore, which is not installed: pip install fvcore, or leave "
            "the option out"
        )


def cross_check(workload: Workload, trace: Trace) -> CrossCheck:
    """Count a call with fvcore and set its counts beside those of the call's trace.

    An InputError if fvcore is not installed, a ModelError if the network raised in its real run on
    the CPU.
    """
    check_fvcore()
    try:
        return _scaled(workload, trace) or _as_it_is(workload, trace)
    except _FvcoreError as error:
        return _record(trace, "none", (), str(error), None)


def _record(
    trace: Trace, how: How, ran_at: tuple[Size, ...], why: str, counts: _Counts | None
) -> CrossCheck:
    batch = next((e.info.shape[0] for e in trace.inputs if len(e.info.shape) >= 4), 1)
    figures = {} if counts is None else compare_counts(trace, counts)
    unsupported = {} if counts is None else counts.unsupported
    return CrossCheck(version("fvcore"), how, ran_at, why, batch, figures, unsupported)


# -- at which size -------------------------------------------------------------------------------


def _scaled(workload: Workload, trace: Trace) -> CrossCheck | None:
    """The comparison at the input's size from runs at small ones; None where no law holds."""
    full = _image_size(workload)
    for side in _SIDES:
        sizes = ((side, side), (side, 2 * side), (2 * side, 2 * side))
        if full is None or prod(full) <= prod(sizes[-1]):
            return None
        traces = _traced(workload, sizes, trace.device)
        if traces and _grows_evenly([*sizes, full], [*traces, trace]):
            with suppress(ModelError, _FvcoreError):
                counts = _extrapolated(sizes, [_count(_at(workload, s)) for s in sizes], full)
                return _record(trace, "scaled", sizes, "", counts)
    return None


def _as_it_is(workload: Workload, trace: Trace) -> CrossCheck:
    """The comparison at the input's size, or at a small one if that would take too much memory."""
    full = _image_size(workload)
    why = "its counts do not grow with the pixels at a fixed rate"
    if full is None:
        why = "the call has no image, or images of several sizes"
    elif prod(full) <= 4 * _SIDES[0] ** 2:
        why = "the input is small"
    nbytes = sum(storage.nbytes for storage in trace.storages if not storage.resident)
    if nbytes <= _MOST_BYTES:
        return _record(trace, "full", () if full is None else (full,), why, _count(workload))
    why += f", and at its own size a real run would make {nbytes / 2**30:.1f} GiB of tensors"
    for side in _SIDES if full is not None else ():
        size = (2 * side, 2 * side)
        for small in _traced(workload, [size], trace.device):
            return _record(small, "small", (size,), why, _count(_at(workload, size)))
    raise _FvcoreError(why)


def _image_size(workload: Workload) -> Size | None:
    """Height and width of the call's images; None if there is none, or they differ."""
    leaves = tree_leaves((workload.args, workload.kwargs))
    specs = [leaf for leaf in leaves if isinstance(leaf, TensorSpec)]
    sizes = {spec.shape[-2:] for spec in specs if len(spec.shape) >= 4}
    if len(sizes) != 1 or any(isinstance(leaf, torch.Tensor) for leaf in leaves):
        return None
    ((height, width),) = sizes
    return height, width


def _at(workload: Workload, size: Size) -> Workload:
    """The same call with images of another size."""

    def resized(spec: TensorSpec) -> TensorSpec:
        image = len(spec.shape) >= 4
        return replace(spec, shape=(*spec.shape[:-2], *size)) if image else spec

    args, kwargs = tree_map_only(TensorSpec, resized, (workload.args, workload.kwargs))
    return replace(workload, args=args, kwargs=kwargs)


def _traced(workload: Workload, sizes: Sequence[Size], trace_on: str) -> list[Trace]:
    """The traces at other sizes; none if the network does not take one of them."""
    try:
        return [run_trace(_at(workload, size), trace_on, holders=False) for size in sizes]
    except (InputError, ModelError):
        return []


def _grows_evenly(sizes: Sequence[Size], traces: Sequence[Trace]) -> bool:
    """Whether the calls are the same at all sizes and each one's work is affine in the pixels."""
    if len({tuple(node.op for node in trace.nodes) for trace in traces}) > 1:
        return False
    pixels = [prod(size) for size in sizes]
    return all(
        is_affine(pixels, counts)
        for counts in zip(*map(fvcore_flops_of_nodes, traces), strict=True)
    )


def is_affine(pixels: Sequence[int], values: Sequence[int]) -> bool:
    """Whether values are a constant and a part proportional to the pixels."""
    (p, q), (v, w) = pixels[:2], values[:2]
    return all(
        (value - v) * (q - p) == (w - v) * (pixel - p)
        for pixel, value in zip(pixels, values, strict=True)
    )


def _extrapolated(sizes: Sequence[Size], counts: Sequence[_Counts], full: Size) -> _Counts:
    """The counts at the full size; an _FvcoreError if one of them is not affine in the pixels."""
    if any(count.unsupported != counts[0].unsupported for count in counts):
        raise _FvcoreError("it leaves out other operators at other sizes")
    pixels = [prod(size) for size in sizes]

    def at_full_size(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
        result = {}
        for operator in counts[0]:
            values = [count.get(operator, 0) for count in counts]
            if not is_affine(pixels, values):
                raise _FvcoreError(f"{operator} does not grow with the pixels at a fixed rate")
            rise = (values[1] - values[0]) * (prod(full) - pixels[0])
            result[operator] = values[0] + rise // (pixels[1] - pixels[0])
        return result

    flops = at_full_size([count.flops for count in counts])
    activations = at_full_size([count.activations for count in counts])
    return counts[0]._replace(flops=flops, activations=activations)


# -- fvcore --------------------------------------------------------------------------------------


class _Call(nn.Module):
    """A call whose inputs and result are only tensors, as torch.jit wants them."""

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self.model = instance.model
        self._leaves, self._form = tree_flatten((instance.args, instance.kwargs))
        self.tensors = tuple(leaf for leaf in self._leaves if isinstance(leaf, torch.Tensor))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = iter(tensors)
        leaves = [next(given) if isinstance(x, torch.Tensor) else x for x in self._leaves]
        args, kwargs = tree_unflatten(leaves, self._form)
        result = tree_leaves(self.model(*args, **kwargs))
        return tuple(leaf for leaf in result if isinstance(leaf, torch.Tensor))


def _count(workload: Workload) -> _Counts:
    """What fvcore counts in real runs on the CPU, each of a fresh instance; raises as `_errors`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore's import and torch.jit's tracer have many
        from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis, parameter_count

        with isolated([]), workload.environment(), _errors(workload), torch.no_grad():
            call, again = (_Call(workload.instance("cpu")) for _ in range(2))
            flops = _quiet(FlopCountAnalysis(call, call.tensors))
            activations = _quiet(ActivationCountAnalysis(again, again.tensors))
            return _Counts(
                parameters=int(parameter_count(call)[""]),
                flops={name: int(count) for name, count in flops.by_operator().items()},
                activations={name: int(count) for name, count in activations.by_operator().items()},
                unsupported=dict(flops.unsupported_ops()),
            )


def _quiet(analysis: Any) -> Any:
    """An analysis of fvcore that logs nothing."""
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


@contextmanager
def _errors(workload: Workload) -> Iterator[None]:
    """What is raised in here becomes the network's error, at its line, or fvcore's."""
    try:
        yield
    except (InputError, ModelError):
        raise
    except user_raised() as error:
        where = blame(error)
        reason = where.describe(error)
        if not where.file or f"{os.sep}fvcore{os.sep}" in where.file:
            raise _FvcoreError(f"fvcore cannot count it: {reason}") from error
        what = f"{workload.name} raised {reason}, in the real run on the CPU that fvcore counts"
        raise ModelError(what, file=where.file, line=where.line) from error


# -- the comparison ------------------------------------------------------------------------------


def compare_counts(trace: Trace, counts: _Counts) -> dict[str, Figure]:
    """Ours and fvcore's, figure by figure."""
    theirs = {"flops": counts.flops, "macs": counts.flops, "activations": counts.activations}
    theirs["fvcore_flops"] = counts.flops
    ours: dict[str, Counter[str]] = {name: Counter() for name in theirs}
    for call in trace.calls:
        kind = _MODULE_KINDS.get(call.kind, "activation function")
        ours["flops"][kind] += challenge_flops(call)
        ours["activations"][kind] += prod(call.output) if call.kind in CONVOLUTIONS else 0
    for node, count in zip(trace.nodes, fvcore_flops_of_nodes(trace), strict=True):
        ours["macs"][_kind(node)] += macs(node) or 0
        ours["fvcore_flops"][_kind(node)] += count
    params = {"params": Figure(trace.parameters, counts.parameters, {})}
    return params | {name: _figure(ours[name], theirs[name]) for name in ours}


def _kind(node: Node) -> str:
    """The kind of an op that one of the two counts."""
    if "scaled_dot_product" in node.op:
        return "attention"
    family = row(node.op).family_of(node)
    by_family = {"norm": _NORM, **dict.fromkeys(CONVOLUTION_FAMILIES, _CONVOLUTION)}
    return _ELEMENT_KINDS.get(node.op) or by_family.get(family, _PRODUCT)


def _figure(ours: Counter[str], operators: Mapping[str, int]) -> Figure:
    """Totals, and every kind that one of the two counts."""
    theirs: Counter[str] = Counter()
    for operator, count in operators.items():
        theirs[_FVCORE_KINDS.get(operator, operator)] += count
    pairs = {k: Pair(ours[k], theirs[k]) for k in ours | theirs if ours[k] or theirs[k]}
    largest_first = sorted(pairs.items(), key=lambda kind: -max(kind[1].ours, kind[1].fvcore))
    return Figure(ours.total(), theirs.total(), dict(largest_first))
