"""The figures that srprof states of a network, one row each.

What limits, compares, ranks, sweeps, draws or prints figures takes their names, titles, units and
order from here. A new figure is a row, and a new peak a row with the function that computes it.
No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.quantities import Kind
from srprof.words import MIB, did_you_mean, hint

if TYPE_CHECKING:
    from srprof.analysis.record import AnalysisRecord
    from srprof.analysis.run import Analysis
    from srprof.memory.model import Peak
    from srprof.records import Trace

Levels = Callable[["Trace", int], Sequence[int]]

_KINDS: Mapping[str, Kind] = {"MiB": "bytes", "ms": "time"}


@dataclass(frozen=True)
class Figure:
    """A figure of an analysis.

    Attributes:
        name: in options, files and columns. title: within a sentence.
        unit, factor, decimals: of a person's table, which prints value / factor.
        of: the value in bytes, plain counts or ms; None where it is not known.
        meaning: what is counted.
        aliases: older names, which are read as well.
        older_key: its name in JSON objects, where that is another.
    """

    name: str
    title: str
    unit: str
    factor: float
    decimals: int
    of: Callable[[AnalysisRecord], float | None]
    meaning: str
    aliases: tuple[str, ...] = ()
    older_key: str = ""

    @property
    def kind(self) -> Kind:
        """What it counts."""
        return _KINDS.get(self.unit, "count")

    @property
    def key(self) -> str:
        """Its name in JSON objects on an analysis."""
        return self.older_key or self.name


@dataclass(frozen=True, kw_only=True)
class PeakFigure(Figure):
    """A peak of memory.

    Attributes:
        at: the peak and its node, from what an analysis has.
        located: whether it is reached at a node.
        least: bytes that it is never below, and that never fall while the image grows; None where
            that is so of the peak itself.
        levels: bytes at the end of each node of a run, each storage a multiple of the granularity;
            None for a peak that `srprof advise` cannot lower.
    """

    at: Callable[[Analysis], Peak]
    located: bool = True
    least: Callable[[Analysis], int] | None = None
    levels: Levels | None = None


def peak(name: str, meaning: str, at: Callable[[Analysis], Peak], **more: Any) -> PeakFigure:
    """The row of a peak; `more` is what else `PeakFigure` has."""

    def of(record: AnalysisRecord) -> float | None:
        return record.memory.peak.get(name)

    older = (f"peak.{name}",)
    return PeakFigure(name, f"{name} peak", "MiB", MIB, 2, of, meaning, older, at=at, **more)


def _count(
    name: str, unit: str, factor: float, decimals: int, meaning: str, title: str = "", key: str = ""
) -> Figure:
    """The row of a count of complexity; `key` is its name there, where that is older."""

    def of(record: AnalysisRecord) -> float | None:
        return getattr(record.complexity, key or name, None)

    older = (key,) if key else ()
    return Figure(name, title or name, unit, factor, decimals, of, meaning, older, key)


def _requested(analysis: Analysis) -> int:
    """What is requested, which the allocator's blocks are at least."""
    return analysis.cold.peak_requested


def _planned(trace: Trace, granularity: int) -> list[int]:
    from srprof.memory.model import memory_model

    return [parts.planned for parts in memory_model(trace, granularity).parts]


def _eager(trace: Trace, granularity: int) -> list[int]:
    from srprof.memory.model import referenced

    return referenced(trace, granularity)


def _allocated(trace: Trace, granularity: int) -> Sequence[int]:
    from srprof.memory.simulation import simulate

    return simulate([trace]).images[-1].allocated


#: All figures, in the order of a report. After the peaks stands what they contain.
# fmt: off
FIGURES: tuple[Figure, ...] = (
    peak("planned", "what a perfect executor needs: the paper's model",
         lambda a: a.memory.planned, levels=_planned),
    peak("eager", "what eager PyTorch references",
         lambda a: a.memory.eager, levels=_eager),
    peak("allocated", "as torch.cuda.max_memory_allocated()",
         lambda a: a.simulation.allocated, least=_requested, levels=_allocated),
    peak("reserved", "as torch.cuda.max_memory_reserved()",
         lambda a: a.simulation.reserved, located=False, least=_requested),
    Figure("net", "net", "MiB", MIB, 2, lambda r: r.memory.net, "parameters and buffers"),
    _count("params", "M", 1e6, 3, "all parameters"),
    _count("flops", "G", 1e9, 2, "as the NTIRE challenge of 2022 counts, per image",
           "FLOPs", "flops_ntire"),
    _count("fvcore_flops", "G", 1e9, 2, "as fvcore counts, and since 2024 the NTIRE challenge",
           "fvcore's FLOPs"),
    _count("macs", "G", 1e9, 2, "true multiply-accumulates of all ops", "MACs"),
    _count("activations", "M", 1e6, 2, "elements of convolution outputs"),
    _count("convs", "", 1, 0, "convolution calls"),
    Figure("latency_ms", "latency", "ms", 1, 2,
           lambda r: None if r.latency is None else r.latency.predicted_ms,
           "predicted for a device", aliases=("latency",)),
)
# fmt: on


def peaks() -> tuple[PeakFigure, ...]:
    """The peaks, from the most ideal to the most real."""
    return tuple(figure for figure in FIGURES if isinstance(figure, PeakFigure))


def peak_names() -> tuple[str, ...]:
    """What an option that asks for a peak takes."""
    return tuple(figure.name for figure in peaks())


def lowered_names() -> tuple[str, ...]:
    """Of the peaks that `srprof advise` can lower."""
    return tuple(figure.name for figure in peaks() if figure.levels is not None)


def counts() -> tuple[Figure, ...]:
    """The figures of complexity."""
    return tuple(figure for figure in FIGURES if figure.kind == "count")


def names() -> tuple[str, ...]:
    """Of all figures."""
    return tuple(figure.name for figure in FIGURES)


def known(name: str) -> Figure | None:
    """A figure by its name or an older one; None if there is none."""
    return next((f for f in FIGURES if name == f.name or name in f.aliases), None)


def find(name: str) -> Figure:
    """A figure by its name or an older one; an InputError names the nearest if there is none."""
    figure = known(name)
    if figure is None:
        raise InputError(f"unknown metric {name!r}: {suggestion(name)}")
    return figure


def kinds() -> Mapping[str, Kind]:
    """What each counts, by its name and then by the older ones."""
    older = {alias: figure.kind for figure in FIGURES for alias in figure.aliases}
    return {figure.name: figure.kind for figure in FIGURES} | older


def suggestion(name: str, *others: str) -> str:
    """The nearest name, of figures and of others, for one that is none; else all of them."""
    older = (alias for figure in FIGURES for alias in figure.aliases)
    listed = (*names(), *others)
    return did_you_mean(name, (*listed, *older)) or hint(name, listed)


def find_peak(name: str) -> PeakFigure:
    """A peak by its name; an InputError if it is none."""
    figure = known(name)
    if not isinstance(figure, PeakFigure):
        raise InputError(f"memory {name!r} is not one of {', '.join(peak_names())}")
    return figure
