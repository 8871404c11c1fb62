"""What releasing a variable saves, on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

from srprof.memory.model import memory_model
from srprof.memory.release import held_at_peak, releases
from srprof.records import Reference
from tests.made_up import feature, image, made_up_trace


def local(name: str) -> Reference:
    return Reference(name, "Net.forward", "net.py", 1, "local")


def test_held_storages_sum_to_held():
    trace = made_up_trace(
        [
            image(1, 0),
            feature(30, 0, 3, 1),
            feature(20, 0, 3),
            feature(5, 1, 3, 2),
            feature(9, 2, 3),
        ],
        ["a", "b", "c"],
        {1: (local("big"),), 2: (local("small"),)},
    )
    memory = memory_model(trace, granularity=1)
    held = held_at_peak(trace, memory)
    assert [(h.holder.variable, h.nbytes, h.last_use) for h in held] == [
        ("big", 30, 1),
        ("small", 20, 0),
    ]
    assert sum(h.nbytes for h in held) == memory.parts[memory.eager.node].held


def test_savings_alone_and_together():
    """Two variables of 100 and 60 are held at the peak, and at the node before only the first."""
    trace = made_up_trace(
        [
            image(1, 0),
            feature(100, 0, 4, 1),
            feature(60, 1, 4, 2),
            feature(10, 2, 4, 3),
            feature(20, 3, 4, returned=True),
        ],
        ["a", "b", "c", "d"],
        {1: (local("first"),), 2: (local("second"),)},
    )
    memory = memory_model(trace, granularity=1)
    assert [p.eager for p in memory.parts] == [101, 161, 171, 191]
    first, second = releases(trace, memory)
    # without `first`: 101, 161, 71, 91; without both: 101, 161, 71, 31
    assert (first.holder.variable, first.saving, first.peak_after) == ("first", 30, 161)
    assert (second.holder.variable, second.saving, second.peak_after) == ("second", 20, 161)


def test_one_variable_may_hold_several_storages():
    trace = made_up_trace(
        [image(1, 0), feature(30, 0, 3, 1), feature(20, 0, 3), feature(5, 1, 3), feature(9, 2, 3)],
        ["a", "b", "c"],
        {1: (local("feats"),), 2: (local("feats"),), 3: (local("feats"),)},
    )
    (release,) = releases(trace, memory_model(trace, granularity=1))
    assert (release.nbytes, len(release.storages)) == (55, 3)


def test_the_same_line_in_every_call_of_a_block_counts():
    """Two calls of a block hold the tensor of its line 5; releasing the variable frees both."""
    trace = made_up_trace(
        [
            image(1, 0),
            feature(120, 0, 3, 1),
            feature(2, 1, 3, 2),
            feature(50, 2, 4, 3),
            feature(100, 3, 6, 4),
            feature(2, 4, 6, 5),
            feature(80, 5, 6, returned=True),
        ],
        ["convolution", "relu", "cat", "convolution", "relu", "cat"],
        {4: (local("dead"),)},
    )
    lines = {"convolution": 5, "relu": 6, "cat": 7}
    nodes = tuple(replace(node, line=lines[node.op]) for node in trace.nodes)
    trace = replace(trace, nodes=nodes)
    memory = memory_model(trace, granularity=1)
    assert [p.eager for p in memory.parts] == [121, 123, 173, 151, 103, 183]
    (release,) = releases(trace, memory)
    assert release.storages == (4,)
    assert (release.saving, release.peak_after) == (32, 151)  # 173 if one call were forgotten


def test_nothing_held_nothing_to_release():
    trace = made_up_trace([image(1, 0), feature(3, 0, 1, returned=True)], ["a"])
    assert releases(trace, memory_model(trace)) == ()
    assert held_at_peak(made_up_trace([image(1)], []), memory_model(made_up_trace([], []))) == ()
