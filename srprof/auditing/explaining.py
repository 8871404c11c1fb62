"""Published figures beside predicted ones: equal, or explained, and by what. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from srprof.auditing.record import (
    Cause,
    Construction,
    CountAudit,
    Finding,
    MemoryAudit,
    Predicted,
    TimesAudit,
    mean_of,
)
from srprof.challenge.results import Result
from srprof.paths import place
from srprof.words import MIB, mib_size, some

#: The counts of a row.
COUNTS = ("params", "flops", "activations", "convs")
#: Of a file that has all digits.
_EXACT = 1.0
#: Names that a finding lists.
_LISTED = 8


def counts(row: Result, predicted: Predicted) -> tuple[CountAudit, ...]:
    """The row's counts beside the predicted ones, to the published digits."""
    found = []
    for name in COUNTS:
        published, ours = getattr(row, name), getattr(predicted, name)
        if published is not None:
            near = ours is not None and abs(ours - published) <= row.digits.get(name, _EXACT) / 2
            found.append(CountAudit(name, published, ours, near))
    return tuple(found)


def memory(
    published: float, predicted: Predicted, script: str, digit: float = _EXACT, rule: str = ""
) -> MemoryAudit:
    """A published peak of the first set of images beside the predicted one.

    An image's peak lies between what its program requests and what a fresh program's allocator
    makes of that, by what ran before; the scratch of libraries comes on top.

    Args:
        rule: of `Predicted.by_rule`, that holds for the GPU which the peak is of.
    """
    built, half, ours = predicted.built, digit / 2, predicted.memory_by(rule)
    image = max(predicted.image, predicted.memory if built < predicted.memory else 0)
    if built >= image:
        passes = () if predicted.construction is None else predicted.construction.passes
        by: Cause = "script" if passes and passes[0].file == script else "constructor"
        low, high = built - half, built + half
    else:
        scratch = predicted.allocated + half < published <= predicted.image + half
        by = "scratch" if scratch else "image"
        low, high = max(predicted.requested, built) - half, image + half
    gap = _gap(published, low, high)
    if not gap:
        return MemoryAudit(published, ours, by)
    # scratch that the images alone do not have, by the rule that holds before those that may
    rules = sorted(predicted.by_rule, key=lambda name: name != rule)
    ranges = ((name, predicted.by_rule[name]) for name in rules)
    others = [(name, _gap(published, t.requested - half, t.most + half)) for name, t in ranges]
    for name, other in others:
        if not other:
            return MemoryAudit(published, ours, "scratch", rule=name)
    return MemoryAudit(published, ours, "unexplained", min([gap, *(g for _, g in others)]))


def _gap(published: float, low: float, high: float) -> float:
    """By how much of itself a peak is outside of what would explain it."""
    return max(low - published, published - high, 0) / published


def rule_of(published: float, predicted: Predicted, digit: float = _EXACT) -> str:
    """The rule of `by_rule` by which libraries take scratch, told by one network's peak.

    "" where it is explained without, or by none.
    """
    return memory(published, predicted, "", digit).rule


def findings(
    row: Result,
    times: tuple[TimesAudit, ...],
    predicted: Predicted | None,
    found: MemoryAudit | None,
) -> Iterator[Finding]:
    """What is to be said of a row, in the order of its figures."""
    for one in times:
        yield from _of_times(one, times)
    yield from _of_sets(row)
    if predicted is None:
        return
    if predicted.construction is not None:
        yield from _of_building(predicted.construction, times)
    if found is not None:
        yield from _of_memory(found, predicted)
    if predicted.autocast:
        yield Finding("autocast", "the network casts to half precision by itself (autocast)")
    if predicted.uncounted:
        ops = (f"{op} ({calls})" for op, calls in predicted.uncounted.items())
        yield Finding("uncounted", f"no rule counts {some(ops, _LISTED)}")


