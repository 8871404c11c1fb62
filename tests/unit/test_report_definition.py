"""A report's TOML file: what it may say, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from srprof.codec import decode_table
from srprof.errors import InputError
from srprof.report.definition import SECTIONS, Definition, read_definition

LEAST = {"title": "t", "models": ["fmen_s"]}


def test_the_least_has_all_sections_that_need_no_device():
    found = decode_table(Definition, LEAST, "r")
    assert (found.models[0].name, found.models[0].spec) == ("fmen_s", "fmen_s")
    assert found.input == "256x256"
    assert set(SECTIONS) - set(found.sections) == {"roofline", "modules", "runtime-memory"}
    timed = decode_table(Definition, {**LEAST, "profiles": ["a100"]}, "r")
    assert timed.sections == SECTIONS
    assert timed == decode_table(Definition, {**LEAST, "devices": ["a100"]}, "r")  # its older key


def test_sections_come_in_the_order_of_the_page():
    found = decode_table(Definition, {**LEAST, "sections": ["nodes", "memory", "ranking"]}, "r")
    assert found.sections == ("ranking", "memory", "nodes")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": ["x"]}, ["unknown key model", "did you mean models?"]),
        ({"zzz": 1}, ["unknown key zzz", "known: title"]),
        ({"models": []}, ['models is [], not a list of models, ["fmen_s"]']),
        ({"models": "fmen_s"}, ["models is 'fmen_s', not a list of models"]),
        ({"models": [3]}, ["models[0] is 3, not a SPEC, or a table with name and spec"]),
        ({"models": ["imdn", "imdn"]}, ["two models are called 'imdn'"]),
        (
            {"models": [{"name": "a", "spec": "imdn"}, {"name": "a", "spec": "fmen"}]},
            ["two models are called 'a'"],
        ),
        ({"models": [{"name": "a"}]}, ["spec is missing"]),
        (
            {"models": [{"spec": "imdn", "nam": "a"}]},
            ["unknown key models[0].nam;", "did you mean name?"],
        ),
        (
            {"models": [{"spec": "imdn", "published": {"time": 3}}]},
            ["unknown key models[0].published.time;", "did you mean time_ms?"],
        ),
        (
            {"models": [{"spec": "imdn", "published": {"time_ms": "3"}}]},
            ["published.time_ms is '3', not a number"],
        ),
        ({"title": " "}, ["title is ' ', not a text"]),
        ({"input": "256y"}, ["256y", "not a size"]),
        ({"sections": ["memry"]}, ["'memry'", "did you mean memory?"]),
        ({"sections": ["roofline"]}, ["section roofline shows time: name profiles"]),
        ({"references": ["ntire2021"]}, ["'ntire2021'", "not one of ntire2022, ntire2026"]),
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
            ["table 1: scales[0] is 2.5, not a whole number"],
        ),
        (
            {"figures": [{"name": "../x", "title": "T", "models": ["imdn"]}]},
            ["figure 1: name is '../x', not letters"],
        ),
        (
            {
                "figures": [
                    {"name": "x", "title": "T", "models": ["imdn"], "kind": "runtime-memory"}
                ]
            },
            ["kind runtime-memory shows time"],
        ),
        (
            {"figures": [{"name": "x", "title": "T", "models": ["imdn"], "unit": "GB"}]},
            ["figure 1: unit is 'GB', not one of MiB, feature maps"],
        ),
        ({"figures": {"name": "x"}}, ["figures is {", "not [[figures]] in double brackets"]),
    ],
)
def test_what_cannot_be_is_said_in_one_line(changes, words):
    with pytest.raises(InputError) as error:
        decode_table(Definition, {**LEAST, **changes}, "report r.toml")
    message = str(error.value)
    assert message.startswith("report r.toml: ") and "\n" not in message
    for word in words:
        assert word in message


def test_a_title_and_models_are_needed():
    with pytest.raises(InputError, match="title is missing"):
        decode_table(Definition, {"models": ["imdn"]}, "r")
    with pytest.raises(InputError, match="models is missing"):
        decode_table(Definition, {"title": "t"}, "r")


def test_two_figures_of_one_name_would_be_one_file():
    figure = {"name": "x", "title": "T", "models": ["imdn"]}
    with pytest.raises(InputError, match="two figures are called 'x'"):
        decode_table(Definition, {**LEAST, "figures": [figure, figure]}, "r")


def test_no_file_and_no_toml(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml cannot be read"):
        read_definition(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("title = ")
    with pytest.raises(InputError, match="not valid TOML"):
        read_definition(str(broken))
    broken.write_bytes(b"\xff")
    with pytest.raises(InputError, match="is no text in UTF-8"):
        read_definition(str(broken))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('models = ["nothing"]', r"report .*r\.toml: models: no network is called 'nothing'"),
        ('models = ["missing.py:Net"]', r"report .*r\.toml: models: there is no file 'missing.py'"),
        ('models = ["fmen_s"]\nprofiles = ["gtx"]', r"report .*r\.toml: profiles\[0\]: unknown"),
    ],
)
def test_a_models_or_a_profiles_name_is_refused_with_its_key(
    tmp_path: Path, table: str, message: str
):
    (tmp_path / "r.toml").write_text(f'title = "T"\n{table}\n')
    with pytest.raises(InputError, match=message):
        read_definition(str(tmp_path / "r.toml"))
