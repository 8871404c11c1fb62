"""Which LR image belongs to which HR image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from srprof.errors import InputError
from srprof.quality.images import image_files
from srprof.words import some

#: What data sets add to an image's name: 0801x4, baby_LRBI_x4, img_001_SRF_4_LR, butterfly_HR.
_ADDED = re.compile(
    r"(?:[-_ ]SRF[-_]\d+)?[-_ ]?(?<![A-Za-z0-9])(?:LR(?:BI)?|HR|GT)(?:[-_ ]?x\d+)?$|[-_ ]?x\d+$",
    re.IGNORECASE,
)

#: Names listed when files have no partner.
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """An image's HR file, its name without the ending, and its LR file if there is one."""

    name: str
    hr: Path
    lr: Path | None


def find_pairs(lr: str | None, hr: str) -> list[Pair]:
    """The images of two folders, or two files, by name; `lr` None for HR images alone.

    An InputError if a folder cannot be read or has no image, two files of one have the same name,
    or files have no partner (which).
    """
    high = _by_name(image_files(hr, "--hr"), "--hr", str)
    if lr is None:
        return [Pair(name, path, None) for name, path in high.items()]
    low = _by_name(image_files(lr, "--lr"), "--lr", str)
    if Path(lr).is_file() and Path(hr).is_file():
        return [Pair(name, high[name], path) for name, path in zip(high, low.values(), strict=True)]
    partners = {name: low[name] for name in high if name in low}
    rest_high = _by_name([p for n, p in high.items() if n not in partners], "--hr", common_name)
    rest_low = _by_name([p for n, p in low.items() if n not in partners], "--lr", common_name)
    _check_partners(rest_low, rest_high)
    partners |= {path.stem: rest_low[name] for name, path in rest_high.items()}
    return [Pair(name, path, partners[name]) for name, path in high.items()]


def _check_partners(low: Mapping[str, Path], high: Mapping[str, Path]) -> None:
    lonely = [
        f"{option} has none for {some((there[n].name for n in there if n not in other), _LISTED)}"
        for option, there, other in (("--lr", high, low), ("--hr", low, high))
        if not there.keys() <= other.keys()
    ]
    if lonely:
        mend = "name an LR file as its HR file, or with x4 (the scale) behind"
        raise InputError(f"images without a partner: {'; '.join(lonely)}; {mend}")


def common_name(stem: str) -> str:
    """A file's name without what says that it is LR or HR, or of which scale."""
    return _ADDED.sub("", stem) or stem


def _by_name(files: Iterable[Path], option: str, named: Callable[[str], str]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for path in files:
        name = named(path.stem)
        if name in by_name:
            both = f"{by_name[name].name} and {path.name} for the image {name!r}"
            raise InputError(f"{option} has both {both}: leave one of them out")
        by_name[name] = path
    return by_name
