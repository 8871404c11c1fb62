"""The grid of tiles: pure, so held against what it promises on any size."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from srprof.errors import InputError
from srprof.tiling.grid import grid, least_tile, spans, tile_for
from srprof.tiling.sizes import SizeRule, size_rule

LENGTHS = st.integers(1, 200)
HALOS = st.integers(0, 12)
MULTIPLES = st.sampled_from((1, 2, 3, 8))


@given(LENGTHS, st.integers(1, 8), HALOS, MULTIPLES)
def test_spans_cover_an_axis_once_and_read_their_halo(
    length: int, extra: int, halo: int, multiple: int
) -> None:
    tile = least_tile(halo, multiple) + (extra - 1) * multiple
    found = spans(length, tile, halo, multiple)

    assert [p for s in found for p in range(s.first, s.last)] == list(range(length))
    assert all(s.last > s.first for s in found)
    for span in found:
        assert 0 <= span.start <= max(0, span.first - halo)
        assert span.first == 0 or span.first - span.start >= halo
        assert min(length, span.last + halo) <= span.stop <= length
        assert span.length <= tile
        assert span.start % multiple == 0
        assert span.stop % multiple == 0 or span.stop == length
    if length >= tile:
        assert {s.length for s in found[:-1]} <= {tile}
        assert length % multiple or {s.length for s in found} == {tile}


@given(LENGTHS, st.integers(1, 8), HALOS, MULTIPLES)
def test_no_grid_has_fewer_tiles(length: int, extra: int, halo: int, multiple: int) -> None:
    tile = least_tile(halo, multiple) + (extra - 1) * multiple
    found = len(spans(length, tile, halo, multiple))

    # the first and last reach to the border; each other tile advances by whole multiples
    step = (tile - 2 * halo) // multiple * multiple
    assert found == 1 or (found - 2) * step + tile < length


@given(LENGTHS, st.integers(1, 9), HALOS, MULTIPLES)
def test_a_tile_for_a_count_is_the_smallest(
    length: int, count: int, halo: int, multiple: int
) -> None:
    tile = tile_for(length, count, halo, multiple)

    assert len(spans(length, tile, halo, multiple)) <= count
    smaller = tile - multiple
    assume(smaller >= least_tile(halo, multiple))
    assert len(spans(length, smaller, halo, multiple)) > count


def test_a_grid_is_every_pair_of_rows_and_columns() -> None:
    tiles = grid(100, 30, (32, 32), halo=5, multiple=4)

    assert len(tiles) == 5
    assert {tile.shape for tile in tiles} == {(32, 30)}
    assert [(t.rows.first, t.rows.last) for t in tiles][:2] == [(0, 27), (27, 47)]
    assert {(t.columns.first, t.columns.last) for t in tiles} == {(0, 30)}


@pytest.mark.parametrize(
    ("tile", "halo", "multiple", "words"),
    [
        ((10, 64), 5, 1, "give at least 11"),
        ((64, 12), 5, 4, "give at least 16, in multiples of 4"),
        ((63, 64), 5, 4, "in multiples of 4"),
        ((0, 64), 5, 1, "at least 1"),
        ((64, 64), -1, 1, "at least 0"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    tile: tuple[int, int], halo: int, multiple: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        grid(100, 100, tile, halo, multiple)


@given(st.integers(1, 64), st.integers(1, 48))
def test_a_rule_of_sizes_is_found_by_trying(least: int, step: int) -> None:
    asked: list[int] = []

    def takes(side: int) -> bool:
        asked.append(side)
        return side >= least and (side - least) % step == 0

    reachable = any(takes(side) for side in (256, 240, 252, 512, *range(8, 513, 8)))
    asked.clear()
    rule = size_rule(takes)

    assert rule == (SizeRule(least, step) if reachable else None)
    assert len(asked) < 150


def test_a_fixed_size_is_found() -> None:
    assert size_rule(lambda side: side == 48) == SizeRule(48, None)
    assert size_rule(lambda side: side == 512) == SizeRule(512, None)
    assert size_rule(lambda side: False) is None


def test_sides_of_a_rule() -> None:
    rule = SizeRule(least=12, step=8)

    assert [rule.side(i) for i in range(3)] == [12, 20, 28]
    assert (rule.index(27), rule.index(28), rule.index(3)) == (1, 2, 0)
    assert (rule.at_least(1), rule.at_least(20), rule.at_least(21)) == (12, 20, 28)
    assert not rule.aligned and SizeRule(8, 8).aligned and not SizeRule(48, None).aligned
    assert SizeRule(48, None).at_least(100) == 48
