"""What could be saved, on made-up devices: each cost is what the model says without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srprof.analysis.record import AvoidableRecord
from srprof.cost.avoidable import LEAST, Avoidable, avoidable
from srprof.cost.classes import NodeCost
from srprof.cost.estimate import estimate_costs, seconds_with
from srprof.cost.node import Alike, estimate_node
from srprof.cost.profiles import Profile
from srprof.memory.host import HostWork
from srprof.ops import Product
from srprof.render.views.latency import MOST, avoidable_lines, bounds
from tests.made_up_costs import cost, plain_device

US = 1e-6
PIXELS = 128_000
#: 8 TFLOP/s in tensor cores, half of which channels reach that are no multiple of 32 bytes.
TENSOR_CORES = {
    "peak": {"float32": 0.1, "tf32": 8.0},
    "compute": {
        **{"tile_32": 1.0, "tile_64": 1.0, "tile_128": 1.0, "depthwise": 0.1},
        **{"tensor_32": 0.5, "tensor_64": 0.5, "tensor_128": 0.5},
    },
    "tensor": {"transpose": 1.0, "unaligned": 0.5},
    **{"gap": 0, "wave": 0, "launch": 0, "start": 0, "gather": 1e6, "bias_pass": False},
    "host": {"view": 0, "module": 0},
}


def gpu(**changes) -> Profile:
    return plain_device(**{**TENSOR_CORES, **changes})


def convolution(inner: int, outer: int, image: int = 0, result: int = 1, **other) -> NodeCost:
    """A 3x3 convolution of a channels-last map, from a storage into another."""
    product = Product(1, PIXELS, outer, 9 * inner)
    reads = (image, 4 * PIXELS * inner), (99, 4 * 9 * inner * outer)
    fields = {"taps": 9, "channels": (inner, outer), "channels_last": True, "op": "convolution"}
    made = cost("conv", 0, 4 * PIXELS * outer, product, **{**fields, **other})
    return replace(made, reads=reads, writes=(result,))


def relu(channels: int, image: int = 1, result: int = 2) -> NodeCost:
    size = 4 * PIXELS * channels
    return replace(cost(written=size, op="relu"), reads=((image, size),), writes=(result,))


def costs_of(nodes: Sequence[NodeCost], device: Profile, calls=()) -> dict[str, Avoidable]:
    """The costs by kind, of which there is one each; numbered as a trace numbers its nodes."""
    numbered = [replace(node, index=10 + i) for i, node in enumerate(nodes)]
    found = avoidable(estimate_costs(numbered, device), calls)
    assert len({one.kind for one in found}) == len(found)
    return {one.kind: one for one in found}


# -- widths ---------------------------------------------------------------------------------------


def test_channels_that_cost_more_than_64_would():
    """50 channels are computed as 64 in both, at half of the speed, and copied to be 52."""
    before, after = (estimate_node(convolution(n, n), gpu()).seconds for n in (50, 64))
    copies = PIXELS * (200 + 208 + 208 + 208 + 200) / 100e9
    assert before == pytest.approx(2 * 2 * PIXELS * 64 * 9 * 64 / 4e12 + copies)
    found = costs_of([convolution(50, 50)] * 3, gpu())["width"]
    assert (found.nodes, found.width, found.instead) == (3, 50, 64)
    assert found.seconds == pytest.approx(3 * (before - after))
    assert found.of == pytest.approx(3 * before)


def test_what_works_on_wider_maps_counts():
    """14 more channels of 4 bytes are read and written by each relu, at 100 GB/s."""
    alone = costs_of([convolution(50, 50)], gpu())["width"]
    with_relu = costs_of([convolution(50, 50), relu(50), relu(50, 2, 3)], gpu())["width"]
    assert alone.seconds - with_relu.seconds == pytest.approx(2 * 2 * 14 * 4 * PIXELS / 100e9)
    assert costs_of([convolution(50, 50), *[relu(50)] * 40], gpu()) == {}


def test_maps_of_other_widths_stay_as_they_are():
    found = costs_of([convolution(50, 64), relu(64)], gpu())["width"]
    assert found.seconds == pytest.approx(costs_of([convolution(50, 64)], gpu())["width"].seconds)


def test_a_width_on_one_side_is_filled_up_on_that_side():
    found = costs_of([convolution(20, 64)], gpu())["width"]
    now, then = (estimate_node(convolution(n, 64), gpu()).seconds for n in (20, 32))
    assert (found.width, found.instead) == (20, 32)
    assert found.seconds == pytest.approx(now - then)


@pytest.mark.parametrize("channels", [(64, 64), (3, 64), (64, 4)])
def test_whole_widths_and_those_of_an_image_are_no_cost(channels):
    assert costs_of([convolution(*channels)], gpu()) == {}


def test_where_more_channels_cost_as_much_nothing_is_said():
    """Without tensor cores 50 channels go in a tile of 64, and move fewer bytes."""
    assert costs_of([convolution(50, 50)] * 3, plain_device()) == {}


# -- biases, layout -------------------------------------------------------------------------------


def test_biases_with_kernels_of_their_own():
    """Each reads and writes 51.2 MB at 100 GB/s, and is launched."""
    size = 4 * PIXELS * 100
    found = costs_of([convolution(100, 100, bias=size)] * 2, plain_device())["bias"]
    assert found.nodes == 2
    assert found.seconds == pytest.approx(2 * (2 * size / 100e9 + US))
    assert costs_of([convolution(100, 100, bias=size)], plain_device(bias_pass=False)) == {}


def test_copies_around_convolutions():
    """Of both maps of 64 channels, which are read and written, at 100 GB/s."""
    plain = convolution(64, 64, channels_last=False)
    found = costs_of([plain] * 2, gpu())["layout"]
    assert found.nodes == 2
    assert found.of == pytest.approx(2 * 2 * 2 * 4 * 64 * PIXELS / 100e9)
    assert found.seconds == pytest.approx(found.of)
    assert costs_of([convolution(64, 64)] * 2, gpu()) == {}


def test_what_channels_last_costs_elsewhere_counts():
    """Some channels of a map are copied there, and a depthwise convolution's bias is a pass."""
    size = 4 * 64 * PIXELS
    whole = cost("elementwise", 2 * size, 2 * size, writes=(7,))
    part = replace(convolution(64, 64, channels_last=False), reads=((7, size), (8, 4)))
    deep = cost("depthwise", size, size, flops=2, channels=(64, 64), op="convolution")
    deep = replace(deep, reads=((0, size), (1, 4), (2, 4)))
    plain = [convolution(64, 64, channels_last=False)] * 9
    alone = costs_of([*plain, whole], gpu())["layout"].seconds
    for now, then in (
        (part, replace(part, channels_last=True, copied=size)),
        (deep, replace(deep, channels_last=True, bias=size)),
    ):
        saved = estimate_node(now, gpu()).seconds - estimate_node(then, gpu()).seconds
        assert costs_of([*plain, whole, now], gpu())["layout"].seconds == pytest.approx(
            alone + saved
        )
    assert costs_of([plain[0], *[deep] * 9], gpu()).keys() == {"layout"}


