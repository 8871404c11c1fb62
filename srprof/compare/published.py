"""A network's published figures beside ours, each counted as its table counted it.

A published figure belongs to an input and a convention: FLOPs to 256x256, Mult-Adds to an HR image
of 1280x720, the challenge's memory to its largest image. So ours is computed at that input, and not
at the one that the user analyzes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from srprof.analysis.record import Comparison
from srprof.analysis.run import Analysis
from srprof.call import Call
from srprof.cost.complexity import CONVOLUTIONS
from srprof.figures import find
from srprof.memory.model import GRANULARITY
from srprof.records import ModuleCall
from srprof.registry import Convention, Network
from srprof.spec import parse

Count = Callable[[Analysis], float]

#: LR sizes of an HR image of 1280x720; at x3 the field rounds 426.67 up.
LR_OF_720P = {1: (720, 1280), 2: (360, 640), 3: (240, 427), 4: (180, 320)}
#: The challenge's complexity is counted here, and the largest image of its validation set.
COUNTED_AT, LARGEST = (256, 256), (510, 510)


@dataclass(frozen=True, slots=True)
class Measure:
    """A kind of published figure.

    Attributes:
        title, unit: for a person; factor: of the unit; decimals: as tables print it.
        size: LR height and width that it belongs to, by scale; None if it depends on no input.
        counts: ways to count it, the default first, under ""; empty if srprof cannot say it.
        how: what the default counts.
    """

    title: str
    unit: str
    factor: float
    decimals: int
    how: str
    size: Callable[[int], tuple[int, int]] | None = None
    counts: Mapping[str, Count] = field(default_factory=dict)


def _parameters(*tensors: str) -> Count:
    """Numbers in these tensors of the convolutions, each convolution once."""

    def count(analysis: Analysis) -> float:
        paths = {call.path for call in _convolutions(analysis)}
        return sum(
            prod(external.info.shape)
            for external in analysis.trace.externals
            for path, _, name in [external.name.rpartition(".")]
            if external.role == "parameter" and path in paths and name in tensors
        )

    return count


def _convolutions(analysis: Analysis) -> list[ModuleCall]:
    return [call for call in analysis.trace.calls if call.kind in CONVOLUTIONS]


def _mult_adds_at_output_size(analysis: Analysis) -> float:
    return sum(prod(c.weight) * prod(c.output[-2:]) for c in _convolutions(analysis))


def _each_weight_once(analysis: Analysis) -> float:
    return _parameters("weight")(analysis) * prod(_size(analysis))


def _of(figure: str) -> Count:
    """What the figure itself counts."""
    return lambda analysis: analysis.value(figure) or 0


def _measure(
    figure: str, how: str, at: tuple[int, int] | None = None, title: str = "", **counts: Count
) -> Measure:
    """A measure that is a figure of ours, at an input if it depends on one."""
    row = find(figure)
    size = None if at is None else lambda _: at
    counts = {"": _of(figure), **counts}
    return Measure(title or row.title, row.unit, row.factor, row.decimals, how, size, counts)


_PARAMS = _measure(
    "params",
    "all parameters",
    convolutions=_parameters("weight", "bias"),
    weights=_parameters("weight"),
)
_MULT_ADDS = Measure(
    "Mult-Adds", "G", 1e9, 1, "multiply-accumulates at HR 1280x720", LR_OF_720P.__getitem__,
    {
        "": _of("macs"),
        "output size": _mult_adds_at_output_size,
        "each weight once": _each_weight_once,
    },
)  # fmt: skip
_MEMORY = _measure(
    "eager",
    "eager peak at 510x510, the largest image; published: the allocator's, on a GPU",
    LARGEST,
    "memory",
)

#: Figures of ours that this process has computed: by network, variant, input, measure and count.
_computed: dict[tuple[object, ...], float] = {}

#: Published figures by the names that registry entries give them.
MEASURES: Mapping[str, Measure] = {
    "params_M": _PARAMS,
    "params_K": replace(_PARAMS, unit="K", factor=1e3, decimals=0),
    "mult_adds_G": _MULT_ADDS,
    "flops_G": _measure("flops", "the challenge's count at 256x256", COUNTED_AT),
    "activations_M": _measure(
        "activations", "elements of convolution outputs at 256x256", COUNTED_AT
    ),
    "convs": _measure("convs", "convolution calls"),
    "memory_MiB": _MEMORY,
    "memory_256_M": replace(
        _MEMORY, unit="M", decimals=0, how="eager peak at 256x256", size=lambda _: COUNTED_AT
    ),
    "runtime_ms": Measure("run time", "ms", 1, 2, "measured by the challenge, on its GPU"),
    "time_ms": Measure("run time", "ms", 1, 2, "measured for the paper, on its GPU"),
    "psnr_dB": Measure("PSNR", "dB", 1, 2, "measured by the challenge, on DIV2K"),
}


def compare(network: Network, scale: int, known: Iterable[Analysis] = ()) -> list[Comparison]:
    """A network's published figures at a scale, with ours.

    Analyses that are `known`, of the network at this scale in float32, are not made again.
    """
    analyses = {(_key({"scale": scale}), _size(analysis)): analysis for analysis in known}

    def value_of(convention: Convention) -> float | None:
        measure = MEASURES[convention.measure]
        if not measure.counts:
            return None
        variant = {"scale": scale, **convention.arguments}
        size = convention.size or (measure.size(scale) if measure.size else None)
        size = size or next((s for key, s in analyses if key == _key(variant)), COUNTED_AT)
        key = (_key(variant), size)
        shape = (1, convention.channels or network.channels, *size)
        figure = (network.factory, key, shape, convention.measure, convention.count)
        if figure not in _computed:
            if key not in analyses:
                analyses[key] = _analyze(network, variant, shape)
            _computed[figure] = measure.counts[convention.count](analyses[key]) / measure.factor
        return _computed[figure]

    comparisons = []
    for name, published in network.published.get(scale, {}).items():
        measure, agrees = MEASURES[name], None
        convention = network.convention(name, scale) or Convention(name, "")
        ours = value_of(convention)
        if ours is not None:
            digits = printed(ours, measure.decimals, convention.truncated)
            agrees = digits == printed(published, measure.decimals)
        comparison = Comparison(
            measure=name,
            scale=scale,
            row=network.row,
            published=published,
            ours=ours,
            difference=None if ours is None else ours / published - 1,
            agrees=agrees,
            reproducible=convention.reproducible,
            how=convention.text or measure.how,
        )
        comparisons.append(comparison)
    return comparisons


def beside(analysis: Analysis) -> tuple[Comparison, ...]:
    """What is published of an analysed network, if it is one of the zoo's, beside our figures."""
    parsed = parse(analysis.trace.spec)
    network, scale = parsed.network, analysis.trace.scale
    other = parsed.args or not {"scale"}.issuperset(dict(parsed.kwargs))
    if network is None or scale is None or other or scale not in network.published:
        return ()
    images = [e.info for e in analysis.trace.inputs]
    same = analysis.trace.device == "meta" and analysis.granularity == GRANULARITY
    same &= all(i.dtype == "float32" and i.shape[:2] == (1, network.channels) for i in images)
    return tuple(compare(network, scale, [analysis] if same else []))


def printed(value: float, decimals: int, truncated: bool = False) -> str:
    """The digits that a table prints: rounded half up, as people do, or cut off."""
    # what a float lost in the multiplication is not a digit of the figure
    shifted = round(value * 10**decimals, 6)
    digits = math.floor(shifted if truncated else shifted + 0.5)
    return f"{digits / 10**decimals:.{decimals}f}"


def _key(arguments: Mapping[str, object]) -> str:
    return repr(sorted(arguments.items()))


def _size(analysis: Analysis) -> tuple[int, int]:
    height, width = analysis.trace.inputs[0].info.shape[-2:]
    return height, width


def _analyze(network: Network, arguments: Mapping[str, object], shape: tuple[int, ...]) -> Analysis:
    """One run on meta, without asking who holds what."""
    from srprof.tracing.run import trace_call

    words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    call = Call(f"{network.name}({words})", (shape,), trace_on="meta")
    return Analysis(trace_call(call, holders=False))
