"""Traces through the allocator, on traces whose blocks can be counted by hand."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srprof.errors import OutOfDeviceMemoryError
from srprof.memory.allocator import Usage
from srprof.memory.model import memory_model
from srprof.memory.settings import MIB, Settings
from srprof.memory.simulation import loading_order, simulate
from srprof.records import External, Storage, TensorInfo
from tests.made_up import feature, image, made_up_trace, weight
from tests.random_traces import random_traces


def chain(side: int, network: int = 512):
    """image -> a -> b (the result); a is 12, b is 24 times as large as the image."""
    return made_up_trace(
        [
            weight(network),
            image(side, 0),
            feature(12 * side, 0, 2, 1),
            feature(24 * side, 1, 2, returned=True),
        ],
        ["convolution"] * 2,
    )


def test_one_image_from_a_fresh_program():
    simulation = simulate([chain(MIB)])
    assert simulation.network == Usage(512, 512, 2 * MIB, 0, 0, 2 * MIB - 512)
    (usage,) = simulation.images
    assert usage.allocated == (13 * MIB + 512, 37 * MIB + 512)
    assert usage.peak_node == simulation.peak_node == 1
    # weights and image share the small pool: 512 + 1 MiB; a has 12 MiB and b 24 MiB of their own
    assert simulation.peak_allocated == 37 * MIB + 512
    assert simulation.peak_reserved == (2 + 12 + 24) * MIB
    assert simulation.peak_requested == memory_model(chain(MIB), granularity=1).eager.nbytes
    assert simulation.at_peak.unsplit == simulation.at_peak.rounding == 0


def test_a_peak_before_the_first_node_is_no_nodes():
    trace = made_up_trace([weight(2), image(3000, 0), feature(100, 1, 2)], ["item", "conv"])
    trace = replace(
        trace,
        storages=(*trace.storages[:1], replace(trace.storages[1], death=1), trace.storages[2]),
    )
    simulation = simulate([trace])
    assert simulation.peak_node is None
    assert simulation.peak_allocated == 512 + 3072
    assert simulation.images[0].allocated == (3584, 1024)


def test_a_run_without_nodes():
    simulation = simulate([made_up_trace([weight(5), image(10)], [])])
    assert simulation.images[0].allocated == ()
    assert simulation.peak_node is None
    assert simulation.peak_allocated == 1024


def test_what_is_dead_is_freed_before_the_next_node():
    """c has the place of a, which died with node 1."""
    trace = made_up_trace(
        [
            image(MIB, 0),
            feature(12 * MIB, 0, 2, 1),
            feature(14 * MIB, 1, 3, 2),
            feature(12 * MIB, 2, 3, returned=True),
        ],
        ["convolution"] * 3,
    )
    simulation = simulate([trace])
    assert simulation.peak_reserved == (2 + 12 + 14) * MIB
    assert simulation.images[0].allocated == (13 * MIB, 27 * MIB, 27 * MIB)


def test_main_memory_is_not_the_devices():
    host = Storage(50 * MIB, "activation", 0, 2, (1,), host=True)
    host_weight = Storage(50 * MIB, "constant", -1, 99, (), host=True)
    trace = made_up_trace([image(512, 0), host, host_weight, feature(512, 1, 2)], ["arange", "add"])
    assert simulate([trace]).peak_allocated == 1024


def test_the_second_image_finds_what_the_first_left():
    """Alone the features of 9.75 and 19.5 MiB get 20 MiB each; here, parts of 12 and 22 MiB."""
    large, small = chain(MIB * 14 // 16), chain(MIB * 13 // 16)
    alone, after = simulate([small]), simulate([large, small])
    assert alone.peak_reserved == (2 + 20 + 20) * MIB
    assert alone.at_peak.unsplit == MIB // 2
    assert after.peak_reserved == after.images[1].peaks.reserved == (2 + 12 + 22) * MIB
    assert after.images[1].peaks.at_allocated.unsplit == 0
    assert after.images[1].peaks.requested == alone.peak_requested
    assert after.peak_image == 0


def test_the_network_is_loaded_once():
    network = 40 * MIB
    simulation = simulate([chain(MIB, network)] * 3)
    assert simulation.network.allocated == network
    assert [i.peaks.allocated for i in simulation.images] == [network + 37 * MIB] * 3


@pytest.mark.parametrize(
    "kept, second",
    [
        ({}, 37),
        ({"keep_input": True}, 37),  # the old image goes when the new one is there
        ({"keep_result": True}, 37 + 24),
        ({"keep_input": True, "keep_result": True}, 37 + 24),
    ],
)
def test_what_the_caller_keeps_of_the_last_image(kept, second):
    simulation = simulate([chain(MIB)] * 2, **kept)
    first, last = (i.peaks.requested - 512 for i in simulation.images)
    assert (first, last) == (37 * MIB, second * MIB)


def test_a_kept_input_is_there_while_the_next_is_made():
    trace = made_up_trace([image(30 * MIB, 0), feature(512, 0, 1, returned=True)], ["mean"])
    assert simulate([trace] * 2).peak_requested == 30 * MIB + 512
    assert simulate([trace] * 2, keep_input=True).peak_requested == 60 * MIB


def test_a_result_that_is_the_input_is_freed_once():
    returned = Storage(MIB, "input", -1, 1, (0,), returned=True)
    trace = made_up_trace([returned], ["relu_"])
    for kept in (False, True):
        simulation = simulate([trace] * 3, keep_input=kept, keep_result=kept)
        assert simulation.peak_allocated == (2 if kept else 1) * MIB


def test_locals_are_freed_when_forward_returns():
    """Only the result is left while the next image runs, not what forward's variables held."""
    held = made_up_trace(
        [image(512, 0), feature(30 * MIB, 0, 2, 1), feature(512, 1, 2, returned=True)],
        ["conv", "conv"],
    )
    assert simulate([held] * 2, keep_result=True).peak_requested == 30 * MIB + 3 * 512


