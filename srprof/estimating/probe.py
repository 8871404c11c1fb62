"""Traces of one network at one size after another, each made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

from torch import nn

from srprof.analysis import Analysis
from srprof.errors import InputError, ModelError, SrprofError
from srprof.estimating.record import SizedCall
from srprof.figures import PeakFigure
from srprof.inputs import TensorSpec, check_shape, first_image, images_of, with_images
from srprof.progress import Progress, silent
from srprof.records import Trace
from srprof.tiling.sizes import SizeRule, size_rule
from srprof.tracing.run import Series, run_trace
from srprof.workload import Workload

Shape = tuple[int, ...]

#: Analyses that are kept: the sizes that a search ends at are asked for again.
_KEPT = 16


@dataclass
class Probe:
    """What calls of a network take, by the image's shape.

    Attributes:
        workload: with the image at any size; further images keep their proportion to it, other
            inputs stay as they are.
        peak: that is asked for.
        analyzed: the analysis of a trace, with what the user says of allocator and profile.
        traced: the trace of a call of the network, whose traces may share an instance.
        profile: its title, "" if there is none.
        command: that asks.
        error: the first that the network raised at a size that it may not take.
        proportional: whether the first square image gave one in proportion; None before it.
        refused: errors by shapes at which bytes were asked for.
    """

    workload: Workload
    peak: PeakFigure
    analyzed: Callable[[Trace], Analysis]
    profile: str = ""
    progress: Progress = silent
    traced: Callable[[Workload], Trace] = field(default_factory=lambda: Series("meta").trace)
    command: str = "fit"
    traces: int = 0
    error: ModelError | None = None
    proportional: bool | None = None
    refused: dict[Shape, SrprofError] = field(default_factory=dict)
    _found: dict[Shape, tuple[float, float]] = field(default_factory=dict)
    _recent: OrderedDict[Shape, Analysis | SrprofError] = field(
        default_factory=OrderedDict, repr=False
    )

    @property
    def image(self) -> TensorSpec:
        """The call's first image.

        Raises:
            InputError: it takes none.
        """
        call = self.workload.args, self.workload.kwargs
        return first_image(
            call, f"{self.command} changes the size of an image", "give --input NxCxHxW"
        )

    @property
    def several(self) -> bool:
        """Whether the call takes further images."""
        return len([*images_of((self.workload.args, self.workload.kwargs))]) > 1

    def call(self, shape: Shape) -> Workload:
        """The workload with its first image of this shape, and others in their proportion to it.

        Raises:
            InputError: torch cannot count so large a tensor, or another image is none of that size.
        """
        image = self.image
        check_shape(shape, image.dtype)
        args, kwargs = with_images((self.workload.args, self.workload.kwargs), image, shape)
        return replace(self.workload, args=args, kwargs=kwargs)

    def analysis(self, shape: Shape) -> Analysis:
        """One run on the meta device with an image of this shape; the last few are kept.

        Raises:
            InputError: torch cannot count so large a tensor, or needs the image's data.
            ModelError: the network raised.
        """
        found = self._recent.get(shape)
        if found is None:
            try:
                found = self._run(self.call(shape), self.traced)
            except SrprofError as error:
                found = error
            self._recent[shape] = found
            if len(self._recent) > _KEPT:
                self._recent.popitem(last=False)
        if isinstance(found, SrprofError):
            raise found
        return found

    def _run(self, workload: Workload, traced: Callable[[Workload], Trace]) -> Analysis:
        self.traces += 1
        self.progress("sizes tried", self.traces, self.traces)
        return self.analyzed(traced(workload))

    def takes(self, side: int) -> bool:
        """Whether the network takes a square image, and gives one in proportion.

        Proportion is not asked of one whose first result is in none: it pads nothing.
        """
        shape = (*self.image.shape[:-2], side, side)
        try:
            record = self.analysis(shape).trace
        except ModelError as error:
            self.error = self.error or error
            return False
        except InputError:
            return False
        proportional = _in_proportion(record.result_shape, side, self.workload.scale)
        if self.proportional is None:
            self.proportional = proportional
        return proportional or not self.proportional

    def rule(self) -> SizeRule:
        """The sides that the network takes.

        Raises:
            InputError: it cannot be traced without data.
            ModelError: it raises at every size that was tried.
        """
        height, width = self.image.shape[-2:]
        rule = size_rule(self.takes, (height,) if height == width else ())
        if rule is None:
            raise self._takes_none()
        return rule

    def _takes_none(self) -> Exception:
        """Why no size was taken."""
        error = self.error
        return self.needs_data() or ModelError(
            f"{self.workload.name} takes no square image of any side that was tried, up to 512: "
            f"{error or 'what it gives is not in proportion to the image'}; give --input NxCxHxW, "
            "of a size that it takes",
            file=error.file if error else "",
            line=error.line if error else 0,
            module=error.module if error else "",
        )

    def needs_data(self) -> InputError | None:
        """The error of a network that cannot be run without data; None if that is not why."""
        try:
            reason = run_trace(self.workload, "auto", holders=False).fallback
        except SrprofError:
            return None
        if not reason:
            return None
        return InputError(
            f"{self.workload.name} needs the values of its image ({reason}), and {self.command} "
            "tries sizes without any; srprof analyze runs it at one size"
        )

    def needs(self, shape: Shape) -> float:
        """Bytes of the peak that is asked for; infinite where there is no such call."""
        return self._bytes(shape)[0]

    def requests(self, shape: Shape) -> float:
        """Bytes that never fall with the size, and are no more than `needs`."""
        return self._bytes(shape)[1]

    def _bytes(self, shape: Shape) -> tuple[float, float]:
        if shape not in self._found:
            try:
                analysis = self.analysis(shape)
            except SrprofError as error:
                self.refused[shape] = error
                self._found[shape] = inf, inf
            else:
                needed, least = self.peak.at(analysis).nbytes, self.peak.least
                self._found[shape] = needed, needed if least is None else least(analysis)
        return self._found[shape]

    def record(self, shape: Shape, build: Callable[[str], nn.Module] | None = None) -> SizedCall:
        """All peaks of a call with an image of this shape, and its latency.

        `build` makes another module in the network's place.
        """
        if build is None:
            analysis = self.analysis(shape)
        else:
            call = replace(self.call(shape), build=build)
            analysis = self._run(call, lambda call: run_trace(call, "meta", holders=False))
        latency = analysis.latency
        return SizedCall(
            shape=shape,
            result=analysis.trace.result_shape,
            peaks={name: peak.nbytes for name, peak in analysis.peaks.items()},
            predicted_ms=None if latency is None else 1e3 * latency.seconds,
        )


def _in_proportion(result: Shape, side: int, scale: int | None) -> bool:
    """Whether a result's size is the image's times the scale, where there is one."""
    if len(result) < 4:
        return True
    height, width = result[-2:]
    if scale is not None:
        return height == width == scale * side
    return height == width > 0 and (height % side == 0 or side % height == 0)
