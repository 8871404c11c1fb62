"""`srprof fit` by the estimates that come with srprof: the answers of traces, and they hold."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

import srprof
import srprof_estimate as reader
from srprof import registry
from srprof.estimating.shipped import shipped
from srprof.sizing import known

NAMES = sorted(network.name for network in registry.networks())


@pytest.mark.parametrize("name", NAMES)
def test_the_zoo_s_estimates_are_up_to_date(name):
    """Where not: python benchmarks/zoo_estimates.py."""
    trace = srprof.trace(name, "48x48")
    estimate = shipped(name, trace.torch_version)
    if estimate is None:
        pytest.skip(f"they are of another torch than {trace.torch_version}")
    random = Random(name)
    height, width = random.randrange(32, 600), random.randrange(32, 600)
    shape = (random.choice((1, 2)), estimate["model"]["channels"], height, width)
    a = srprof.analyze(name, shape)
    for kind in reader.KINDS:
        said = reader.peak_bytes(estimate, height, width, shape[0], "float32", kind)
        assert said == a.peaks[kind].nbytes, kind


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("fsrcnn", {"aspect": (4, 3)}),
        ("fmen_s", {"memory": "reserved"}),
        ("vdsr", {"batch": True, "budget": "2GiB"}),
        ("fsrcnn", {"memory": "planned", "dtype": "float16"}),
    ],
)
def test_fit_s_answers_are_those_of_traces(name, asked, monkeypatch):
    asked = {"budget": "333MiB", **asked}
    by_estimate = srprof.fit(name, **asked)
    if by_estimate.traces:
        pytest.skip("the estimates are of another torch")
    monkeypatch.setattr(known, "shipped", lambda *_: None)
    traced = srprof.fit(name, **asked)
    assert replace(by_estimate, traces=traced.traces, notes=traced.notes) == traced
    assert traced.traces >= 2


@pytest.mark.parametrize(
    "asked", [{"profile": "h200"}, {"channels_last": True}, {"workspace": "tensor-cores"}]
)
def test_what_an_estimate_does_not_say_is_traced(asked):
    assert srprof.fit("fsrcnn", "64MiB", **asked).traces > 0