def test_a_cache_that_the_run_replaces_is_there_once():
    old = Storage(30 * MIB, "activation", -1, 1, ())
    new = feature(30 * MIB, 1, 2)
    trace = made_up_trace([old, image(512, 0), new, feature(512, 1, 2, returned=True)], ["a", "b"])
    externals = (replace(trace.externals[0], name="cache", role="buffer"), *trace.externals[1:])
    simulation = simulate([replace(trace, externals=externals)] * 2)
    assert simulation.network.allocated == 30 * MIB
    assert [i.allocated[0] for i in simulation.images] == [30 * MIB + 512, 512]


# -- workspace --------------------------------------------------------------------------------


def test_workspace_counts_while_its_node_runs():
    sizes = {0: 100 * MIB, 1: 0}
    simulation = simulate([chain(MIB)], workspace=lambda node: sizes[node.index])
    assert simulation.peak_node == 0
    assert simulation.peak_allocated == 113 * MIB + 512
    assert simulation.images[0].allocated == simulate([chain(MIB)]).images[0].allocated


def test_workspace_is_allocated_after_the_outputs():
    """Else it would have the segment that the output finds free."""
    trace = made_up_trace(
        [image(512, 0), feature(30 * MIB, 0, 1), feature(28 * MIB, 1, 2, returned=True)], ["a", "b"]
    )
    simulation = simulate([trace], workspace=lambda node: 30 * MIB * node.index)
    assert simulation.at_peak.requested == 58 * MIB + 512
    assert simulation.peak_reserved == (2 + 30 + 30) * MIB
    assert simulation.peak_node == 1


# -- what can be wrong ------------------------------------------------------------------------


