"""The search for the largest size or batch, and for the way in which an image fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite, prod

from srprof.codec import made_of
from srprof.errors import InputError, ModelError, NoFitError, SrprofError
from srprof.estimating.probe import Probe, Shape
from srprof.estimating.record import SizedCall
from srprof.memory.budget import largest_growing, largest_within
from srprof.sizing.image import Planner
from srprof.sizing.record import Fit, Image
from srprof.tiling.locality import locality
from srprof.tiling.sizes import SizeRule, size_rule
from srprof.tracing.isolation import isolated
from srprof.words import least_size, mib_size, shape_text

#: No side and no batch is tried beyond this index.
_END = 2**24
#: Where the batch and the frames stand in an input's shape.
_AXES = {"batch": 0, "frames": 1}
#: No more frames are tried to find out which numbers of them the network takes.
_MOST_FRAMES = 16

#: Shapes by their index in the row of growing ones.
Row = Callable[[int], Shape]


@dataclass(frozen=True)
class Search:
    """Questions to one network: a probe, the budget in bytes, and width : height."""

    probe: Probe
    budget: int
    aspect: tuple[int, int]

    def size(self, image: tuple[int, int] | None = None) -> Fit:
        """The largest size, and how an image fits."""
        rule = self._rule()
        before = self.probe.image.shape[:-2]  # batch, channels; of a video the frames too

        def row(index: int) -> Shape:
            return (*before, *_size(rule, index, self.aspect))

        found = self._largest(row, 1 if rule.step is None else _END)
        answer = self._answer("size", rule, row, found)
        if image is None:
            return answer
        planned = self._image(image, rule)
        return replace(answer, image=planned, traces=self.probe.traces)

    def along(self, what: str) -> Fit:
        """The largest batch, or the most frames of a video, at the input's size.

        Raises:
            InputError: the input is no video, and frames are asked for.
        """
        shape, axis = self.probe.image.shape, _AXES[what]
        if what == "frames" and len(shape) != 5:
            raise InputError(f"{shape_text(shape)} has no frames: give --input NxTxCxHxW")
        rule = self._counts(axis) if what == "frames" else SizeRule(1, 1)

        def row(index: int) -> Shape:
            return (*shape[:axis], rule.side(index), *shape[axis + 1 :])

        end = 1 if rule.step is None else _END
        return self._answer(what, None, row, self._largest(row, end))

    def _counts(self, axis: int) -> SizeRule:
        """The numbers of frames that the network takes; raises what it raises if it takes none."""
        shape, failed = self.probe.image.shape, list[SrprofError]()

        def takes(count: int) -> bool:
            if count > _MOST_FRAMES:
                return False
            try:
                self.probe.analysis((*shape[:axis], count, *shape[axis + 1 :]))
            except (InputError, ModelError) as error:
                failed.append(error)
                return False
            return True

        rule = size_rule(takes, (shape[axis], 7, 3))
        if rule is None:
            raise self.probe.needs_data() or failed[0]
        return rule

    @property
    def _name(self) -> str:
        return self.probe.workload.name

    def _rule(self) -> SizeRule:
        """The sides that the network takes.

        Raises:
            InputError: it cannot be traced without data, or has one size and another aspect.
            ModelError: it raises at every size that was tried.
        """
        rule = self.probe.rule()
        if rule.step is None and self.aspect[0] != self.aspect[1]:
            raise InputError(
                f"{self._name} takes images of {rule.least}x{rule.least} only: leave the aspect out"
            )
        return rule

    def _largest(self, row: Row, end: int) -> int:
        """Index of the largest that fits.

        Raises:
            NoFitError: none does; what the smallest needs. Else, what the first call raises.
        """

        def of(count: Callable[[Shape], float]) -> Callable[[int], float]:
            return lambda index: count(row(index))

        needs, area = of(self.probe.needs), of(prod)
        if self.probe.peak.least is not None:  # it may fall while the size grows
            found = largest_within(needs, of(self.probe.requests), self.budget, area, end)
        else:
            found = largest_growing(needs, self.budget, area, end)
        if found is None:
            raise self._too_little(row(0))
        return found

    def _too_little(self, smallest: Shape) -> Exception:
        """The budget is below what the smallest call needs."""
        if smallest in self.probe.refused:
            return self.probe.needs_data() or self.probe.refused[smallest]
        net = self.probe.analysis(smallest).memory.net
        least = least_size(self.probe.needs(smallest))
        weights = f"too small for {self._name}"
        if self.budget < net:
            weights = f"below {self._name}'s weights alone, {mib_size(net)}"
        return NoFitError(
            f"a budget of {mib_size(self.budget)} is {weights}: the least that is possible is "
            f"{least} of {self.probe.peak.name} memory, for an input of {shape_text(smallest)}"
        )

    def _answer(self, grows: str, rule: SizeRule | None, row: Row, largest: int) -> Fit:
        """The largest call that fits and the one after it."""
        workload, after = self.probe.workload, row(largest + 1)
        following: SizedCall | None = None
        notes: tuple[str, ...] = ()
        if (rule is None or rule.step is not None) and isfinite(self.probe.needs(after)):
            following = self.probe.record(after)
        elif after in self.probe.refused:
            notes = (f"nothing larger: at {shape_text(after)}, {self.probe.refused[after]}",)
        return made_of(
            Fit,
            workload,
            dtype=workload.run_dtype,
            budget=self.budget,
            memory=self.probe.peak.name,
            grows=grows,
            largest=self.probe.record(row(largest)),
            following=following,
            rule=rule,
            aspect=self.aspect,
            profile=self.probe.profile,
            traces=self.probe.traces,
            notes=notes,
        )

    def _image(self, image: tuple[int, int], rule: SizeRule) -> Image:
        """The image whole if it fits, else in tiles, else why not.

        Raises:
            InputError: the network does not take its size.
        """
        wrong = [side for side in image if rule.at_least(side) != side]
        if wrong:
            sides = ", ".join(str(rule.side(i)) for i in range(3))
            takes = f"only {rule.least}" if rule.step is None else f"{sides}, ..."
            size = f"image {image[0]}x{image[1]}"
            what = f"{self._name} does not take {wrong[0]} pixels, but {takes}"
            raise InputError(f"{size}: {what}; pad the image")
        whole = self.probe.record((*self.probe.image.shape[:-2], *image))
        if whole.peaks[self.probe.peak.name] <= self.budget:
            return Image(whole, True)
        if len(whole.shape) != 4:
            return Image(whole, False, reason=f"{shape_text(whole.shape)} is not cut into tiles")
        if self.probe.several:
            return Image(whole, False, reason="a call of several images is not cut into tiles")
        with isolated([]), self.probe.workload.environment():
            # from runs of a real instance on the CPU
            local = locality(self.probe.workload.build("cpu"), self.probe.image.shape[1])
        return Planner(self.probe, rule, local, self.budget, whole).plan()


def _size(rule: SizeRule, index: int, aspect: tuple[int, int]) -> tuple[int, int]:
    """Height and width by the index of the longer side; the other is the nearest there is."""
    wide, high = aspect
    longer = rule.side(index)
    wanted = longer * min(wide, high) / max(wide, high)
    below = rule.side(rule.index(int(wanted)))
    above = rule.at_least(below + 1)
    shorter = below if wanted - below <= above - wanted else min(above, longer)
    return (shorter, longer) if wide >= high else (longer, shorter)