def _of_times(one: TimesAudit, times: Sequence[TimesAudit]) -> Iterator[Finding]:
    if not one.agrees:
        assert one.stated is not None and one.mean is not None
        text = (
            f"{one.name}: the stated mean is {one.stated:.3f} ms, that of the list {one.mean:.3f}"
        )
        yield Finding("stated-mean", text)
    if one.cold:
        text = (
            f"{one.name}: the first image took {one.first:.1f} ms where the others make it "
            f"{one.expected:.1f}; without it the mean is {mean_of(times, True):.2f} ms for "
            f"{mean_of(times):.2f}"
        )
        yield Finding("cold-first-image", text)
    if one.outliers:
        numbers = some((str(index + 1) for index in one.outliers), _LISTED)
        text = (
            f"{one.name}: {len(one.outliers)} more of {one.images} images took over twice what the "
            f"others say (number {numbers}); the mean without them is {one.without_outliers:.2f} ms"
        )
        yield Finding("outliers", text)


def _of_sets(row: Result) -> Iterator[Finding]:
    """What peaks of two sets say by themselves, as the counter is not set back between them."""
    peaks = {one.memory for one in row.sets}
    if len(row.sets) > 1 and len(peaks) == 1 and None not in peaks:
        text = (
            f"the peak is {mib_size(row.sets[0].memory or 0)} after each set of images, to the "
            "byte, while other rows' grows with the images: it is of what ran before them"
        )
        yield Finding("memory-before-images", text)


def _of_building(built: Construction, times: Sequence[TimesAudit]) -> Iterator[Finding]:
    """What ran while the network was built."""
    if not built.passes:
        return
    first = built.passes[0]
    count = f" {first.calls} times" if first.calls > 1 else ""
    more = f" and {len(built.passes) - 1} more of its lines" if len(built.passes) > 1 else ""
    text = (
        f"while the network is built, {first.kind} is called{count} at "
        f"{place(first.file, first.line)}{more}"
    )
    size = mib_size(sum(one.bytes for one in built.passes))
    graphs = sum(one.alive for one in built.passes if one.autograd)
    if graphs:
        alive = f"{graphs} graphs are" if graphs > 1 else "a graph is"
        text += f", with autograd on: {alive} alive at its peak, {size}"
    else:
        text += f", without autograd: {size} at its peak"
    if any(one.images for one in times) and not any(one.cold for one in times):
        text += "; its first image is not cold"
    yield Finding("runs-while-built", text)


def _of_memory(found: MemoryAudit, predicted: Predicted) -> Iterator[Finding]:
    published = mib_size(found.published)
    if found.by in ("constructor", "script"):
        where = "the script's own warm-up" if found.by == "script" else "the constructor"
        text = (
            f"the published {published} are of {where}, to the published digits; the image of the "
            f"validation set alone takes {mib_size(predicted.image)}"
        )
        yield Finding(found.by, text)
    elif found.rule:
        taken = predicted.by_rule[found.rule]
        text = (
            f"the published {published} are of an image if the GPU's libraries take scratch by the "
            f"rule {found.rule}: {taken.requested / MIB:.2f} requested to {taken.most / MIB:.2f} "
            f"allocated; without it {predicted.image / MIB:.2f}"
        )
        yield Finding("scratch", text)
    elif found.by == "image" and found.predicted > predicted.memory:
        text = (
            f"the published {published} are of an image without the scratch that the same GPU took "
            f"of the baseline, with which it would be {mib_size(found.predicted)}"
        )
        yield Finding("no-scratch", text)
    elif found.by == "scratch":
        more = mib_size(found.published - predicted.allocated)
        text = f"the published {published} have {more} of scratch of the GPU's libraries"
        yield Finding("scratch", text)
    elif found.by == "unexplained":
        text = (
            f"the published {published} are {found.gap:.2%} off what is explained: "
            f"{predicted.requested / MIB:.2f} requested to {predicted.memory / MIB:.2f} predicted"
            + "".join(
                f", {taken.requested / MIB:.2f} to {taken.most / MIB:.2f} by the rule {name}"
                for name, taken in predicted.by_rule.items()
            )
        )
        yield Finding("unexplained", text)
