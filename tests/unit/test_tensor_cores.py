"""What differs on a GPU with tensor cores, worked out in the head; each rule seen on an H100."""

from __future__ import annotations

from dataclasses import replace

import pytest

import srprof
from srprof.cost.estimate import estimate, estimate_costs
from srprof.cost.node import estimate_node
from srprof.cost.profiles import load_profile, parse_profile, to_toml
from srprof.errors import InputError
from srprof.files import parse_toml
from srprof.ops import Product
from tests.made_up_costs import cost, plain_device

US = 1e-6
#: 8 and 16 TFLOP/s in tensor cores, of which tiles of 32 and 64 reach a quarter and a half.
TABLE = {
    "peak": {"float32": 0.1, "tf32": 8.0, "float16": 16.0},
    "compute": {
        **{"tile_32": 1.0, "tile_64": 1.0, "tile_128": 1.0, "depthwise": 0.1},
        **{"tensor_32": 0.25, "tensor_64": 0.5, "tensor_128": 0.5},
    },
    "relative": {"grouped": 1.0},
    "tensor": {"transpose": 0.5, "unaligned": 0.5, "odd": 0.5},
    **{"gap": 0, "wave": 0, "launch": 0, "gather": 1e6, "start": 0, "serial": 0},
    "host": {"view": 0, "module": 0},
}


def gpu(**changes):
    return plain_device(**{**TABLE, **changes})


GPU = gpu()


def convolution(inner, outer, dtype="float32", taps=9, family="conv", pixels=1280, **other):
    size = 4 if dtype == "float32" else 2
    product = Product(1, pixels, outer, inner * taps)
    image, result = size * pixels * inner, size * pixels * outer
    fields = {"taps": taps, "channels": (inner, outer), "dtype": dtype, **other}
    return cost(family, image, result, product, **fields)


def compute(inner, outer, dtype="float32", device=GPU, **other):
    return estimate_node(convolution(inner, outer, dtype, **other), device).compute


def layout(inner, outer, dtype="float32", device=GPU, **other):
    return estimate_node(convolution(inner, outer, dtype, **other), device).layout


# -- convolutions ---------------------------------------------------------------------------------


def test_plain_maps_are_copied_into_the_layout_and_back():
    """2 x 1280 x (64 + 64) x 4 bytes, at half of 100 GB/s."""
    found = estimate_node(convolution(64, 64), GPU)
    assert found.layout == pytest.approx(2 * 1280 * 128 * 4 / 50e9)
    parts = max(found.compute, found.memory) + found.layout + found.overhead
    assert found.seconds == pytest.approx(parts)
    assert layout(64, 64, "float16") == pytest.approx(found.layout / 2)


def test_what_is_in_that_layout_already_is_not_copied():
    assert layout(64, 64, channels_last=True) == 0
    assert compute(64, 64, channels_last=True) == compute(64, 64)


def test_channels_that_are_no_vectors_are_filled_up_in_that_layout_too():
    """50 floats to 52, from 200 bytes to 208 that are zeroed first, and back, each on its side."""
    both = layout(50, 50, channels_last=True)
    one = layout(50, 64, channels_last=True) + layout(64, 50, channels_last=True)
    copied = 1280 * (2 * (200 + 208) / 50e9 + 208 / 100e9)
    assert both == pytest.approx(one) == pytest.approx(copied)


def test_few_channels_are_filled_up_in_that_layout():
    """Those of an image too: cuDNN has no kernels for such maps but in tensor cores."""
    inside, plain = (compute(3, 64, channels_last=last) for last in (True, False))
    assert inside < plain
    assert layout(3, 64, channels_last=True) > layout(3, 64) == 0


def test_a_copy_moves_whole_pieces_of_64_bytes():
    """Of a pixel's channels: 16 in float32, 32 in float16."""
    assert layout(64, 4) == pytest.approx(layout(64, 16))
    assert layout(64, 4, "float16") == pytest.approx(layout(64, 32, "float16"))
    assert layout(64, 20) == pytest.approx(layout(64, 32))


def test_channels_that_are_filled_up_are_set_to_zero_first():
    """50 channels of 4 bytes are 208 bytes and not 200; their copies move 256."""
    found = layout(50, 64) - layout(64, 64)
    assert found == pytest.approx(1280 * 208 / 100e9)
    assert layout(52, 64) == pytest.approx(layout(64, 64))


def test_each_copy_is_a_kernel():
    """Of image, filters and result, after a counter was zeroed; the filling up takes two more."""
    device = gpu(gap=1)
    plain = estimate_node(convolution(64, 64, channels_last=True), device).overhead
    assert plain == pytest.approx(US)
    assert estimate_node(convolution(64, 64), device).overhead == pytest.approx(5 * US)
    assert estimate_node(convolution(50, 64), device).overhead == pytest.approx(7 * US)