# -- the host -------------------------------------------------------------------------------------

HOST = gpu(launch=0, gap=1, bias_pass=True, host={"op": 10, "kernel": 0, "cpu": 1, "copy": 1})
MASK = HostWork(
    copied="to", function="Net.calculate_mask", file="net.py", line=7, module="body", times=1,
    bytes=10**6, made=10**6, made_in="net.py", made_at=5,
)  # fmt: skip


def on_cpu(where: str = "host", nbytes: int = 10**6, **other) -> NodeCost:
    return cost(written=nbytes, on=where, **other)


def test_waiting_for_the_host_is_what_a_graph_saves():
    """Ten operations of 1 us that the host launches at one in 10 us: 101 us, less 10."""
    found = costs_of([cost(read=4, op="relu")] * 10, HOST)["graph"]
    assert (found.nodes, found.seconds) == (10, pytest.approx(91 * US, rel=1e-3))
    assert found.of - found.seconds == pytest.approx(10 * US, rel=1e-3)
    assert costs_of([cost(read=10**7)] * 10, HOST) == {}  # the device takes longer


def test_a_kernel_that_is_waited_for_saves_only_its_launch():
    """Biases of 1 us each on the device, of 10 us on the host; the last is waited for too."""
    found = costs_of([cost("conv1x1", read=4, bias=100)] * 10, HOST)["bias"]
    assert found.seconds == pytest.approx(101 * US, rel=1e-3)


def test_work_on_the_cpu_is_made_once():
    """Neither the call that makes the mask, nor its copy, is there."""
    nodes = [cost(read=4), on_cpu(), on_cpu("to-device"), cost(read=4)]
    found = costs_of(nodes, HOST, [(MASK, (11, 12))])
    assert (found["cpu"].nodes, found["cpu"].work) == (2, MASK)
    left = estimate_costs([nodes[0], nodes[3]], HOST).seconds
    assert found["cpu"].seconds == pytest.approx(estimate_costs(nodes, HOST).seconds - left)
    assert found["cpu"].seconds > 2000 * US  # 1 MB at 1 GB/s, twice
    assert set(found) == {"cpu"}  # no graph holds that work, and two launches are no cost


def test_what_the_launches_take_beside_work_on_the_cpu():
    """Of 2.2 ms, 20 kernels are launched in 200 us; the device needs 20 of those."""
    nodes = [on_cpu(), on_cpu("to-device"), *[cost(read=4, op="relu")] * 20]
    found = costs_of(nodes, HOST, [(MASK, (10, 11))])["host"]
    assert (found.nodes, found.of) == (20, pytest.approx(201 * US, rel=1e-3))
    assert found.seconds == pytest.approx(181 * US, rel=1e-3)


