"""The NTIRE challenges on efficient super-resolution, year by year: how each measures and scores.

Sources. 2022: Li et al., "NTIRE 2022 Challenge on Efficient Super-Resolution: Methods and
Results", CVPRW 2022, and `test_demo.py` of its repository. 2024 to 2026: README and `test_demo.py`
of the year's repository (github.com/Amazingren/NTIRE2024_ESR, NTIRE2025_ESR, NTIRE2026_ESR).

2024's baseline is that of the README since 15 February 2024 (19.67 G by fvcore; before, 19.70 by
the count of 2022). The 12.21 ms in its results.txt are of another run: no formula has them.
2026's is that of the final README; February's had 5.59 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from typing import NamedTuple

from srprof.errors import InputError
from srprof.words import did_you_mean, one_line


class Sizes(NamedTuple):
    """LR images at which figures are taken: (H, W), or a whole shape (n, c, H, W)."""

    counts: tuple[int, ...]
    runtime: tuple[int, ...]
    memory: tuple[int, ...]


#: Complexity is counted at 256x256 and memory is that of the largest validation image. Runtime is a
#: mean over images; 339x510 is the size of half of DIV2K's and has their mean area. Half of the
#: images since 2024 are LSDIR's, whose sizes are not public, and which are smaller: the published
#: mean of 2026's slowest networks is three quarters of what an image of 339x510 takes, of the
#: fastest 0.92 to 1.08 of it. The profile of that year's card is fitted at this size.
SIZES = Sizes(counts=(256, 256), runtime=(339, 510), memory=(510, 510))


@dataclass(frozen=True, slots=True)
class Script:
    """What a year's `test_demo.py` does around a network, so far as its figures depend on it.

    In all years the first image is timed, cuDNN does not try its algorithms out, and autograd may
    record only while the network is built: `select_model` then freezes its parameters.

    Attributes:
        images: those whose peak of memory is published.
        from_start: the counter of memory begins with the program, so that what runs while the
            network is built belongs to the figure.
        workspace: as `srprof.analyze` takes it: None is the scratch of the year's profile, "none"
            leaves it out: what is known of such GPUs is of a later cuDNN than torch 1.13's.
    """

    images: str
    from_start: bool = True
    workspace: str | None = "none"


@dataclass(frozen=True, slots=True)
class Year:
    """A challenge: its rules, and where its results are.

    Attributes:
        name: as options take it. title: for a person.
        gpu: that its runtimes are of. profile: by which srprof predicts them.
        flops: the figure that it counts as FLOPs.
        floors: PSNR in dB that a ranked row has, by set of images; where `strict` is False they are
            aimed at, and 2022 ranked rows down to 28.95 dB.
        psnr_of: the images that its PSNR is of.
        network: the baseline. baseline: its figures, by metric; {} where ranks are summed.
        weights: of each metric in the score; {} there.
        source: where the formula is published.
        script: what is around the network. sizes: images that srprof predicts the figures at.
        table: the file of its rows in srprof's data; "" where they are not public as data, and
            `missing` says what is.
    """

    name: str
    title: str
    gpu: str
    profile: str
    flops: str
    floors: Mapping[str, float]
    psnr_of: str
    source: str
    script: Script
    network: str = ""
    baseline: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    sizes: Sizes = SIZES
    strict: bool = True
    table: str = ""
    missing: str = ""

    @property
    def scoring(self) -> str:
        """The name of the scoring that orders its main track."""
        return self.name if self.weights else "main"

    def admits(self, psnr: Mapping[str, float]) -> bool:
        """Whether rows of that PSNR, by set of images, are ranked; compared as they are printed."""
        floors = self.floors.items() if self.strict else ()
        return all(round(psnr[s], 2) >= floor for s, floor in floors if s in psnr)

    @property
    def formula(self) -> str:
        """The score in words; "" where ranks are summed."""
        units = {"runtime_ms": ("runtime", 1, "ms"), "flops": ("FLOPs", 1e9, "G")}
        units["params"] = ("params", 1e6, "M")
        terms = []
        for metric, weight in self.weights.items():
            title, factor, unit = units[metric]
            value = self.baseline[metric] / factor
            terms.append(f"{weight:g} exp(2 {title} / {value:g} {unit})")
        return " + ".join(terms)


_DIV2K = Script("DIV2K's 100 validation images", workspace=None)
_LSDIR = Script("DIV2K_LSDIR_valid, 200 images")
_FLOORS = {"valid": 26.90, "test": 26.99}


def _of_readme(
    year: int,
    network: str,
    gpu: tuple[str, str],
    figures: tuple[float, float, float],
    main: float,
    *,
    table: str = "",
    missing: str = "",
) -> Year:
    """A year whose README has the formula: runtime in ms, FLOPs in G, params in M of a baseline."""
    runtime, flops, params = figures
    rest = round((1 - main) / 2, 6)
    return Year(
        name=f"ntire{year}",
        title=f"NTIRE {year}",
        gpu=gpu[0],
        profile=gpu[1],
        flops="fvcore_flops",
        floors=_FLOORS,
        psnr_of="DIV2K_LSDIR_valid",
        source=f"https://github.com/Amazingren/NTIRE{year}_ESR, README",
        script=_LSDIR,
        network=network,
        baseline={"runtime_ms": runtime, "flops": 1e9 * flops, "params": 1e6 * params},
        weights={"runtime_ms": main, "flops": rest, "params": rest},
        table=table,
        missing=missing,
    )


_A6000 = ("RTX A6000", "rtx_a6000")
_BASELINE_ONLY = (
    "its repository has the baseline's row alone, what entrants published themselves is of their "
    "own GPUs (reports/challenge), and the final table is in its report"
)

#: The years whose rules are public, in their order.
YEARS: Mapping[str, Year] = {
    year.name: year
    for year in (
        Year(
            name="ntire2022",
            title="NTIRE 2022",
            gpu="GTX 1080 Ti or Titan Xp",
            profile="ntire2022",
            flops="flops",
            floors={"valid": 29.00},
            strict=False,
            psnr_of="DIV2K validation",
            source="Li et al., NTIRE 2022 Challenge on Efficient Super-Resolution, CVPRW 2022",
            script=_DIV2K,
            network="RFDN",
            table="ntire2022.json",
        ),
        _of_readme(
            2024, "RLFN", ("RTX 3090", "rtx3090"), (13.54, 19.67, 0.317), 0.7,
            missing=f"{_BASELINE_ONLY} (arXiv 2404.10343)",
        ),
        _of_readme(
            2025, "EFDN", _A6000, (16.69, 16.70, 0.276), 0.7,
            missing=f"{_BASELINE_ONLY} (arXiv 2504.10686)",
        ),
        _of_readme(2026, "SPAN", _A6000, (7.74, 9.83, 0.151), 0.8, table="ntire2026.json"),
    )
}  # fmt: skip

#: Whose rules hold where no year is named.
DEFAULT = YEARS["ntire2022"]

#: As which a challenge is held whose year nobody gave.
LATEST = max(YEARS.values(), key=lambda year: year.name)

#: Years of which neither a formula nor rows were found in public, and what there is.
NOT_PUBLIC: Mapping[str, str] = {
    "ntire2023": "its repository (ofsoundof/NTIRE2023_ESR) has neither a formula nor rows",
}


def full_name(text: str) -> str:
    """`ntire2026`, for which 2026 may stand."""
    return f"ntire{text}" if text.isdecimal() else text


def find(text: str) -> Year:
    """The year of that name; an InputError says why there is none, or suggests near names."""
    name = full_name(text)
    if name in YEARS:
        return YEARS[name]
    if name in NOT_PUBLIC:
        there = ", ".join(YEARS)
        raise InputError(f"{name} is not public: {NOT_PUBLIC[name]}; there is {there}")
    near = did_you_mean(text.lower(), YEARS, count=2, cutoff=0.5)
    raise InputError(one_line(f"there is no year {text!r}: {near} there is {', '.join(YEARS)}"))


def chosen(*names: str | None) -> Year:
    """The first year among names of tables and scorings; the default if none is one."""
    return next((YEARS[name] for name in names if name is not None and name in YEARS), DEFAULT)


def score(year: Year, runtime_ms: float, flops: float, params: float) -> float:
    """The year's score, the lower the better: weighted exp(2 x value / baseline's value).

    A ValueError for a year that sums ranks, whose score depends on the other rows.
    """
    if not year.weights:
        raise ValueError(f"{year.name} sums ranks and has no score of one row")
    values = {"runtime_ms": runtime_ms, "flops": flops, "params": params}
    return sum(w * exp(2 * values[m] / year.baseline[m]) for m, w in year.weights.items())