def test_few_channels_stay_outside_tensor_cores():
    """In single precision, whatever their type, and where their maps are."""
    expected = 2 * 1280 * 32 * 15 * 9 / 0.1e12
    for dtype in ("float32", "float16"):
        assert compute(15, 32, dtype) == pytest.approx(expected)
        assert layout(15, 32, dtype) == 0
        assert layout(16, 32, dtype) > 0


def test_a_pointwise_convolution_takes_the_maps_as_they_are():
    node = convolution(10, 10, taps=1, family="conv1x1")
    found = estimate_node(node, GPU)
    assert found.layout == 0
    assert found.compute == pytest.approx(2 * 1280 * 32 * 10 / 2e12)  # in tensor cores all the same


def test_where_the_copies_cost_more_than_they_gain_they_are_not_made():
    slow = gpu(tensor={"transpose": 0.0001})
    assert layout(64, 64, device=slow) == 0
    assert compute(64, 64, device=slow) == pytest.approx(2 * 1280 * 64 * 576 / 0.1e12)


def test_only_whole_tiles_of_64_are_taken():
    assert compute(64, 64) == pytest.approx(2 * 1280 * 64 * 576 / 4e12)
    assert compute(64, 48) == pytest.approx(2 * 1280 * 64 * 576 / 2e12)
    assert compute(64, 48) == pytest.approx(2 * compute(64, 32))


def test_maps_of_a_pointwise_convolution_that_begin_at_odd_addresses():
    whole = estimate_node(convolution(64, 64, taps=1, family="conv1x1", pixels=1280), GPU)
    odd = estimate_node(convolution(64, 64, taps=1, family="conv1x1", pixels=1279), GPU)
    assert odd.compute == pytest.approx(whole.compute / 0.5)  # `unaligned`


def test_a_kernel_takes_a_while_before_it_works():
    device = gpu(start=2)
    added = estimate_node(convolution(64, 64), device).seconds
    added -= estimate_node(convolution(64, 64), GPU).seconds
    assert added == pytest.approx(5 * 2 * US)  # the convolution and four copies


def test_a_pooling_waits_for_what_each_thread_reads():
    device = gpu(serial=50)
    node = cost("resample", read=4, written=4, serial=1000)
    assert estimate_node(node, device).memory == pytest.approx(1000 * 50e-9)


def test_channels_are_taken_in_pieces():
    assert compute(24, 64) == pytest.approx(compute(32, 64))
    assert compute(48, 64, "float16") == pytest.approx(compute(64, 64, "float16"))


@pytest.mark.parametrize(
    "dtype, inner, like, factor",
    [
        ("float32", 50, 64, 2),  # filled up to 52: 208 bytes
        ("float32", 56, 64, 1),  # 224 bytes, 7 times 32
        ("float32", 46, 48, 1),  # filled up to 48
        ("float16", 50, 64, 2),  # filled up to 56: 112 bytes
        ("float16", 40, 64, 2),  # 80 bytes
        ("float16", 48, 64, 1),  # 96 bytes
    ],
)
def test_channels_that_are_no_multiple_of_32_bytes_are_slow(dtype, inner, like, factor):
    assert compute(inner, 64, dtype) == pytest.approx(factor * compute(like, 64, dtype))


def test_each_wave_of_tiles_waits():
    """10 multiprocessors: 10 tiles are a wave, and the eleventh another."""
    slow = gpu(wave=3)
    for pixels, waves in ((1280, 1), (1281, 2), (128, 1)):
        found = compute(64, 64, device=slow, pixels=pixels) - compute(64, 64, pixels=pixels)
        assert found == pytest.approx(waves * 3 * US)


def test_a_depthwise_convolution_is_in_single_precision():
    node = cost("depthwise", flops=1_000_000, dtype="float16")
    assert estimate_node(node, GPU).compute == pytest.approx(100 * US)


def test_what_is_taken_singly_is_no_faster_than_a_multiprocessor_takes_it():
    """3.1e9 elements a second by each of 10: halves no faster than floats, if memory allows."""
    fast = gpu(bandwidth=1e6)  # GB/s
    biases = [
        estimate_node(cost("conv", bias=size * 31_000_000, dtype=dtype), fast).bias
        for dtype, size in (("float16", 2), ("float32", 4))
    ]
    assert biases == pytest.approx([31e6 / (3.1e9 * fast.sms)] * 2)
    slow = estimate_node(cost("conv", bias=2000, dtype="float16"), GPU).bias
    assert slow == pytest.approx(2 * 2000 / GPU.bandwidth)  # which its memory holds up


def test_a_resampling_takes_as_long_as_what_it_gathers():
    node = cost("resample", read=100, written=100, gathered=5_000_000)
    device = gpu(gather=100)  # 10^11 values a second
    assert estimate_node(node, device).memory == pytest.approx(50 * US)
    assert estimate_node(node, replace(device, gather=None)).memory == pytest.approx(0.002 * US)


# -- the host -------------------------------------------------------------------------------------


