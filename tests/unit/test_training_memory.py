"""Kinds and peaks of a training step, on a step that can be summed in the head."""

from __future__ import annotations

from dataclasses import replace

from srprof.memory.training import KINDS, kind_of, phase_of, saved_lines, step_memory
from srprof.records import Storage, TrainingStep
from srprof.training.record import TrainingAnalysis
from tests.made_up import feature, image, made_up_trace, weight

MOMENT = Storage(200, "constant", -1, 99, (5,))
STORAGES = [
    weight(100),  # 0
    MOMENT,  # 1
    image(10, 0),  # 2
    feature(40, 0, 2, 1),  # 3: forward's own, gone before backward
    feature(30, 1, 4, 3),  # 4: saved; backward reads it in 3
    feature(50, 3, 4),  # 5: a gradient of a feature map
    feature(100, 4, 99, 5),  # 6: the parameter's gradient
    feature(7, 5, 6),  # 7: in the update
    Storage(4, "constant", -1, 99, (), host=True),  # 8: a counter in main memory
]
STEP = TrainingStep(backward=3, update=5, gradients=frozenset({6}), state=frozenset({1, 8}))
TRACE = replace(
    made_up_trace(STORAGES, ["conv", "relu", "loss", "relu_backward", "conv_backward", "addcdiv_"]),
    step=STEP,
)


def test_each_storage_is_of_one_kind():
    kinds = [kind_of(s, i, STEP) for i, s in enumerate(STORAGES)]
    assert kinds == "net state images temporary saved temporary gradients temporary state".split()


def test_phases_begin_where_the_step_says():
    assert [phase_of(STEP, i) for i in range(6)] == ["forward"] * 3 + ["backward"] * 2 + ["update"]


def test_sums_by_hand():
    memory = step_memory(TRACE, granularity=1)
    assert [dict(zip(KINDS, node, strict=True)) for node in memory.kinds] == [
        {"net": 100, "state": 200, "gradients": g, "images": 10, "saved": s, "temporary": t}
        for g, s, t in [(0, 0, 40), (0, 30, 40), (0, 30, 0), (0, 30, 50), (100, 0, 0), (100, 0, 7)]
    ]
    assert (memory.peak.nbytes, memory.peak.node) == (417, 5)
    assert {p: (m.nbytes, m.node) for p, m in memory.phases.items()} == {
        "forward": (380, 1),
        "backward": (410, 4),
        "update": (417, 5),
    }


def test_granularity_rounds_each_storage_up():
    memory = step_memory(TRACE, granularity=512)
    assert memory.kinds[1] == (512, 512, 0, 512, 512, 512)


def test_saved_activations_by_line():
    (line,) = saved_lines(TRACE, 2, granularity=1)
    assert (line.file, line.line, line.ops, line.storages, line.nbytes) == (
        "net.py", 11, ("relu",), 1, 30,
    )  # fmt: skip
    assert saved_lines(TRACE, 4, granularity=1) == ()


def test_the_analysis_names_the_peak():
    found = TrainingAnalysis(TRACE, granularity=1).to_dict()
    assert found["peak"] == {
        "bytes": 417,
        "node": 5,
        "phase": "update",
        "parts": dict(zip(KINDS, (100, 200, 100, 10, 0, 7), strict=True)),
    }