def test_out_of_memory_says_where():
    with pytest.raises(OutOfDeviceMemoryError) as error:
        simulate([chain(MIB), chain(2 * MIB)], capacity=60 * MIB)
    told = error.value
    assert (told.image, told.node, told.requested) == (1, 1, 48 * MIB)
    assert str(told).startswith("image 1, node 1, out of device memory: 48.00 MiB requested")


def test_out_of_memory_before_any_image_or_node():
    with pytest.raises(OutOfDeviceMemoryError) as error:
        simulate([chain(MIB, 40 * MIB)], capacity=30 * MIB)
    assert (error.value.image, error.value.node) == (None, None)
    with pytest.raises(OutOfDeviceMemoryError) as error:
        simulate([chain(4 * MIB)], capacity=10 * MIB)
    assert (error.value.image, error.value.node) == (0, None)
    with pytest.raises(OutOfDeviceMemoryError) as error:
        simulate([chain(MIB), chain(60 * MIB)], capacity=60 * MIB)
    assert (error.value.image, error.value.node) == (1, None)


def test_traces_of_one_network_only():
    with pytest.raises(ValueError, match="trace 1 is of another network"):
        simulate([chain(MIB), chain(MIB, network=1024)])
    with pytest.raises(ValueError, match="no trace"):
        simulate([])


def test_settings_are_the_allocators():
    assert (
        simulate([chain(MIB)], Settings.parse("expandable_segments:True")).peak_reserved
        == (2 + 40) * MIB
    )
    settings = Settings.parse("pinned_free_catch_all:True,per_process_memory_fraction:0.5")
    assert simulate([chain(MIB)], settings).not_simulated == (
        "pinned_free_catch_all",
        "per_process_memory_fraction",
    )
    assert simulate([chain(MIB)], settings, capacity=2**30).not_simulated == (
        "pinned_free_catch_all",
    )


def test_nothing_here_loads_torch():
    modules = "srprof.memory.simulation, srprof.memory.expandable"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


# -- loading ----------------------------------------------------------------------------------


def external(name: str, role: str) -> External:
    return External(name, role, TensorInfo(0, (1,), "uint8", 1))


def test_children_are_loaded_before_their_parent_and_parameters_before_buffers():
    """As named_parameters and named_buffers list them: parents first, buffers last."""
    listed = [
        external("scale", "parameter"),
        external("body.gamma", "parameter"),
        external("body.0.weight", "parameter"),
        external("body.0.bias", "parameter"),
        external("body.1.weight", "parameter"),
        external("tail.weight", "parameter"),
        external("mean", "buffer"),
        external("body.1.running_mean", "buffer"),
        external("shift.mean", "buffer"),
        external("input", "input"),
        external("constant_10", "constant"),
    ]
    assert [e.name for e in loading_order(listed)] == [
        "body.0.weight",
        "body.0.bias",
        "body.1.weight",
        "body.1.running_mean",
        "body.gamma",
        "tail.weight",
        "shift.mean",
        "scale",
        "mean",
        "constant_10",
    ]


def test_two_names_of_one_storage_are_loaded_once():
    trace = made_up_trace([weight(700), image(512, 0), feature(512, 0, 1)], ["conv"])
    twice = replace(trace, externals=(trace.externals[0], *trace.externals))
    assert simulate([twice]).network.requested == 700


# -- whatever the trace -----------------------------------------------------------------------


@given(random_traces(), st.sampled_from(["", "expandable_segments:True"]))
def test_a_fresh_program_requests_what_the_memory_model_says(trace, settings):
    simulation = simulate([trace], Settings.parse(settings))
    memory = memory_model(trace, granularity=1)
    blocks = memory_model(trace)
    before = sum(s.nbytes for s in trace.storages if s.birth < 0 and not s.host)
    assert simulation.peak_requested == max(memory.eager.nbytes, before)
    assert simulation.peak_allocated >= blocks.eager.nbytes
    for allocated, parts in zip(simulation.images[0].allocated, blocks.parts, strict=True):
        assert allocated >= parts.eager


