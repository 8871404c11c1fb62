"""Published figures beside ours: digits as tables print them, by the convention that gives them."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

import srprof
from srprof import models, registry
from srprof.compare.published import MEASURES, compare, printed
from srprof.registry import Convention


@pytest.mark.parametrize(
    "value, decimals, truncated, digits",
    [
        (769.428, 0, False, "769"),
        (748.656, 0, False, "749"),
        (748.656, 0, True, "748"),
        (172.059, 1, True, "172.0"),
        (133.0495, 1, False, "133.0"),
        (0.4335, 3, False, "0.434"),
        (2.675, 2, False, "2.68"),  # below 2.675 in binary, and a tie to a person
        (0.29, 2, True, "0.29"),  # 28.999999999999996 times 1/100
        (0, 1, False, "0.0"),
    ],
)
def test_printed(value: float, decimals: int, truncated: bool, digits: str):
    assert printed(value, decimals, truncated) == digits


@given(st.integers(0, 10**6), st.integers(0, 3), st.booleans())
def test_what_is_printed_already_stays(digits: int, decimals: int, truncated: bool):
    value = digits / 10**decimals
    assert printed(value, decimals, truncated) == f"{value:.{decimals}f}"


def test_every_published_figure_is_a_known_measure_and_every_convention_is_used():
    for network in registry.networks():
        for scale, figures in network.published.items():
            assert scale in network.scales
            assert set(figures) <= set(MEASURES)
        for convention in network.conventions:
            assert convention.count in MEASURES[convention.measure].counts
            used = [
                scale
                for scale, figures in network.published.items()
                if convention.measure in figures
                and network.convention(convention.measure, scale) is convention
            ]
            assert used, (network.name, convention)


AGREEING = {"params_M", "params_K", "flops_G", "activations_M", "convs", "mult_adds_G"}


@pytest.mark.parametrize("network", models.ZOO, ids=lambda n: n.name)
def test_figures_agree_or_say_that_they_cannot(network: registry.Network):
    for scale in network.published:
        for found in compare(network, scale):
            if found.measure in AGREEING:
                assert found.agrees == found.reproducible, found
            elif found.ours is not None:  # memory: the allocator's slack is in the published one
                assert abs(found.difference) < 0.015, found
            assert found.how


def test_an_analysis_at_hand_is_used(monkeypatch: pytest.MonkeyPatch):
    from srprof.compare import published

    asked = []
    monkeypatch.setattr(published, "_computed", {})
    analyze = published._analyze
    monkeypatch.setattr(published, "_analyze", lambda *a: asked.append(a[2]) or analyze(*a))
    network = registry.find("fmen_s")
    compare(network, 4, [srprof.analyze("fmen_s", "256x256")])
    assert asked == [(1, 3, 510, 510)]
    compare(network, 4)
    assert asked == [(1, 3, 510, 510)], "what is known is not computed again"


def test_a_wrong_figure_is_seen():
    network = registry.find("e_rfdn")
    wrong = dataclasses.replace(network, published={4: {"convs": 65, "params_M": 0.434}})
    assert [c.agrees for c in compare(wrong, 4)] == [False, False]
    assert [c.difference < 0 for c in compare(wrong, 4)] == [True, True]


def test_convention_of_one_scale_goes_first():
    general, special = Convention("m", "all"), Convention("m", "x3", scales=(3,))
    network = dataclasses.replace(registry.find("fmen"), conventions=(general, special))
    assert network.convention("m", 3) is special
    assert network.convention("m", 2) is general
    assert network.convention("other", 2) is None


def test_a_plain_count_of_parameters():
    """Convolutions called often count once: MemNet's shared ones, without batch norms."""
    analysis = srprof.analyze("memnet(scale=1)", "24x24")
    counts = MEASURES["params_K"].counts
    assert counts["convolutions"](analysis) == 678_209
    assert counts["weights"](analysis) == 676_992
    assert counts[""](analysis) == 687_177
