"""Zoos: networks that go by a name.

A package announces its networks through the entry-point group `srprof.models`, each entry point
naming an iterable of `Network`. srprof's own zoo (`models/`) comes in by the same way.
No torch is loaded here: a network names its factory, and only the one that is wanted is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, TypeVar, cast

from srprof.errors import InputError, user_raised
from srprof.words import did_you_mean, one_line

GROUP = "srprof.models"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Convention:
    """How a published figure was counted, where that is not how srprof counts by default.

    Attributes:
        measure: name of the figure, as in `Network.published`.
        text: the convention in words, or why no known one gives the figure.
        scales: those that it holds for; all if empty.
        count: which of the measure's counts gives the figure (`srprof.compare.published`).
        arguments: hyper-parameters of the variant that was counted.
        channels: of its input, if not the network's; size: LR height and width.
        truncated: the published digits are cut off, not rounded.
        reproducible: False if what is known does not give the figure; `text` says why.
    """

    measure: str
    text: str
    scales: tuple[int, ...] = ()
    count: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    channels: int | None = None
    size: tuple[int, int] | None = None
    truncated: bool = False
    reproducible: bool = True


@dataclass(frozen=True, slots=True)
class Network:
    """One named network.

    Attributes:
        name: what `srprof analyze NAME` takes; aliases: other names. title: says what it is.
        factory: `package.module:callable`; it returns an `nn.Module`. Its keyword arguments are
            the hyper-parameters.
        scale: upscaling factor by default, None if it has none; scales: all that it exists at.
        width: channels of the trunk's feature maps (the paper's C); channels: of the input image.
        row: the rows of the tables that have its published figures.
        published: figures as printed there, by scale and then by measure.
        conventions: how figures were counted that srprof counts otherwise.
        notes: what a reader of the figures must know.
        merge: `package.module:callable` that gives a training form's inference form, if it has
            the two.
        from_state_dict: `package.module:callable` that builds the network of a checkpoint's
            state dict, or returns None if it is not one of its own.
    """

    name: str
    factory: str
    title: str
    scale: int | None = None
    scales: tuple[int, ...] = ()
    width: int | None = None
    channels: int = 3
    aliases: tuple[str, ...] = ()
    row: str = ""
    published: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    conventions: tuple[Convention, ...] = ()
    notes: str = ""
    merge: str = ""
    from_state_dict: str = ""

    def load(self) -> Callable[..., Any]:
        """Import the factory."""
        return load(self.factory)

    def convention(self, measure: str, scale: int) -> Convention | None:
        """The convention of a figure; one for its scale goes before one for all."""
        fitting = [
            c for c in self.conventions if c.measure == measure and scale in (c.scales or (scale,))
        ]
        return max(fitting, key=lambda c: len(c.scales) > 0, default=None)


def load(place: str) -> Callable[..., Any]:
    """Import what `package.module:name` names."""
    module, _, name = place.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))


def index(networks: Iterable[Network]) -> dict[str, Network]:
    """Networks by name and alias; an InputError if two claim one name."""
    found: dict[str, Network] = {}
    for network in networks:
        for name in (network.name, *network.aliases):
            if name in found:
                two = f"{found[name].factory} and {network.factory}"
                mend = "uninstall one of the packages or rename it"
                raise InputError(f"two networks are called {name!r}: {two}; {mend}")
            found[name] = network
    return found


def announced(group: str, what: str, read: Callable[[Any], T]) -> Iterator[tuple[str, T]]:
    """What packages announce in an entry-point group, by name: its place, and as `read` gives it.

    An InputError says which of them cannot be loaded; `what` is what each is called there.
    """
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=group), key=lambda e: e.name):
        try:
            loaded = read(entry.load())
        except user_raised() as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            where = f"the {what} {entry.name!r} ({entry.value}) cannot be loaded: {reason}"
            mend = "repair or uninstall the package that announces it"
            raise InputError(f"{where}; {mend}") from error
        yield entry.value, loaded


@cache
def networks() -> tuple[Network, ...]:
    """Every network of every installed zoo, in the order in which the zoos list them."""
    return tuple(chain.from_iterable(zoo for _, zoo in announced(GROUP, "zoo", _listed)))


def _listed(zoo: Iterable[Any]) -> tuple[Network, ...]:
    networks = tuple(zoo)
    for item in networks:
        if not isinstance(item, Network):
            raise TypeError(f"it lists {item!r}, which is no srprof.registry.Network")
    return networks


def find(name: str) -> Network:
    """The network of that name or alias; an InputError suggests the nearest if there is none."""
    by_name = index(networks())
    if name in by_name:
        return by_name[name]
    what = f"no network is called {name!r}"
    if not by_name:
        mend = "install srprof with pip (`pip install -e .`), or give file.py:Factory"
        raise InputError(f"{what}: no zoo is installed; {mend}")
    near = did_you_mean(name.lower().replace("-", "_"), by_name, count=3, cutoff=0.5)
    own = "A network of your own is file.py:Factory or package.module:Factory"
    raise InputError(f"{what}: {near or '`srprof list` names them all.'} {own}")
