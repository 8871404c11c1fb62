"""What `srprof audit` found, as frozen data. Sizes in bytes, times in milliseconds. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from srprof._version import __version__
from srprof.codec import JsonObject, Key, encode
from srprof.memory.construction import PassesAtPeak
from srprof.shown import Shown

#: Version of the JSON object.
SCHEMA = 1

#: What a published peak of memory is explained by.
Cause = Literal["image", "scratch", "constructor", "script", "unexplained"]


@dataclass(frozen=True, slots=True)
class TimesAudit:
    """The times of one set of images.

    Attributes:
        name: "valid" or "test". images: how many; 0 where the file has only means.
        stated: the mean that the file states; mean: of its list; None where one is not there.
        first: ms of the first image; expected: ms that it should take by the others.
        cold: it took longer than its size explains, so that the program was still warming up.
        without_first: the mean without it, or the mean if it is not cold.
        outliers: indices, from 0, of other images that took more than twice as long as expected.
        without_outliers: the mean without these either.
    """

    name: str
    images: int
    stated: float | None
    mean: float | None = None
    first: float | None = None
    expected: float | None = None
    cold: bool = False
    without_first: float | None = None
    outliers: tuple[int, ...] = ()
    without_outliers: float | None = None

    @property
    def agrees(self) -> bool:
        """Whether the stated mean is that of the list, to the rounding of lists to 1 us."""
        if self.stated is None or self.mean is None:
            return True
        return abs(self.stated - self.mean) <= 1e-3

    def taken(self, without_first: bool = False) -> float | None:
        """The mean that counts: as stated, or without a cold first image."""
        if without_first and self.cold:
            return self.without_first
        return self.mean if self.stated is None else self.stated


def mean_of(times: Sequence[TimesAudit], without_first: bool = False) -> float | None:
    """The mean of the sets' means, which a challenge ranks; None where one is not known."""
    means = [one.taken(without_first) for one in times]
    known = [mean for mean in means if mean is not None]
    return sum(known) / len(known) if known and len(known) == len(means) else None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a row stands in an order.

    Attributes:
        value: ms, or the score. place: 1 is the best.
        low: the best place, but for 2.5 % of the resamples; high: the worst, but for as many.
    """

    value: float
    place: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Two rows of which the first is not ahead in more than 2.5 % of the resamples of images.

    Attributes:
        order: by what the table is ordered. first: the row ahead; second: the one behind.
        turned: share of the resamples in which the first is not ahead.
    """

    order: str
    first: str
    second: str
    turned: float