def test_a_device_waits_for_its_host_or_the_host_for_the_device():
    """Five operations of a kernel each: the host needs 2 x 3 us for each."""
    device = gpu(launch=3, gap=1)
    small, large = (estimate_costs([cost(read=n)] * 5, device) for n in (100_000, 1_000_000))
    assert small.seconds == pytest.approx(32 * US)  # the last begins at 30, and takes 1 + 1 us
    assert small.overhead == pytest.approx(27 * US)
    assert {node.bound for node in small.nodes} == {"launch"}
    assert large.seconds == pytest.approx(61 * US)  # 5 x (10 + 1), after the first launch
    assert large.overhead == pytest.approx(11 * US)
    assert {node.bound for node in large.nodes} == {"memory"}


def test_each_node_waits_for_its_own_launches():
    device = gpu(launch=3, gap=0)
    view, bare = cost("view"), cost(read=4)
    biased = cost("conv1x1", read=4, bias=4)
    found = estimate_costs([bare, view, biased], device)
    assert [round(node.seconds / US, 2) for node in found.nodes] == [6, 0, 12]
    assert sum(node.seconds for node in found.nodes) == pytest.approx(found.seconds)
    assert found.by_module[""] == found.seconds


def test_what_the_host_does_holds_up_the_device_where_it_waits_for_it():
    """The host launches ahead, 6 us a node, until it reads a result."""
    device = gpu(launch=3, gap=0)
    big = cost(read=2_000_000)  # 20 us
    reads = cost("other", on="to-host", written=0)
    found = estimate_costs([big, big, reads, big], device)
    # the copy ends at 6 + 40 us, and the last is launched 6 us later
    assert found.seconds == pytest.approx((6 + 40 + 6 + 20) * US)
    assert found.device == pytest.approx(60 * US)
    ahead = estimate_costs([big, big, big], device)
    assert ahead.seconds == pytest.approx((6 + 60) * US)


def test_work_in_main_memory_is_the_hosts():
    device = gpu(launch=1, host={"cpu": 10, "copy": 10, "view": 0, "module": 0})
    made = cost("movement", read=50_000, written=50_000, on="host")
    copied = cost("movement", read=50_000, written=50_000, on="to-device")
    found = estimate_costs([made, copied], device)
    worked, moved = (node.seconds / US for node in found.nodes)
    assert found.nodes[0].bound == "host"
    assert worked == pytest.approx(1 + 10)  # 100,000 bytes at 10 GB/s
    assert moved == pytest.approx(1 + 5)  # the host copies 50,000 bytes at 10 GB/s
    assert found.seconds * 1e6 == pytest.approx(worked + moved)


def test_views_and_modules_take_the_host_a_while():
    device = gpu(launch=1, host={"view": 2, "module": 5})
    found = estimate_costs([cost("view", entered=3), cost(read=4)], device)
    assert found.host == pytest.approx((2 + 3 * 5 + 2) * US)


def test_without_a_gap_each_launch_is_added():
    device = replace(gpu(launch=3), gap=None)
    assert estimate_costs([cost(read=100_000)] * 5, device).seconds == pytest.approx(20 * US)


# -- profiles -------------------------------------------------------------------------------------


def test_a_profile_with_tensor_cores_has_their_defaults():
    h100, old = load_profile("h100"), load_profile("gtx1080ti")
    assert (
        h100.gap
        and h100.wave
        and h100.gather
        and set(h100.tensor) == {"transpose", "unaligned", "odd"}
    )
    assert (old.wave, old.start, old.tensor) == (None, None, {})
    own = {"title": "t", "base": "gtx1080ti", "peak": {"float16": 20}, "wave": 7}
    mine = parse_profile("mine", own, "mine")
    assert mine.tensor == h100.tensor
    assert mine.wave == pytest.approx(7 * US)
    with pytest.raises(InputError, match="unknown profile 'tensor_cores'"):
        load_profile("tensor_cores")


def test_a_cpu_that_computes_in_bfloat16_has_none():
    layout = {"block": 16, "compute": 0.9, "bandwidth": 0.5}
    cpu = plain_device(peak={"float32": 1, "bfloat16": 2}, layout=layout)
    assert (cpu.gap, cpu.tensor) == (None, {})


def test_the_profile_is_a_file_that_can_be_read_again():
    again = parse_profile("again", parse_toml(to_toml(GPU)), "again")
    assert (again.gap, again.wave, again.gather) == (GPU.gap, GPU.wave, GPU.gather)
    assert again.tensor == GPU.tensor


def test_a_share_that_is_none():
    with pytest.raises(InputError, match=r"tensor\.unaligned is 2, not a share"):
        gpu(tensor={"unaligned": 2})


# -- networks -------------------------------------------------------------------------------------


def test_channels_last_networks_copy_nothing():
    device = load_profile("h100")
    plain, last = (
        estimate(srprof.trace("imdn", "64x64", channels_last=flag), device)
        for flag in (False, True)
    )
    assert sum(node.layout for node in plain.nodes) > 0
    assert sum(node.layout for node in last.nodes) < 0.3 * sum(node.layout for node in plain.nodes)
