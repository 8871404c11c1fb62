"""The tables of measured operations that come with srprof, and how one is carried elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from srprof.cost.correction import measured
from srprof.cost.node import estimate_node
from srprof.cost.profiles import load_profile
from srprof.cost.tables import convolution, load_record, packaged_tables, rows_of, table_path
from tests.made_up_costs import cost

MOST = 300_000


def test_all_tables_are_small():
    assert 0 < sum(table_path(name).stat().st_size for name in packaged_tables()) <= MOST


@pytest.mark.parametrize("name", packaged_tables())
def test_a_table_is_of_the_profile_of_its_name(name):
    """So where a datasheet's figure is corrected, its table is made anew."""
    found, card = measured(name), load_profile(name)
    assert found is not None and card.table == name
    if name == "a100":  # the profile's has other memory
        assert (found.base.bandwidth, card.bandwidth) == (1555e9, 2039e9)
        found = replace(found, base=replace(found.base, bandwidth=card.bandwidth))
    assert found.base.figures == card.figures


@pytest.mark.parametrize("name", ["tesla_p4", "tesla_p100", "tesla_t4", "v100"])
def test_a_measured_convolution_takes_what_was_measured(name):
    card = load_profile(name)
    card = card if "tf32" not in card.peak else replace(card, peak={"float32": 1.0})
    rows = [row for row in rows_of(load_record(table_path(name))) if row.cost.family == "conv"]
    for row in rows[::40]:
        found = estimate_node(row.cost, replace(card, launch=0.0, gap=None))
        assert found.seconds == pytest.approx(row.seconds, rel=1e-6)
        assert found.distance == 0


def test_a_table_is_carried_by_bandwidth_where_there_is_more_for_each_multiprocessor():
    """A P4's additions are bound by its memory; a 1080 Ti has 2.5 times as much."""
    node = cost("elementwise", op="add", read=200_000_000, written=100_000_000)
    there, here = (
        estimate_node(node, replace(load_profile(name), gap=0.0)).seconds
        for name in ("tesla_p4", "gtx1080ti")
    )
    assert there / here == pytest.approx(484 / 192)


def test_winograd_is_known_by_the_ratio_of_what_was_measured():
    """Wide 3x3 convolutions take fewer products than they have; narrow ones do not pay."""

    def of_direct(channels: int) -> float:
        node = convolution("float32", False, False, channels, channels, 1, 9, 1, 1, 172_890)
        card = load_profile("gtx1080ti")
        alone = estimate_node(node, replace(card, table=""))
        return estimate_node(node, card).compute / alone.compute

    assert of_direct(128) < of_direct(64) < of_direct(16)
    assert of_direct(128) < 0.75
