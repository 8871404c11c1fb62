"""Of a network's functions what the file has. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import srprof_estimate
from srprof.errors import InputError, ModelError
from srprof.estimating.folding import Program, folded, trimmed
from srprof.estimating.forms import BATCH, HEIGHT, WIDTH, Terms
from srprof.estimating.graphs import Builder, Fitted
from srprof.estimating.least import least
from srprof.estimating.likewise import Batches, by_batch
from srprof.estimating.pieces import ever_most, pieces
from srprof.estimating.samples import Size
from srprof.estimating.script import Script
from srprof.memory.model import GRANULARITY
from srprof.paths import without_folders
from srprof.tiling.sizes import SizeRule

#: At so many sizes of image it is looked at which sums are the most, up to this side.
_LOOKS, _MOST_SIDE = 6000, 4096
#: Sizes at which programs are compared, and how many of them are tried while one is made shorter.
_REPLAYS, _FEW = 240, 20


def built(
    builder: Builder, dtypes: Sequence[str], rule: SizeRule, taken_from: int | None
) -> dict[str, Any]:
    """Of a network's functions what the file has: `sides`, `terms`, `dtypes` and `graphs`."""
    found: dict[str, list[tuple[Fitted, Batches]]] = {}
    refused: dict[str, str] = {}
    for dtype in dtypes:
        first = next(iter(found.values()))[0][0] if found else None
        try:
            found[dtype] = by_batch(builder, dtype, first)
        except (InputError, ModelError) as error:
            if first is None and dtype == dtypes[-1]:
                raise
            refused[dtype] = without_folders(str(error))
    dtype, graphs = next(iter(found.items()))
    smallest = least(builder, graphs[0][0], dtype, rule)
    sizes = _looks(builder, smallest)
    written: list[list[dict[str, Any]]] = []
    places: dict[str, int | str] = {**refused}
    known: dict[object, int] = {}
    for dtype, graphs in found.items():
        place = known.setdefault(tuple((f.alike, batch) for f, batch in graphs), len(written))
        if place == len(written):
            written.append([variant(f, builder.terms, batch, sizes) for f, batch in graphs])
        places[dtype] = place
    result = next(iter(found.values()))[0][0].result
    shape = None if result is None else [form.term(builder.terms, 1) for form in result]
    terms, graphs_, shape = _used(builder.terms, written, shape)
    sides = {"least": smallest, "step": rule.step, "taken_from": taken_from}
    parts = (sides, terms, shape, places, graphs_)
    return dict(zip(("sides", "terms", "result", "dtypes", "graphs"), parts, strict=True))


def _looks(builder: Builder, least: int) -> list[Size]:
    """Sizes of all kinds from the least on."""
    most = max(_MOST_SIDE, 2 * least)
    batches = [builder.random.choice((1, 1, 1, 2, 3, 4, 8)) for _ in range(_LOOKS)]
    return [
        (batch, builder.some_side(least, most), builder.some_side(least, most)) for batch in batches
    ]


def _used(
    terms: Terms, graphs: list[list[dict[str, Any]]], shape: list[int] | None
) -> tuple[list[list[Any]], list[list[dict[str, Any]]], list[int] | None]:
    """The terms that graphs and the result need, and these with their new indices."""
    needed = {size for variants in graphs for v in variants for size in v["sizes"]}
    needed.update(shape or ())
    for place in range(len(terms.rows) - 1, -1, -1):
        if place + 3 in needed:
            op, _, *parts = terms.rows[place]
            needed.update(parts[:1] if op == "/" else parts)
    order = [BATCH, HEIGHT, WIDTH, *sorted(needed - {BATCH, HEIGHT, WIDTH})]
    new = {old: place for place, old in enumerate(order)}
    rows = []
    for old in order[3:]:
        op, constant, *parts = terms.rows[old - 3]
        moved = [new[p] for p in (parts[:1] if op == "/" else parts)]
        rows.append([op, constant, *moved, *(parts[1:] if op == "/" else ())])
    for variants in graphs:
        for v in variants:
            v["sizes"] = [new[size] for size in v["sizes"]]
    return rows, graphs, shape and [new[term] for term in shape]


def variant(fitted: Fitted, terms: Terms, batch: Batches, looks: Sequence[Size]) -> dict[str, Any]:
    """What the file has of one graph."""
    script = fitted.script
    sizes: dict[int, int] = {}
    of_block = []
    for form, power, block in zip(fitted.forms, fitted.powers, script.blocks, strict=True):
        term = form.term(terms, block.itemsize, power)
        of_block.append(sizes.setdefault(term, len(sizes)))
    looks = [s for s in looks if batch[0] <= s[0] <= (batch[1] or s[0])]
    values = terms.values(looks)
    rounded = np.array([-(-values[t] // GRANULARITY) * GRANULARITY for t in sizes], dtype=np.int64)
    found: dict[str, Any] = {
        "batch": list(batch),
        "granularity": GRANULARITY,
        "net": fitted.sample.net,
        "sizes": [*sizes],
        "start": list(fitted.sample.start),
    }
    for kind, held in (("planned", False), ("eager", True)):
        kept = ever_most(pieces(script, of_block, held=held), rounded)
        found[kind] = [[number for pair in piece for number in pair] for piece in kept]
    return found | {"program": _program(script, of_block, found, terms, looks[:_REPLAYS])}


def _program(
    script: Script, of_block: Sequence[int], found: dict[str, Any], terms: Terms, looks: list[Size]
) -> Program:
    """What comes and goes, as short as the same peaks allow.

    It is made shorter as some of the sizes allow, and then compared at all. Where it is another at
    some, these are among those of the next try, which begins with the shortest that does for them.
    """
    whole = _steps(script, of_block)
    values = [srprof_estimate._values(terms.rows, *size) for size in looks]

    def peaks(program: Program, place: int) -> tuple[int, ...]:
        variant = found | {"program": program}
        bounds = srprof_estimate._requested(variant, values[place])
        return *srprof_estimate._replayed(variant, values[place]), *bounds

    wanted = [peaks(whole, place) for place in range(len(values))]
    asked = [*range(min(_FEW, len(values)))]
    path = [whole]  # each shorter than the one before

    def right(program: Program) -> bool:
        for order, place in enumerate(asked):
            if peaks(program, place) != wanted[place]:
                asked.insert(0, asked.pop(order))  # it will tell the next one too
                return False
        path.append(program)
        return True

    while True:
        shorter = trimmed(folded(path[-1], right), right)
        wrong = [place for place, peak in enumerate(wanted) if peaks(shorter, place) != peak]
        if not wrong:
            return shorter
        asked[:0] = wrong
        while not right(path.pop()):
            pass


def _steps(script: Script, of_block: Sequence[int]) -> Program:
    """A script's steps with sizes in the blocks' place, and blocks that go counted backwards."""
    born: dict[int, int] = {}
    found: Program = []
    for step in script.steps:
        if step is None:
            found.append(None)
        elif step >= 0:
            born[step] = len(born)
            found.append(of_block[step])
        else:
            found.append(born[~step] - len(born))
    return found
