"""GPUs by name: how much memory a program gets on one. No torch, and no GPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from srprof.cost.profiles import load_profile, needs_calibration, profile_titles
from srprof.errors import InputError
from srprof.files import parse_toml
from srprof.words import MIB, did_you_mean

_GIB = 1024 * MIB
#: Words of a name that people leave out, and a size behind it.
_MAKERS = re.compile(r"\b(nvidia|geforce|tesla|quadro|graphics|gpu)\b")
_SIZE = re.compile(r"[\s_-]*(\d+)\s*gi?b$")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU's memory in bytes, and what a program gets of it.

    Attributes:
        title: its name. profile: of the packaged profile, "" if there is none.
        total: as its maker states it. driver, context: what is kept of that, by the driver and
            by CUDA's context with the libraries' kernels.
        others: GiB of the variants that are sold under the name too.
    """

    title: str
    profile: str
    total: int
    driver: int
    context: int
    others: tuple[int, ...] = ()

    @property
    def usable(self) -> int:
        """Bytes that torch's allocator may reserve."""
        return self.total - self.driver - self.context

    def note(self) -> str:
        """What is taken off, in words."""
        kept = f"{self.driver / MIB:,.0f} MiB for the driver and {self.context / MIB:,.0f} MiB"
        text = (
            f"{self.title} has {self.total / _GIB:g} GiB; of that {kept} for CUDA's context are "
            "taken off, both assumed: torch.cuda.mem_get_info() says what is free on yours"
        )
        if not self.others:
            return text
        sizes = " and ".join(f"{size} GiB" for size in self.others)
        short = self.title.removeprefix("NVIDIA ").removeprefix("GeForce ")
        return f"{text}; it is sold with {sizes} too: --gpu '{short} {self.others[0]}GB'"


def find_gpu(name: str) -> Gpu:
    """A GPU by its name as people write it: `RTX 3060`, `rtx3090`, `A100 40GB`.

    Raises:
        InputError: there is no such GPU in the table, or it has no such variant.
    """
    key, size = _key(name)
    known = _known()
    if key not in known:
        near = did_you_mean(key, known, count=2)
        for each in sorted(known, key=len, reverse=True):
            near = re.sub(rf"\b{re.escape(each)}\b", known[each].title, near)
        mend = near or "none is like it"
        raise InputError(f"no GPU is known by the name {name!r}: {mend}; or give --budget 12GiB")
    entry = known[key]
    if size is not None and size not in entry.sizes:
        sizes = ", ".join(f"{each} GiB" for each in entry.sizes)
        raise InputError(f"{entry.title} has {sizes}, and not {size}: name one of these")
    gib = size or entry.sizes[0]
    table = _table()
    total = round(gib * _GIB)
    others = () if size else entry.sizes[1:]
    driver, context = round(total * table["driver_share"]), table["context_MiB"] * MIB
    profile = entry.profile if gib == entry.sizes[0] else ""
    return Gpu(entry.title, profile, total, driver, context, others)


@dataclass(frozen=True, slots=True)
class _Entry:
    title: str
    sizes: tuple[int, ...]
    profile: str = ""


def _key(name: str) -> tuple[str, int | None]:
    """What names of one GPU have in common, and the size in GiB behind it, if one is there."""
    text = re.sub(r"\(.*?\)", "", name.casefold()).replace("_", " ").strip()
    size = _SIZE.search(text)
    text = _MAKERS.sub("", text[: size.start()] if size else text)
    return re.sub(r"[\s-]+", "", text), int(size[1]) if size else None


@cache
def _table() -> Mapping[str, Any]:
    text = files("srprof.cost").joinpath("gpus.toml").read_text(encoding="utf-8")
    return parse_toml(text, "gpus.toml")


@cache
def _known() -> Mapping[str, _Entry]:
    """The table's GPUs, and those of the profiles, by their keys."""
    found = {
        _key(name)[0]: _Entry(f"NVIDIA {name}", tuple(sizes))
        for name, sizes in _table()["memory"].items()
    }
    for name in profile_titles():
        profile = None if needs_calibration(name) else load_profile(name)
        if profile is None or profile.capability is None:
            continue  # a CPU, or a card that is none for sure
        key, size = _key(name)[0], round(profile.memory / _GIB)
        others = found[key].sizes if key in found else ()
        sizes = (size, *(each for each in others if each != size))
        found[key] = _Entry(profile.title.partition(" (")[0], sizes, name)
    return found
