"""The latency estimate on a made-up device whose figures can be worked out in the head."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

import srprof
from srprof.cost.estimate import estimate, estimate_costs
from srprof.cost.node import estimate_node
from srprof.cost.profiles import load_profile
from srprof.cost.roofline import modelled
from srprof.cost.tables import convolution
from srprof.errors import InputError
from srprof.ops import FAMILIES, Product
from tests.made_up_costs import cost, plain_device

US = 1e-6


def test_memory_bound():
    """1 MB at 100 GB/s is 10 us, and 1 us for the launch."""
    found = estimate_node(cost(read=400_000, written=600_000), plain_device())
    assert found.seconds == pytest.approx(11 * US)
    assert (found.memory, found.overhead) == pytest.approx((10 * US, US))
    assert (found.compute, found.bound) == (0, "memory")


def test_compute_bound():
    """10 tiles of 128x32 by a depth of 1000: 2 x 40,960 x 1000 FLOPs at 1 TFLOP/s."""
    found = estimate_node(cost("conv", product=Product(1, 1280, 32, 1000)), plain_device())
    assert found.compute == pytest.approx(81.92 * US)
    assert found.seconds == pytest.approx(82.92 * US)
    assert found.bound == "compute"


def test_launch_bound():
    found = estimate_node(cost(read=4, written=4), plain_device())
    assert found.bound == "launch"
    assert found.seconds == pytest.approx(US, rel=1e-3)


def test_a_view_costs_nothing():
    found = estimate_node(cost("view"), plain_device())
    assert (found.seconds, found.overhead, found.bound) == (0, 0, "free")


def test_a_bias_is_a_pass_and_a_launch_of_its_own():
    node = cost("conv", written=1_000_000, product=Product(1, 1280, 32, 1), bias=1_000_000)
    found = estimate_node(node, plain_device())
    assert found.bias == pytest.approx(20 * US)  # read and written
    assert found.overhead == pytest.approx(2 * US)
    assert found.seconds == pytest.approx((10 + 20 + 2) * US)
    fused = estimate_node(node, plain_device(bias_pass=False))
    assert (fused.bias, fused.seconds) == pytest.approx((0, 11 * US))


def seconds_of(columns, rows=128_000, depth=450, **shares):
    device = plain_device()
    values = {f"compute.{key}": value for key, value in shares.items()}
    node = cost("conv", product=Product(1, rows, columns, depth))
    return estimate_node(node, device.with_values(values)).compute


def test_channels_are_padded_to_the_tile():
    assert seconds_of(1) == seconds_of(32)
    assert seconds_of(50) == pytest.approx(2 * seconds_of(32))
    assert seconds_of(96) == pytest.approx(3 * seconds_of(32))


def test_the_fastest_tile_is_taken():
    narrow = {"tile_32": 0.5, "tile_64": 0.8, "tile_128": 0.85}
    assert seconds_of(50, **narrow) == pytest.approx(seconds_of(64) / 0.8)
    assert seconds_of(32, **narrow) == pytest.approx(seconds_of(32) / 0.5)
    # three tiles of 32 at a half, or two of 64 at 0.8: the second
    assert seconds_of(96, **narrow) == pytest.approx(seconds_of(96) * 4 / 3 / 0.85)


def test_few_tiles_leave_multiprocessors_idle():
    """One tile takes as long as one on each of the 10 multiprocessors."""
    assert seconds_of(32, rows=128) == pytest.approx(seconds_of(32, rows=1280))
    assert seconds_of(32, rows=1281) == pytest.approx(2 * seconds_of(32, rows=1280))


def test_small_products_get_small_tiles():
    assert seconds_of(32, rows=20) == pytest.approx(seconds_of(32, rows=128) / 4)


def test_a_depthwise_convolution_has_a_share_of_its_own():
    node = cost("depthwise", flops=1_000_000)
    assert estimate_node(node, plain_device()).compute == pytest.approx(10 * US)


def test_families_in_the_same_tiles_may_reach_less():
    product = Product(1, 1280, 32, 1000)
    device = plain_device(relative={"matmul": 0.5})
    slow = estimate_node(cost("matmul", product=product), device).compute
    assert slow == pytest.approx(2 * estimate_node(cost("conv", product=product), device).compute)


def test_tensor_cores_have_shares_of_their_own():
    device = plain_device(
        peak={"float32": 1.0, "tf32": 8.0},
        compute={"tensor_32": 0.25, "tensor_64": 0.25, "tensor_128": 0.25, "tile_32": 0.5},
        wave=0,
        start=0,
    )
    product = Product(1, 1280, 16, 1024)
    node = cost("conv", product=product, channels=(1024, 16), channels_last=True)
    conv = estimate_node(node, device).compute
    linear = estimate_node(cost("matmul", product=product), device).compute
    assert linear == pytest.approx(4 * conv)  # 8 x 0.25 against 1 x 0.5
    weak = device.with_values({"compute.tensor_32": 0.01, "compute.tensor_64": 0.01})
    weak = weak.with_values({"compute.tensor_128": 0.01})
    slow = estimate_node(node, weak).compute
    assert slow == pytest.approx(linear)  # TF32 is allowed, not forced


def test_a_dtype_that_the_device_lacks():
    node = cost("conv", product=Product(1, 8, 8, 8), dtype="float64")
    with pytest.raises(InputError, match="profile made_up has no peak for float64; it has float32"):
        estimate_node(node, plain_device())
    depthwise = cost("depthwise", flops=8, dtype="float64")
    with pytest.raises(InputError, match="no peak for float64"):
        estimate_node(depthwise, plain_device())


def test_reads_across_the_grain_are_slow():
    device = plain_device(bandwidth_share={"strided": 0.25, "movement": 1.0})
    node = cost("movement", read=1_000_000, written=1_000_000, strided=1_000_000)
    assert estimate_node(node, device).memory == pytest.approx((40 + 10) * US)


def test_a_copied_input_is_written_and_read_again():
    """In a kernel of its own, across the grain in pieces."""
    node = cost("depthwise", read=1_000_000, written=0, copied=1_000_000)
    found = estimate_node(node, plain_device())
    assert (found.memory, found.layout) == (pytest.approx(10 * US), pytest.approx(20 * US))
    across = plain_device(bandwidth_share={"strided": 0.25, "movement": 1.0})
    slow = estimate_node(replace(node, across=True), across)
    assert slow.layout == pytest.approx((40 + 10) * US)
    assert found.overhead == pytest.approx(2 * US)


def test_short_rows_leave_the_threads_of_a_layer_norm_idle():
    device = plain_device()
    long = estimate_node(cost("norm", read=1_000_000, row=512), device).memory
    short = estimate_node(cost("norm", read=1_000_000, row=64), device).memory
    assert short == pytest.approx(4 * long)


@pytest.mark.parametrize(
    "cache_bandwidth, written, expected",
    [
        (400, 500_000, 0.25),  # what the last kernel wrote is still there
        (400, 600_000, 1 - 0.75 * (2 - 1_100_000 / 2**20)),  # most of it, beside what was read
        (400, 1_600_000, 1.0),  # twice what fits
        (None, 500_000, 1.0),  # nobody says how fast the cache is
    ],
)
def test_what_fits_in_the_cache_is_read_faster(cache_bandwidth, written, expected):
    table = {"cache_bandwidth": cache_bandwidth} if cache_bandwidth else {}
    device = plain_device(**table)  # a cache of 1 MiB
    first = cost(read=500_000, written=written, writes=(7,))
    view = cost("view")
    second = cost(reads=((7, written),), read=0)
    found = estimate_costs([first, view, second], device).nodes[2]
    assert found.memory == pytest.approx(expected * written / 100e9, rel=1e-5)


def test_a_bias_is_added_to_what_is_still_in_the_cache():
    """And what comes next finds it there, whatever the convolution had read."""
    device = plain_device(cache_bandwidth=400, bias_pass=True)
    first = cost("conv", read=900_000, written=800_000, bias=800_000, writes=(7,))
    second = cost(reads=((7, 800_000),), read=0, written=800_000, writes=(7,))
    found = estimate_costs([first, second], device).nodes
    assert found[0].bias == pytest.approx(1_600_000 / 400e9)
    assert found[1].memory == pytest.approx(800_000 / 400e9 + 800_000 / 100e9)
    large = replace(first, written=2_000_000, bias=2_000_000)
    assert estimate_node(large, device).bias == pytest.approx(4_000_000 / 100e9)


def test_copies_to_channels_innermost_stay_in_the_cache():
    """What the copy wrote, its convolution reads there; of twice what fits, nothing."""
    device = load_profile("rtx4090")
    without = replace(device, cache_bandwidth=None)
    for pixels, faster in ((2**16, device.cache_bandwidth / device.bandwidth), (2**20, 1.0)):
        node = convolution(
            *("float16", False, False, 64, 64),
            groups=1,
            taps=9,
            stride=1,
            dilation=1,
            pixels=pixels,
        )
        copying = [modelled(node, profile)[2] for profile in (without, device)]
        assert copying[0] / copying[1] == pytest.approx(faster)


def test_only_the_kernel_just_before_feeds_the_cache():
    device = plain_device(cache_bandwidth=400)
    first, between = cost(written=500_000, writes=(7,)), cost(written=4, writes=(8,))
    last = cost(reads=((7, 500_000),))
    assert estimate_costs([first, between, last], device).nodes[2].memory == pytest.approx(5 * US)


def test_modules_hold_what_is_inside_them():
    nodes = [
        cost(read=n * 100_000, module=m) for n, m in [(1, "body.0.conv"), (2, "body.1"), (3, "")]
    ]
    found = estimate_costs(nodes, plain_device(launch=0))
    assert {k: round(v / US) for k, v in found.by_module.items()} == {
        "": 6,
        "body": 3,
        "body.0": 1,
        "body.0.conv": 1,
        "body.1": 2,
    }


def test_classes_come_longest_first():
    nodes = [cost("norm", read=100), cost("conv", read=900, op_class="conv3x3/64"), cost("view")]
    assert list(estimate_costs(nodes, plain_device()).by_class) == ["conv3x3/64", "norm"]


def test_nothing_takes_no_time():
    found = estimate_costs([], plain_device())
    assert (found.seconds, found.uncertainty, found.overhead_share) == (0, 0, 0)


def test_uncertainty_without_a_fit():
    spread = dict.fromkeys(("conv", "norm", "launch", "common"), 0.0)
    device = plain_device(spread={**spread, "conv": 0.3, "norm": 0.4}, launch=0)
    nodes = [cost("conv", read=1_000_000), cost("norm", read=1_000_000)]
    assert estimate_costs(nodes, device).uncertainty == pytest.approx(5 * US)  # 3 and 4
    device = plain_device(spread={**spread, "conv": 0, "norm": 0, "common": 0.2}, launch=0)
    assert estimate_costs(nodes, device).uncertainty == pytest.approx(4 * US)


def test_uncertainty_of_a_fit():
    """Families that the fit saw share its held-out errors; the rest keep their spread."""
    device = plain_device(
        spread={"norm": 0.4}, launch=0, held_out_rms=0.03, fitted=["conv", "elementwise"]
    )
    nodes = [cost("conv", read=1_000_000)]
    found = estimate_costs(nodes, device)
    assert found.uncertainty == pytest.approx(0.3 * US)
    assert found.uncertainty_from == "root mean square of the fit's held-out errors (3.0 %)"
    found = estimate_costs([*nodes, cost("norm", read=100_000)], device)
    assert found.uncertainty == pytest.approx(0.5 * US)  # 0.3 and 0.4
    assert found.uncertainty_from.endswith("for norm, which the fit did not see")


families = st.sampled_from([*FAMILIES, "view"])
modules = st.sampled_from(["", "a", "a.b", "a.b.c", "d"])


@st.composite
def made_up_nodes(draw):
    nodes = []
    for index in range(draw(st.integers(0, 6))):
        family = draw(families)
        product = None
        if family in {"conv", "conv1x1", "grouped", "matmul"}:
            product = Product(*(draw(st.integers(1, n)) for n in (4, 5000, 300, 600)))
        nbytes = st.integers(0, 10**8)
        read = draw(nbytes)
        nodes.append(
            cost(
                family,
                product=product,
                module=draw(modules),
                flops=draw(nbytes) if family == "depthwise" else 2 * prod(product or (0,)),
                reads=((max(0, index - 1), read),),
                written=draw(nbytes),
                writes=(index,),
                strided=draw(st.integers(0, read)) if family == "movement" else 0,
                bias=draw(nbytes) if family == "conv" else 0,
                row=draw(st.integers(0, 600)) if family == "norm" else 0,
            )
        )
    return nodes


@given(made_up_nodes())
def test_parts_sum_to_totals(nodes):
    found = estimate_costs(nodes, plain_device(cache_bandwidth=300))
    total = pytest.approx(found.seconds)
    assert sum(node.seconds for node in found.nodes) == total
    assert sum(found.by_class.values()) == total
    assert found.by_module[""] == found.seconds
    tops = {m: s for m, s in found.by_module.items() if m and "." not in m}
    outside = sum(n.seconds for n in found.nodes if n.cost.module == "")
    assert sum(tops.values()) + outside == total
    assert sum(node.overhead for node in found.nodes) == pytest.approx(found.overhead)
    assert 0 <= found.overhead_share <= 1
    for node in found.nodes:
        work = max(node.compute, node.memory)
        assert node.seconds == pytest.approx(work + node.bias + node.overhead)


FIGURES = ["bandwidth", "peak", "compute", "bandwidth_share", "cache_bandwidth"]


@given(made_up_nodes(), st.sampled_from(FIGURES), st.floats(1, 100))
def test_a_better_device_is_never_slower(nodes, figure, factor):
    device = plain_device(cache_bandwidth=300)
    if figure in {"bandwidth", "cache_bandwidth"}:
        better = device.with_values({figure: factor * getattr(device, figure)})
    else:
        better = device.with_values({figure: factor})
    before, after = estimate_costs(nodes, device), estimate_costs(nodes, better)
    assert after.seconds <= before.seconds * (1 + 1e-9)


@given(made_up_nodes(), made_up_nodes())
def test_more_nodes_never_take_less(nodes, more):
    device = plain_device()
    assert estimate_costs([*nodes, *more], device).seconds >= estimate_costs(nodes, device).seconds


@given(made_up_nodes(), st.integers(0, 6))
def test_a_view_changes_nothing(nodes, place):
    device = plain_device(cache_bandwidth=300)
    with_view = [*nodes[:place], cost("view"), *nodes[place:]]
    before, after = estimate_costs(nodes, device), estimate_costs(with_view, device)
    assert after.seconds == pytest.approx(before.seconds)
    assert after.uncertainty == pytest.approx(before.uncertainty)


@given(made_up_nodes())
def test_the_uncertainty_is_of_the_size_of_the_estimate(nodes):
    found = estimate_costs(nodes, plain_device())
    assert 0 <= found.uncertainty <= 2 * found.seconds


def test_table_4_in_order():
    """Published runtimes of the extremes: ByteESR 27 ms, E-RFDN 42 ms, IMDN 51 ms."""
    device = load_profile("ntire2022")
    names = ("rlfn", "e_rfdn", "imdn")
    found = [estimate(srprof.trace(name, (1, 3, 339, 510)), device) for name in names]
    assert [e.seconds for e in found] == pytest.approx([0.0271, 0.0420, 0.0509], rel=0.15)
    for each in found:
        assert 0.005 < each.overhead_share < 0.1
        assert next(iter(each.by_class)) == "conv3x3/64"
