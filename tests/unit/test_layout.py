"""A CPU's blocks of channels: what they cost, worked out in the head; and broken ones."""

from __future__ import annotations

import pytest

from srprof.cost.node import estimate_node
from srprof.cost.profiles import parse_profile, to_toml
from srprof.errors import InputError
from srprof.files import parse_toml
from srprof.ops import Product
from tests.made_up_costs import cost, plain_device

US = 1e-6
LAYOUT = {"block": 16, "compute": 0.5, "bandwidth": 0.25}
CPU = plain_device(layout=LAYOUT, bias_pass=False)


def convolution(inner: int, outer: int, pixels: int = 1000, taps: int = 9, family: str = "conv"):
    product = Product(1, pixels, outer, inner * taps)
    image, result = 4 * pixels * inner, 4 * pixels * outer
    return cost(family, image, result, product, taps=taps)


def test_channels_are_filled_up_to_blocks_on_both_sides():
    """50 channels are 64: 2 x 1000 x 64 x 64 x 9 FLOPs at half of 1 TFLOP/s."""
    found = estimate_node(convolution(50, 50), CPU)
    assert found.compute == pytest.approx(147.456 * US)
    assert found.compute == estimate_node(convolution(64, 64), CPU).compute
    assert found.compute == pytest.approx(16 * estimate_node(convolution(16, 16), CPU).compute)


def test_maps_are_copied_into_the_layout_and_back():
    """0.4 MB, read and written once more each, at a quarter of 100 GB/s."""
    found = estimate_node(convolution(50, 50), CPU)
    assert found.layout == pytest.approx(32 * US)
    parts = max(found.compute, found.memory) + found.layout + found.overhead
    assert found.seconds == pytest.approx(parts)
    assert found.bias == 0


def test_an_image_s_three_channels_are_taken_as_they_are():
    found = estimate_node(convolution(3, 16), CPU)
    assert found.compute == pytest.approx(2 * 1000 * 16 * 27 / 0.5e12)
    assert found.layout == pytest.approx(2 * 64_000 / 25e9)


def test_a_pointwise_convolution_is_a_plain_product():
    """At its share of the peak itself, as wide as it is, and where its maps are."""
    device = plain_device(layout=LAYOUT, relative={"conv1x1": 0.2})
    found = estimate_node(convolution(50, 25, taps=1, family="conv1x1"), device)
    assert found.compute == pytest.approx(2 * 1000 * 50 * 25 / 0.2e12)
    assert found.layout == 0


def test_a_depthwise_convolution_is_copied_too():
    found = estimate_node(cost("depthwise", read=100_000, written=100_000), CPU)
    assert found.layout == pytest.approx(16 * US)
    assert found.bound == "memory"


def test_without_a_layout_nothing_is_copied():
    assert estimate_node(convolution(50, 50), plain_device()).layout == 0


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"block": 16, "compute": 0.5}, r"layout\.bandwidth is missing"),
        ({**LAYOUT, "block": 2.5}, r"layout\.block is 2\.5, not a whole number"),
        (
            {**LAYOUT, "compute": 2},
            r"layout\.compute is 2, not a share of at most 1",
        ),
        ({**LAYOUT, "bandwidth": 6}, r"layout\.bandwidth is 6, not a share of at most 5"),
        ({**LAYOUT, "blocks": 16}, r"unknown key layout\.blocks; did you mean block\?"),
    ],
)
def test_a_broken_layout_says_which_key(layout, message):
    with pytest.raises(InputError, match=message):
        plain_device(layout=layout)


def test_a_layout_is_written_and_read_again():
    again = parse_profile("cpu", parse_toml(to_toml(CPU)), "again")
    assert again.layout == CPU.layout == LAYOUT


def test_a_cache_may_serve_more_than_the_memory_does():
    assert plain_device(bandwidth_share={"elementwise": 3.0}).bandwidth_share["elementwise"] == 3.0
    with pytest.raises(
        InputError, match=r"bandwidth_share\.elementwise is 7.0, not a share of at most 5"
    ):
        plain_device(bandwidth_share={"elementwise": 7.0})
