"""A report's TOML file: what it may say, and what is said of what it may not."""

from __future__ import annotations

import pytest

from srprof.errors import InputError
from srprof.report.definition import SECTIONS, parse_definition, read_definition

LEAST = {"title": "t", "models": ["fmen_s"]}


def test_the_least_has_all_sections_that_need_no_device():
    found = parse_definition(LEAST, "r")
    assert (found.models[0].name, found.models[0].spec) == ("fmen_s", "fmen_s")
    assert found.input == "256x256"
    assert set(SECTIONS) - set(found.sections) == {"roofline", "modules", "runtime-memory"}
    timed = parse_definition({**LEAST, "devices": ["a100"]}, "r")
    assert timed.sections == SECTIONS


def test_sections_come_in_the_order_of_the_page():
    found = parse_definition({**LEAST, "sections": ["nodes", "memory", "ranking"]}, "r")
    assert found.sections == ("ranking", "memory", "nodes")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": ["x"]}, ["unknown key model", "did you mean models?"]),
        ({"zzz": 1}, ["unknown key zzz", "known: title"]),
        ({"models": []}, ["models is empty"]),
        ({"models": "fmen_s"}, ["models = 'fmen_s' cannot be"]),
        ({"models": [3]}, ["models = 3 cannot be"]),
        ({"models": ["imdn", "imdn"]}, ["two models are called 'imdn'"]),
        (
            {"models": [{"name": "a", "spec": "imdn"}, {"name": "a", "spec": "fmen"}]},
            ["two models are called 'a'"],
        ),
        ({"models": [{"name": "a"}]}, ["spec is missing"]),
        ({"models": [{"spec": "imdn", "nam": "a"}]}, ["models.nam", "did you mean models.name?"]),
        (
            {"models": [{"spec": "imdn", "published": {"time": 3}}]},
            ["published.time", "did you mean published.time_ms?"],
        ),
        ({"models": [{"spec": "imdn", "published": {"time_ms": "3"}}]}, ["must be a number"]),
        ({"title": " "}, ["title = ' '"]),
        ({"input": "256"}, ["256", "not a size"]),
        ({"sections": ["memry"]}, ["'memry'", "did you mean memory?"]),
        ({"sections": ["roofline"]}, ["section roofline shows time: name devices"]),
        ({"references": ["ntire2021"]}, ["'ntire2021'", "did you mean ntire2022?"]),
        ({"tables": [{"title": "T", "models": ["imdn"]}]}, ["table 1: measures is missing"]),
        (
            {"tables": [{"title": "T", "models": ["imdn"], "measures": ["flops"]}]},
            ["table 1", "did you mean flops_G?"],
        ),
        (
            {
                "tables": [
                    {"title": "T", "models": ["imdn"], "measures": ["convs"], "scales": [2.5]}
                ]
            },
            ["scales = [2.5]"],
        ),
        (
            {"figures": [{"name": "../x", "title": "T", "models": ["imdn"]}]},
            ["figure 1: name = '../x'"],
        ),
        (
            {
                "figures": [
                    {"name": "x", "title": "T", "models": ["imdn"], "kind": "runtime-memory"}
                ]
            },
            ["kind runtime-memory shows time"],
        ),
        ({"figures": [{"name": "x", "title": "T", "models": ["imdn"], "unit": "GB"}]}, ["unit"]),
        ({"figures": {"name": "x"}}, ["[[figures]]"]),
    ],
)
def test_what_cannot_be_is_said_in_one_line(changes, words):
    with pytest.raises(InputError) as error:
        parse_definition({**LEAST, **changes}, "report r.toml")
    message = str(error.value)
    assert message.startswith("report r.toml: ") and "\n" not in message
    for word in words:
        assert word in message


def test_a_title_and_models_are_needed():
    with pytest.raises(InputError, match="title is missing"):
        parse_definition({"models": ["imdn"]}, "r")
    with pytest.raises(InputError, match="models is missing"):
        parse_definition({"title": "t"}, "r")


def test_two_figures_of_one_name_would_be_one_file():
    figure = {"name": "x", "title": "T", "models": ["imdn"]}
    with pytest.raises(InputError, match="two figures are called 'x'"):
        parse_definition({**LEAST, "figures": [figure, figure]}, "r")


def test_no_file_and_no_toml(tmp_path):
    with pytest.raises(InputError, match="cannot read report"):
        read_definition(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("title = ")
    with pytest.raises(InputError, match="not valid TOML"):
        read_definition(str(broken))
    broken.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not valid TOML"):
        read_definition(str(broken))