@given(random_traces(), st.booleans(), st.booleans())
def test_images_leave_nothing_but_what_is_kept(trace, keep_input, keep_result):
    """The same image again and again asks for no more each time.

    The first may find more of the network than the next, the second may find that in the result.
    """
    simulation = simulate([trace] * 5, keep_input=keep_input, keep_result=keep_result)
    requested = [image.peaks.requested for image in simulation.images]
    assert len(set(requested[2:])) == 1
    if not (keep_input or keep_result):
        assert requested[1] == requested[2] <= requested[0]


# -- one instance through several calls -----------------------------------------------------------


def cache(nbytes: int, birth: int, end: int) -> Storage:
    return Storage(nbytes, "activation", birth, end, (), cached=True)


def test_a_cache_stays_until_a_later_call_drops_it():
    first = made_up_trace([weight(512), image(1024), cache(2048, 0, 1)], ["mul"])
    keeps = [weight(512), image(1024), Storage(2048, "constant", -1, 1, ())]
    drops = [weight(512), image(1024), Storage(2048, "activation", -1, 1, ())]
    second = replace(made_up_trace(keeps, ["add"]), carried={0: 0, 2: 2})
    third = replace(made_up_trace(drops, ["add", "sub"]), carried={0: 0, 2: 2})
    fourth = replace(made_up_trace([weight(512), image(1024)], ["add"]), carried={0: 0})
    images = simulate([first, second, third, fourth]).images
    assert [usage.allocated for usage in images] == [(3584,), (3584,), (3584, 1536), (1536,)]


def test_what_the_next_call_does_not_find_is_gone():
    first = made_up_trace([weight(512), image(1024), cache(2048, 0, 1)], ["mul"])
    second = replace(made_up_trace([weight(512), image(1024)], ["mul"]), carried={0: 0})
    images = simulate([first, second]).images
    assert [usage.allocated for usage in images] == [(3584,), (1536,)]


def test_fresh_instances_make_their_caches_anew():
    trace = made_up_trace([weight(512), image(1024), cache(2048, 0, 1)], ["mul"])
    images = simulate([trace] * 3).images
    assert [usage.allocated for usage in images] == [(3584,)] * 3


def test_what_the_constructor_makes_is_the_network_or_stays_beside_it():
    """A weight that is loaded where it is, a graph that stays, and what the constructor frees."""
    made = [cache(512, 0, 2), Storage(8192, "activation", 0, 1, (0,)), cache(1024, 1, 2)]
    construction = made_up_trace(made, ["empty", "mul"])
    held = Storage(1024, "constant", -1, 1, ())
    call = made_up_trace([weight(512), weight(1536), image(512), held], ["relu"])
    call = replace(call, carried={0: 0, 3: 2})
    simulation = simulate(
        [call, replace(call, carried={0: 0, 1: 1, 3: 3})], construction=construction
    )
    built = simulation.construction
    assert built is not None
    assert (built.allocated, built.peak_node) == ((8704, 1536), 0)
    assert simulation.network.allocated == 512 + 1024 + 1536
    assert [usage.allocated for usage in simulation.images] == [(3584,), (3584,)]
    assert simulation.peak_allocated == 8704
    assert (simulation.peak_image, simulation.peak_node) == (None, None)
    assert simulation.at_peak.allocated == 8704


def test_a_smaller_constructor_is_not_the_peak():
    construction = made_up_trace([cache(512, 0, 1)], ["empty"])
    call = replace(made_up_trace([weight(512), image(1024)], ["relu"]), carried={0: 0})
    simulation = simulate([call], construction=construction)
    assert (simulation.peak_allocated, simulation.peak_image) == (1536, 0)


def test_a_constructor_that_does_not_fit():
    construction = made_up_trace([cache(40 * MIB, 0, 1)], ["empty"])
    with pytest.raises(OutOfDeviceMemoryError):
        simulate([chain(MIB)], construction=construction, capacity=30 * MIB)
