"""The memory model on traces whose parts can be read off."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given

from srprof.memory.model import (
    Parts,
    Peak,
    alive_at,
    last_needed,
    memory_model,
    part_of,
    referenced,
    rounded,
)
from srprof.records import Storage
from tests.made_up import feature, image, made_up_trace, weight
from tests.random_traces import random_traces


@pytest.mark.parametrize(
    "nbytes, granularity, expected",
    [(0, 512, 0), (1, 512, 512), (512, 512, 512), (513, 512, 1024), (7, 1, 7)],
)
def test_rounded(nbytes, granularity, expected):
    assert rounded(nbytes, granularity) == expected


def test_a_chain_of_three():
    """image -> a -> b -> c; each dies when its reader has ended."""
    trace = made_up_trace(
        [
            weight(1),
            image(10, 0),
            feature(100, 0, 2, 1),
            feature(200, 1, 3, 2),
            feature(400, 2, 3, returned=True),
        ],
        ["convolution"] * 3,
    )
    memory = memory_model(trace, granularity=1)
    assert memory.parts == (
        Parts(net=1, input=10, output=100, kept=0, held=0),
        Parts(net=1, input=100, output=200, kept=10, held=0),
        Parts(net=1, input=200, output=400, kept=10, held=0),
    )
    assert memory.planned == memory.eager == Peak(611, 2)


def test_what_nothing_needs_is_held():
    """`a` is read by node 1 only, but a variable keeps it to the end."""
    trace = made_up_trace(
        [image(10, 0), feature(100, 0, 3, 1), feature(50, 1, 3, 2), feature(50, 2, 3)],
        ["conv"] * 3,
    )
    memory = memory_model(trace, granularity=1)
    assert memory.parts[2] == Parts(net=0, input=50, output=50, kept=10, held=100)
    assert memory.eager == Peak(210, 2)
    assert memory.planned == Peak(160, 1)


def test_a_skip_is_kept():
    trace = made_up_trace(
        [image(10, 0), feature(100, 0, 3, 1, 2), feature(100, 1, 3, 2), feature(100, 2, 3)],
        ["conv", "conv", "add"],
    )
    memory = memory_model(trace, granularity=1)
    assert memory.parts[2] == Parts(net=0, input=200, output=100, kept=10, held=0)


def test_an_unused_output_is_output_once():
    """Max pooling's positions: made, never read, gone."""
    trace = made_up_trace(
        [image(10, 0), feature(4, 0, 1), feature(2, 0, 2, 1), feature(2, 1, 2)], ["pool", "conv"]
    )
    memory = memory_model(trace, granularity=1)
    assert memory.parts[0].output == 6
    assert memory.parts[1] == Parts(net=0, input=2, output=2, kept=10, held=0)


def test_a_storage_gone_while_it_is_read():
    """`set_` reads a storage and lets it go: it is not there when the node ends."""
    trace = made_up_trace([image(10, 0), feature(100, 0, 1, 1), feature(7, 1, 2)], ["a", "set_"])
    memory = memory_model(trace, granularity=1)
    assert memory.parts[1] == Parts(net=0, input=0, output=7, kept=10, held=0)


def test_main_memory_is_not_the_devices():
    host = Storage(1000, "activation", 0, 2, (1,), host=True)
    trace = made_up_trace([image(10, 0), host, feature(20, 1, 2)], ["arange", "add"])
    memory = memory_model(trace, granularity=1)
    assert memory.eager == Peak(30, 1)


def test_every_storage_is_rounded_by_itself():
    trace = made_up_trace([weight(1), weight(1), image(513, 0), feature(1, 0, 1)], ["conv"])
    memory = memory_model(trace)
    assert memory.net == 1024
    assert memory.parts == (Parts(net=1024, input=1024, output=512, kept=0, held=0),)


def test_a_run_without_calls_references_its_input():
    memory = memory_model(made_up_trace([weight(5), image(10)], []), granularity=1)
    assert memory.parts == ()
    assert memory.planned == memory.eager == Peak(15, None)


def test_the_first_of_equal_peaks_is_named():
    trace = made_up_trace([image(1, 0), feature(4, 0, 1), feature(4, 1, 2)], ["conv", "conv"])
    assert memory_model(trace, granularity=1).eager.node == 0


@given(random_traces())
def test_parts_sum_to_what_is_alive_and_agree_with_part_of(trace):
    memory = memory_model(trace, granularity=1)
    assert referenced(trace, granularity=1) == [parts.eager for parts in memory.parts]
    end = len(trace.nodes)
    for node, parts in zip(trace.nodes, memory.parts, strict=True):
        assert parts.eager - parts.net == node.live
        sums = dict.fromkeys(("input", "output", "kept", "held"), 0)
        for index in alive_at(trace, node.index):
            storage = trace.storages[index]
            sums[part_of(storage, node.index, end)] += storage.nbytes
        assert sums == {name: getattr(parts, name) for name in sums}


@given(random_traces())
def test_planned_never_exceeds_eager(trace):
    memory = memory_model(trace)
    assert memory.planned.nbytes <= memory.eager.nbytes
    assert all(p.planned <= p.eager for p in memory.parts)


def test_last_needed():
    assert last_needed(feature(1, 2, 9), 9) == 2
    assert last_needed(feature(1, 2, 9, 3, 5), 9) == 5
    assert last_needed(feature(1, 2, 9, 3, returned=True), 9) == 9
    assert last_needed(image(1, 0), 9) == 9


def test_the_memory_package_loads_no_torch():
    code = "import sys, srprof.memory.model, srprof.memory.release; print('torch' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "False"