def test_work_on_what_is_of_the_device_goes_there():
    """Not made once: what comes from the device is another in each call."""
    nodes = [cost(read=4), on_cpu("to-host"), on_cpu(), on_cpu("to-device"), cost(read=4)]
    whole = estimate_costs([nodes[0], replace(nodes[2], on="device"), nodes[4]], HOST).seconds
    work = replace(MASK, of_device=True)
    found = costs_of(nodes, HOST, [(work, (11, 12, 13))])["cpu"]
    assert found.seconds == pytest.approx(estimate_costs(nodes, HOST).seconds - whole)


def test_the_device_of_a_profile_without_a_host_waits_for_nothing():
    assert costs_of([cost(read=4)] * 10, plain_device()) == {}


# -- all together ---------------------------------------------------------------------------------

NODES = st.one_of(
    st.builds(convolution, st.sampled_from([3, 12, 50, 64]), st.sampled_from([16, 50, 64])),
    st.builds(relu, st.sampled_from([16, 50, 64])),
    st.builds(on_cpu, st.sampled_from(["host", "to-device", "to-host"])),
    st.builds(
        lambda size, waits: cost(read=size, waits=waits), st.integers(4, 10**7), st.booleans()
    ),
)
DEVICES = st.sampled_from([plain_device(), gpu(), HOST, gpu(gap=2, launch=5)])


@given(st.lists(NODES, max_size=12), DEVICES)
def test_a_call_without_changes_takes_what_it_takes(nodes, device):
    found = estimate_costs(nodes, device)
    assert seconds_with(found, {}) == pytest.approx(found.seconds)
    assert seconds_with(found, dict(enumerate(nodes))) == pytest.approx(found.seconds)
    without = seconds_with(found, {0: None}) if nodes else 0.0
    assert without == pytest.approx(estimate_costs(nodes[1:], device).seconds)


@given(st.lists(NODES, max_size=12), DEVICES)
def test_nodes_that_are_alike_take_what_each_takes(nodes, device):
    alike = Alike(device)
    for node in nodes:
        assert alike(node).seconds == estimate_node(node, device).seconds


@given(st.lists(NODES, max_size=12), DEVICES)
def test_costs_come_in_order_and_are_no_more_than_the_call(nodes, device):
    found = estimate_costs(nodes, device)
    costs = avoidable(found)
    assert [c.seconds for c in costs] == sorted((c.seconds for c in costs), reverse=True)
    assert all(LEAST * found.seconds < c.seconds <= found.seconds * 1.000001 for c in costs)


# -- in words -------------------------------------------------------------------------------------


def words(kind: str, nodes: int = 3, ms: float = 1.5, of_ms: float = 4.0, **other) -> str:
    (line,) = avoidable_lines(
        [AvoidableRecord(kind=kind, nodes=nodes, ms=ms, of_ms=of_ms, **other)]
    )
    return line


def test_each_cost_in_words():
    wide = {"width": 50, "instead": 64}
    assert words("width", **wide) == (
        "3 convolutions have 50 channels, which cost more than 64 would: 1.50 of 4.00 ms"
    )
    assert words("width", 1, **wide).startswith("1 convolution has 50 channels")
    assert words("bias") == "3 biases are added by kernels of their own: 1.50 ms"
    assert words("bias", 1, 0.0123) == "1 bias is added by a kernel of its own: 0.012 ms"
    copies = "layout copies around 3 convolutions: 4.00 ms; channels_last would save"
    assert words("layout") == f"{copies} 1.50 ms"
    assert words("layout", ms=4.0) == f"{copies} them"
    assert words("graph") == "waiting for the host: 1.50 ms; with CUDA graphs 2.50 ms"
    assert "1.50 of 4.00 ms that are left without work on the CPU" in words("host")
    assert words("cpu", work=MASK) == (
        "on the CPU, then copied: calculate_mask, net.py:7, once, 0.95 MiB: 1.50 ms; make it on "
        "the device (device=x.device at net.py:5), or once for each size, and keep it there from "
        "call to call"
    )


def test_three_are_shown_and_what_a_later_srprof_knows_is_left_out():
    costs = [AvoidableRecord(kind="bias", nodes=n, ms=1, of_ms=1) for n in range(2, 7)]
    assert len(avoidable_lines(costs)) == MOST == 3
    assert avoidable_lines([AvoidableRecord(kind="new", nodes=1, ms=1, of_ms=1)]) == ()


@pytest.mark.parametrize(
    "device, host, graph, text",
    [
        (1.4, 2.1, 1.4, "device 1.40 ms, host 2.10 ms: bound by the host; with CUDA graphs 1.40"),
        (1.4, 2.1, None, "device 1.40 ms, host 2.10 ms: bound by the host"),
        (9.06, 2.54, 9.06, "device 9.06 ms, host 2.54 ms: bound by the device"),
        (9.06, None, None, None),
        (None, None, None, None),
    ],
)
def test_what_bounds_a_call(device, host, graph, text):
    assert list(bounds(device, host, graph)) == ([] if text is None else [text])
