"""Published figures beside predicted ones: what is equal, and what a peak is explained by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from srprof.auditing import explaining
from srprof.auditing.record import Construction, Predicted, Taken, TimesAudit
from srprof.challenge.results import Result, SetResult
from srprof.memory.construction import PassesAtPeak
from srprof.words import MIB

PREDICTED = Predicted(1000, 2.5e6, 4000.0, 7.0, requested=90 * MIB, allocated=100 * MIB)
PASSES = PassesAtPeak(
    kind="Net", file="test_demo.py", line=5, calls=20, alive=2, autograd=True, bytes=140 * MIB
)


def _built(file: str, size: float) -> Predicted:
    passes = (replace(PASSES, file=file),)
    return replace(PREDICTED, construction=Construction(int(size * MIB), passes))


@pytest.mark.parametrize(
    ("predicted", "published", "by"),
    [
        (PREDICTED, 90, "image"),
        (PREDICTED, 100, "image"),
        (PREDICTED, 101, "unexplained"),
        (PREDICTED, 89, "unexplained"),
        (replace(PREDICTED, scratch=105 * MIB), 101, "scratch"),
        (replace(PREDICTED, scratch=105 * MIB), 100, "image"),
        (replace(PREDICTED, listed=103 * MIB), 103, "image"),
        (_built("test_demo.py", 150), 150, "script"),
        (_built("models/net.py", 150), 150, "constructor"),
        (_built("models/net.py", 150), 149, "unexplained"),
        # it takes less than the image, and then the image decides
        (_built("models/net.py", 95), 96, "image"),
        (_built("models/net.py", 95), 92, "unexplained"),
    ],
)
def test_what_a_peak_is_of(predicted: Predicted, published: float, by: str):
    found = explaining.memory(published * MIB, predicted, "test_demo.py")
    assert found.by == by
    assert (found.gap > 0) == (by == "unexplained")


RULES = {
    "tensor-cores": Taken(95 * MIB, 110 * MIB),
    "pointwise": Taken(200 * MIB, 204 * MIB, 205 * MIB),
}


@pytest.mark.parametrize(
    ("published", "rule", "predicted", "by", "explains"),
    [
        (95, "", 100, "image", ""),
        (95, "pointwise", 205, "image", ""),  # the GPU took none of it here
        (108, "", 100, "scratch", "tensor-cores"),
        (205, "", 100, "scratch", "pointwise"),
        (205, "pointwise", 205, "scratch", "pointwise"),
        (150, "pointwise", 205, "unexplained", ""),
    ],
)
def test_scratch_of_a_gpu_that_nobody_named(
    published: float, rule: str, predicted: float, by: str, explains: str
):
    """Explained is what lies from requested to allocated with that scratch, or without."""
    network = replace(PREDICTED, by_rule=RULES)
    found = explaining.memory(published * MIB, network, "", 1.0, rule)
    assert (found.predicted, found.by, found.rule) == (predicted * MIB, by, explains)
    if by == "unexplained":  # 40 MiB above the nearer, 50 below the other
        assert found.gap == pytest.approx(40 / 150)


def test_a_baseline_tells_the_rule():
    network = replace(PREDICTED, by_rule=RULES)
    told = {size: explaining.rule_of(size * MIB, network) for size in (95, 108, 202, 300)}
    assert told == {95: "", 108: "tensor-cores", 202: "pointwise", 300: ""}


def test_printed_digits_are_known_to_half_the_last():
    digit = 0.01 * MIB
    near, far = ((100 + off) * MIB for off in (0.004, 0.006))
    assert explaining.memory(near, PREDICTED, "", digit).by == "image"
    assert explaining.memory(far, PREDICTED, "", digit).by == "unexplained"


@pytest.mark.parametrize(
    ("digits", "published", "equal"),
    [
        ({}, 1000, True),
        ({}, 1001, False),
        ({"params": 1000}, 1400, True),
        ({"params": 1000}, 1600, False),
    ],
)
def test_counts_are_equal_at_the_published_digits(digits: Any, published: float, equal: bool):
    row = Result("1_a", 1, (), params=published, digits=digits)
    (count,) = explaining.counts(row, PREDICTED)
    assert (count.name, count.equal) == ("params", equal)


def test_what_is_said_of_scratch_by_a_rule():
    network = replace(PREDICTED, by_rule=RULES)
    row = Result("1_a", 1, (SetResult("valid", memory=202 * MIB),))
    (taken,) = explaining.findings(row, (), network, explaining.memory(202 * MIB, network, ""))
    assert "the rule pointwise: 200.00 requested to 205.00" in taken.text
    without = explaining.memory(95 * MIB, network, "", 1.0, "pointwise")
    (none,) = explaining.findings(row, (), network, without)
    assert "without the scratch that the same GPU took of the baseline" in none.text
    far = explaining.memory(150 * MIB, network, "")
    (unexplained,) = explaining.findings(row, (), network, far)
    assert "200.00 to 205.00 by the rule pointwise" in unexplained.text


def test_a_count_that_is_not_known_is_not_equal():
    row = Result("1_a", 1, (), flops=2.5e6)
    assert not explaining.counts(row, replace(PREDICTED, flops=None))[0].equal


def _texts(row: Result, predicted: Predicted | None, times: tuple[TimesAudit, ...] = ()) -> Any:
    memory = None
    if predicted is not None and row.memory is not None:
        memory = explaining.memory(row.memory, predicted, "test_demo.py")
    return {f.kind: f.text for f in explaining.findings(row, times, predicted, memory)}


def test_findings_say_what_ran_and_where():
    row = Result("18_DISP", 18, (SetResult("valid", memory=150.0 * MIB),))
    texts = _texts(row, _built("test_demo.py", 150), (TimesAudit("valid", 9, 2.0, 2.0),))
    assert texts["runs-while-built"] == (
        "while the network is built, Net is called 20 times at test_demo.py:5, with autograd on: "
        "2 graphs are alive at its peak, 140.00 MiB; its first image is not cold"
    )
    assert texts["script"].startswith("the published 150.00 MiB are of the script's own warm-up")
    assert "100.00 MiB" in texts["script"]


def test_findings_of_a_file_alone():
    sets = tuple(SetResult(name, memory=8.0 * MIB) for name in ("valid", "test"))
    times = (
        TimesAudit("valid", 9, 5.0, 4.0, 90.0, 2.0, True, 3.0, (4,), 2.5),
        TimesAudit("test", 9, 3.0, 3.0),
    )
    texts = _texts(Result("1_a", 1, sets), None, times)
    assert list(texts) == ["stated-mean", "cold-first-image", "outliers", "memory-before-images"]
    assert "without it the mean is 3.00 ms for 4.00" in texts["cold-first-image"]
    assert "(number 5)" in texts["outliers"]


def test_findings_of_scratch_autocast_and_what_no_rule_counts():
    row = Result("1_a", 1, (SetResult("valid", memory=101.0 * MIB),))
    of = replace(PREDICTED, scratch=102 * MIB, autocast=True, uncounted={"fft": 3})
    texts = _texts(row, of)
    assert "1.00 MiB of scratch" in texts["scratch"]
    assert "half precision" in texts["autocast"]
    assert texts["uncounted"] == "no rule counts fft (3)"
    far = _texts(replace(row, sets=(SetResult("valid", memory=202.0 * MIB),)), of)
    assert "49.50% off what is explained" in far["unexplained"]
