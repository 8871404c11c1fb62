"""Searches for the largest size, against looking at every one."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from srprof.memory.budget import largest_growing, largest_within

GROWTH = st.lists(st.integers(0, 50), min_size=1, max_size=120)


def brute(values: list[float], budget: int) -> int | None:
    """The last index within the budget."""
    return max((i for i, v in enumerate(values) if v <= budget), default=None)


@given(GROWTH, st.integers(0, 3000), st.integers(1, 3))
def test_growing_bytes_whatever_the_area_says(growth: list[int], budget: int, power: int) -> None:
    values = [float(v) for v in accumulate(growth)]
    found = largest_growing(values.__getitem__, budget, lambda i: float(i**power), len(values))

    assert found == brute(values, budget)


@given(GROWTH, st.integers(0, 3000), st.data())
def test_bytes_that_fall(growth: list[int], budget: int, data: st.DataObject) -> None:
    bound = [float(v) for v in accumulate(growth)]
    more = data.draw(st.lists(st.integers(0, 300), min_size=len(bound), max_size=len(bound)))
    needs = [b + m for b, m in zip(bound, more, strict=True)]
    found = largest_within(
        needs.__getitem__, bound.__getitem__, budget, lambda i: float(i * i), len(needs)
    )

    assert found == brute(needs, budget)


@given(
    st.integers(1, 10**6),
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 2000)), min_size=1, max_size=4),
    st.integers(0, 10**11),
)
def test_a_peak_of_images_takes_few_looks(
    least: int, sums: list[tuple[int, int]], budget: int
) -> None:
    """The most of a few sums that grow with the area, each rounded up to 512."""
    asked: list[int] = []

    def needs(index: int) -> float:
        asked.append(index)
        pixels = (index + 15) ** 2
        return least + max(-(-(a + b * pixels) // 512) * 512 for a, b in sums)

    found = largest_growing(needs, budget, lambda i: float((i + 15) ** 2), 2**20)

    assert len(asked) == len(set(asked)) <= 24
    if found is None:
        assert needs(0) > budget
    else:
        assert needs(found) <= budget < needs(found + 1)


def test_the_end_is_not_tried() -> None:
    assert largest_growing(lambda i: 0.0 if i < 5 else 1 / 0, 10, float, 5) == 4
    assert largest_growing(lambda i: float(i), 10, float, 1) == 0


def test_a_size_that_cannot_be_is_over_every_budget() -> None:
    def needs(index: int) -> float:
        return float(index) if index < 1000 else float("inf")

    assert largest_growing(needs, 10**9, float, 2**40) == 999


def test_none_where_the_first_is_over_the_budget() -> None:
    assert largest_growing(lambda i: 11.0 + i, 10, float, 100) is None
    assert largest_within(lambda i: 11.0, lambda i: float(i), 10, float, 100) is None