@dataclass(frozen=True, slots=True)
class Turned:
    """Two rows whose order is another without first images that were cold.

    Attributes:
        order: by what the table is ordered. first: the row ahead as stated; second: the one behind.
    """

    order: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Construction:
    """What is on the device while the script builds a network.

    Attributes:
        bytes: the most that it allocates. passes: calls of networks meanwhile, by what they have
            at that moment.
    """

    bytes: int
    passes: tuple[PassesAtPeak, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """The largest image's peak in bytes, where libraries take scratch by some rule.

    Attributes:
        requested, allocated, listed: as in `Predicted`.
    """

    requested: int
    allocated: int
    listed: int | None = None

    @property
    def most(self) -> int:
        """What a program takes at most, with and without images before it."""
        return max(self.allocated, self.listed or 0)


@dataclass(frozen=True, slots=True)
class Predicted:
    """What srprof says of one network.

    Attributes:
        params, flops, activations, convs: as the year counts; None if not known. uncounted: ops
            that no rule counts, with their calls.
        requested: bytes that the largest image requests; allocated: what the allocator makes of
            that in a fresh program; scratch: the same with what libraries take on the year's GPU,
            None where that is not known. listed: the images' peak in a program that runs one of
            each size of DIV2K's test images, and the largest last; None if none was run.
        by_rule: the same where libraries take memory by other rules (`srprof.auditing.apart`), for
            a GPU that nobody named.
        construction: what is there before the images; None if the device is left alone.
        runtime_ms: by the year's profile; None if it cannot be said.
        autocast: the network casts to half precision by itself. tiled: the script has it run in
            tiles.
        elsewhere: allocated on other profiles, by name.
        notes: what a reader of the figures must know.
    """

    params: int
    flops: float | None
    activations: float | None
    convs: float | None
    requested: int
    allocated: int
    scratch: int | None = None
    listed: int | None = None
    by_rule: Mapping[str, Taken] = field(default_factory=dict)
    construction: Construction | None = None
    runtime_ms: float | None = None
    autocast: bool = False
    tiled: bool = False
    uncounted: Mapping[str, int] = field(default_factory=dict)
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def image(self) -> int:
        """Bytes of a fresh program's image, with scratch as far as it is known."""
        return self.allocated if self.scratch is None else self.scratch

    @property
    def built(self) -> int:
        """Bytes that are there while the script builds the network."""
        return 0 if self.construction is None else self.construction.bytes

    @property
    def memory(self) -> int:
        """Bytes of the program's peak, over a list of images where one was run."""
        return self.memory_by("")

    def memory_by(self, rule: str) -> int:
        """The same where libraries take scratch by a rule of `by_rule`; "" is the GPU's own."""
        taken = self.by_rule.get(rule)
        image, listed = (
            (self.image, self.listed) if taken is None else (taken.allocated, taken.listed)
        )
        return max(image if listed is None else listed, self.built)


@dataclass(frozen=True, slots=True)
class CountAudit:
    """A count beside the predicted one.

    Attributes:
        name: of the figure. published: as stated; predicted: by srprof, None if not known.
        equal: to the published digits.
    """

    name: str
    published: float
    predicted: float | None
    equal: bool


@dataclass(frozen=True, slots=True)
class MemoryAudit:
    """A peak of memory beside the predicted one.

    Attributes:
        published: bytes as stated, or as measured elsewhere; predicted: by srprof.
        by: what explains it. gap: by how much of itself it is off the nearest figure that would.
        rule: of `Predicted.by_rule`, of the scratch that explains it; "" is the GPU's own.
    """

    published: float
    predicted: int
    by: Cause
    gap: float = 0.0
    rule: str = ""

    @property
    def error(self) -> float:
        """Predicted against published."""
        return self.predicted / self.published - 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a row.

    Attributes:
        kind: of finding, for programs. text: in a sentence.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class RowAudit:
    """A row.

    Attributes:
        name, number: as the file has them.
        times: by set of images.
        ranked: its PSNR is at least the year's floors; None where the year has no formula.
        standings: by order; those that the file's times give.
        counts, memory: beside what is predicted, where code was given. elsewhere: peaks that
            others measured of its largest image, by the profile of their device.
        predicted: all that is; failed: why it is not, in a line, "" if it is or was not asked.
        findings: what stands out.
    """

    name: str
    number: int | None
    times: tuple[TimesAudit, ...]
    ranked: bool | None = None
    standings: Mapping[str, Standing] = field(default_factory=dict)
    counts: tuple[CountAudit, ...] = ()
    memory: MemoryAudit | None = None
    elsewhere: Mapping[str, MemoryAudit] = field(default_factory=dict)
    predicted: Predicted | None = None
    failed: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def cold(self) -> bool:
        """Whether the first image of the program was."""
        return any(one.cold for one in self.times)

    @property
    def runtime_error(self) -> float | None:
        """Predicted against published; None where either is not there."""
        stated = self.mean()
        ours = None if self.predicted is None else self.predicted.runtime_ms
        return None if stated is None or ours is None else ours / stated - 1

    def mean(self, without_first: bool = False) -> float | None:
        """The mean that is ranked, as stated or without a cold first image."""
        return mean_of(self.times, without_first)


@dataclass(frozen=True, slots=True)
class TableAudit:
    """One table of a results file.

    Attributes:
        year: as `srprof.challenge.years` names it, "" if it is not known; title: for a person.
        rows: in the file's order.
        unsettled, turned: pairs of rows, the best first.
        profile: by which runtimes are predicted, "" without code.
        notes: what a reader of the figures must know, one line each.
    """

    year: str
    title: str
    rows: tuple[RowAudit, ...]
    unsettled: tuple[Unsettled, ...] = ()
    turned: tuple[Turned, ...] = ()
    profile: str = ""
    notes: tuple[str, ...] = ()

    @property
    def with_code(self) -> bool:
        """Whether networks were run."""
        return any(row.predicted is not None or row.failed for row in self.rows)

    def errors(self) -> Mapping[str, Sequence[float]]:
        """Sizes of predicted against published, by what they are of; what nothing has is left out.

        Of memory on other devices, against measured.
        """
        found: dict[str, list[float]] = {"memory": [], "runtime": []}
        for row in self.rows:
            if row.memory is not None:
                found["memory"].append(abs(row.memory.error))
            for name, other in row.elsewhere.items():
                found.setdefault(f"memory on {name}", []).append(abs(other.error))
            if row.runtime_error is not None:
                found["runtime"].append(abs(row.runtime_error))
        return {name: errors for name, errors in found.items() if errors}


@dataclass(frozen=True, repr=False)
class Audit(Shown):
    """The tables of a results file.

    Attributes:
        source: names the file. tables: one, or one for each year.
    """

    view = "audit"

    source: str
    tables: tuple[TableAudit, ...]

    def errors(self) -> Mapping[str, Sequence[float]]:
        """Those of all tables together, by what they are of."""
        found: dict[str, list[float]] = {}
        for table in self.tables:
            for name, errors in table.errors().items():
                found.setdefault(name, []).extend(errors)
        return found

    def to_dict(self) -> JsonObject:
        """The JSON object of `srprof audit --format json`."""
        return {"schema": SCHEMA, "srprof": __version__, **encode(_Whole(self.source, self.tables))}


@dataclass(frozen=True, slots=True)
class _Whole:
    source: str
    tables: Annotated[tuple[TableAudit, ...], Key("tables")]
