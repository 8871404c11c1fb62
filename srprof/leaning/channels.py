"""Where the channels of a value lie that has more of them than the network knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: What an extra channel holds: a number everywhere, or None, a finite one that is not known.
Held = float | None


@dataclass(frozen=True)
class Channels:
    """Logical channels within physical ones.

    Attributes:
        places: the physical channel that each logical one is.
        extra: what each of the others holds, by its place, in order.
    """

    places: tuple[int, ...]
    extra: tuple[tuple[int, Held], ...] = ()

    @classmethod
    def first(cls, count: int, total: int, held: Held = 0.0) -> Channels:
        """The first so many of all."""
        return cls(tuple(range(count)), tuple((place, held) for place in range(count, total)))

    @property
    def total(self) -> int:
        """Physical channels."""
        return len(self.places) + len(self.extra)

    @property
    def plain(self) -> bool:
        """Whether there are no others, and all are in order."""
        return not self.extra and self.places == tuple(range(len(self.places)))

    @property
    def together(self) -> bool:
        """Whether the logical ones lie next to each other, in order."""
        first = self.places[0]
        return self.places == tuple(range(first, first + len(self.places)))

    def part(self, start: int, stop: int) -> Channels:
        """Some of the logical channels, of the same physical ones."""
        others = [place for n, place in enumerate(self.places) if not start <= n < stop]
        extra = sorted([*self.extra, *((place, None) for place in others)])
        return Channels(self.places[start:stop], tuple(extra))

    def holding(self, held: Callable[[Held], Held]) -> Channels:
        """The same places, with what the extra ones hold after an element-wise call."""
        return Channels(self.places, tuple((place, held(value)) for place, value in self.extra))

    def rows(self) -> list[int]:
        """For each physical channel the logical one, or how many of these there are for none."""
        rows = [len(self.places)] * self.total
        for number, place in enumerate(self.places):
            rows[place] = number
        return rows

    @property
    def constant(self) -> tuple[int, float] | None:
        """A place that holds the same number everywhere, which every dtype has, and the number."""
        for place, held in self.extra:
            if held and (held * 256).is_integer() and abs(held) <= 64:
                return place, held
        return None


def joined(parts: Sequence[Channels]) -> Channels:
    """The channels of a concatenation."""
    places: list[int] = []
    extra: list[tuple[int, Held]] = []
    before = 0
    for part in parts:
        places += [before + place for place in part.places]
        extra += [(before + place, held) for place, held in part.extra]
        before += part.total
    return Channels(tuple(places), tuple(extra))
