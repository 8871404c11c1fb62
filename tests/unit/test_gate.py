"""Quantities, configuration, verdicts and the baseline's text, without a model."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srprof import figures
from srprof.errors import InputError
from srprof.files import parse_toml
from srprof.gate import config, formats
from srprof.gate.baseline import Baseline, Entry, Excerpt, dumps, loads, portable
from srprof.gate.environment import depends
from srprof.gate.formats.github import command
from srprof.gate.init import factories
from srprof.gate.record import Report, Result, Row, describe
from srprof.quantities import (
    UNITS,
    Growth,
    format_quantity,
    parse_growth,
    parse_quantity,
)
from srprof.render.writers.markdown import escaped

MIB = 2**20


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("210 MiB", "bytes", 210 * MIB),
        ("1.5GiB", "bytes", 3 * 2**29),
        ("10 MB", "bytes", 10**7),
        ("350K", "count", 350_000),
        ("0.341 M", "count", 341_000),
        (64, "count", 64),
        ("64", "count", 64),
        ("30 ms", "time", 30_000_000),
        ("2.5us", "time", 2500),
    ],
)
def test_quantities(text, kind, value):
    assert parse_quantity(text, kind) == value


@pytest.mark.parametrize(
    "text, kind, message",
    [
        ("210", "bytes", "unit is missing"),
        ("210 mib", "bytes", "did you mean MiB"),
        ("210 MiBB", "bytes", "did you mean MiB"),
        ("many", "bytes", "is no size"),
        ("-3 MiB", "bytes", "is no size"),
        (210, "bytes", "is no size"),
        (True, "count", "is no count"),
        ("30 sec", "time", "unknown unit 'sec'"),
        ("3.5.1K", "count", "is no count"),
        ("", "count", "is no count"),
    ],
)
def test_what_is_no_quantity(text, kind, message):
    with pytest.raises(InputError, match=message):
        parse_quantity(text, kind)


@pytest.mark.parametrize(
    "text, growth",
    [
        ("1%", Growth(Fraction(1, 100))),
        ("5 MiB", Growth(amount=5 * MIB)),
        ("1%+2MiB", Growth(Fraction(1, 100), 2 * MIB)),
        ("2 MiB + 0.5 %", Growth(Fraction(1, 200), 2 * MIB)),
        (0, Growth()),
    ],
)
def test_growth(text, growth):
    assert parse_growth(text, "bytes") == growth


@pytest.mark.parametrize("text", ["", "1%+1%", "1 MiB+1 MiB", "%", "1%+", "-1%", "1%+2MiB+3MiB", 1])
def test_what_is_no_growth(text):
    with pytest.raises(InputError):
        parse_growth(text, "bytes")


@given(
    st.integers(0, 2**40), st.integers(-(2**40), 2**40), st.integers(0, 50), st.integers(0, 2**30)
)
def test_both_must_be_exceeded(base, change, percent, amount):
    now = max(base + change, 0)
    allowed = Growth(Fraction(percent, 100), amount).allowed(base)
    row = Row("eager", base, now, None, allowed)
    grown = now - base
    assert row.grew == (grown > 0 and grown * 100 > base * percent and grown > amount)
    assert row.fails == row.grew
    assert not (row.grew and row.shrank)


@given(st.sampled_from(figures.names()), st.integers(0, 10**12))
def test_a_printed_quantity_is_read_again(name, value):
    kind = figures.find(name).kind
    text = format_quantity(value, kind).replace(",", "")
    unit = 1 if kind == "count" else UNITS[kind]["MiB" if kind == "bytes" else "ms"]
    assert abs(parse_quantity(text, kind) - value) <= unit / 200 + 1


def test_sentences_of_a_row():
    grown = Row("eager", 100 * MIB, 103 * MIB, 102 * MIB, MIB)
    assert grown.verdict == "over the limit and grew"
    assert describe(grown) == (
        "eager peak is 103.00 MiB, over its limit of 102.00 MiB by 1.00 MiB and grew by "
        "+3.00 MiB, from 100.00 MiB to 103.00 MiB (1.00 MiB is allowed)"
    )
    assert Row("params", 10, 8).verdict == "smaller"
    assert Row("params", 10, 12, compared=False).verdict == "not compared"
    assert Row("params", 10, 12, limit=11, compared=False).fails


def parsed(text: str) -> config.Config:
    return config.parse(parse_toml(text), Path("/p/srprof.toml"))


HEAD = '[[check]]\nmodel = "fmen_s"\ninput = "64x64"\n'


def test_a_configuration():
    found = parsed(
        'growth = "1%+2MiB"\n' + HEAD + 'device = "ntire2022"\npeak.eager = "210 MiB"\n'
        'params = "350K"\nlatency = "30 ms"\ngrowth.peak.eager = "5 MiB"\n'
    )
    (check,) = found.checks
    assert check.name == "fmen_s 64x64 ntire2022"
    assert dict(check.limits) == {
        "eager": 210 * MIB,
        "params": 350_000,
        "latency_ms": 30_000_000,
    }
    assert check.growth["eager"] == Growth(amount=5 * MIB)
    assert check.growth["planned"] == Growth(Fraction(1, 100), 2 * MIB)
    assert check.growth["params"] == Growth(Fraction(1, 100))
    assert found.baseline == Path("/p/srprof-baseline.json")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no checks"),
        ("check = []", "no checks"),
        ("[check]\nmodel = 'a'", "double brackets"),
        ("chekc = []", "did you mean check"),
        (HEAD + 'eagr = "1 MiB"', "did you mean eager"),
        (HEAD + 'peak.eagr = "1 MiB"', "did you mean peak.eager"),
        (HEAD + 'dtyp = "float16"', "did you mean dtype"),
        (HEAD + 'peak.eager = "1 MB/s"', "peak.eager: '1 MB/s' is no size"),
        (HEAD + "peak.eager = 5", "peak.eager: 5 is no size"),
        (HEAD + 'dtype = "float61"', "did you mean float16"),
        (HEAD + 'profile = "ntire2021"', "did you mean ntire2022"),
        (HEAD + 'device = "ntire2021"', "profile: .*did you mean ntire2022"),
        (HEAD + 'profile = "a100"\ndevice = "a100"', "device is the older name of profile"),
        (HEAD + 'latency = "3 ms"', "needs a profile"),
        (HEAD + 'metrics = ["peak.eagr"]', "did you mean peak.eager"),
        (HEAD + "metrics = []", "check fmen_s: metrics is .., not a list of names"),
        (HEAD + 'growth = "much"', "check fmen_s: growth: 'much' is no size"),
        (HEAD + 'growth.params = "1 MiB"', "growth.params: .1 MiB."),
        (HEAD + 'sizes = "x.txt"', "protocol"),
        (HEAD + HEAD, "two checks are called 'fmen_s 64x64'"),
        ('[[check]]\ninput = "64x64"', "model is missing"),
        ('[[check]]\nmodel = "fmen_s"', "input is missing"),
        ('[[check]]\nmodel = "fmen_s"\ninput = "64x"', "is not a size"),
        (HEAD + "model_ = 3", "did you mean model"),
        ("baseline = true\n" + HEAD, "false for limits alone"),
    ],
)
def test_complaints_of_a_configuration(text, message):
    with pytest.raises(InputError, match=message):
        parsed(text)


EXCERPT = Excerpt("meta", peak_node={}, live=(), nodes=(), steps="00ff")
FIGURES = dict.fromkeys((name for name in figures.names() if name != "latency_ms"), 1)


def test_a_baseline_is_read_as_it_was_written():
    entry = Entry({"model": "a", "inputs": ["1x1"]}, FIGURES, EXCERPT)
    made = Baseline({"torch": "2", "srprof": "0"}, {"b": entry, "a": entry})
    text = dumps(made)
    assert loads(text, "x") == made
    assert dumps(loads(text, "x")) == text
    assert list(json.loads(text)["entries"]) == ["a", "b"]


def test_a_baseline_of_schema_1_is_read_by_the_names_of_today():
    made = Baseline({}, {"a": Entry({"model": "a", "inputs": []}, FIGURES, EXCERPT)})
    data = json.loads(dumps(made)) | {"schema": 1}
    older = {f.name: f.aliases[0] for f in figures.FIGURES if f.aliases}
    assert (older["eager"], older["flops"]) == ("peak.eager", "flops_ntire")
    data["entries"]["a"]["metrics"] = {older.get(n, n): v for n, v in FIGURES.items()}
    assert loads(json.dumps(data), "x") == made


@pytest.mark.parametrize("key", ["settings", "metrics", "trace"])
def test_a_damaged_entry(key):
    made = Baseline({}, {"a": Entry({"model": "a", "inputs": []}, FIGURES, EXCERPT)})
    data = json.loads(dumps(made))
    for value in (None, {}, [], 3, "text"):
        data["entries"]["a"][key] = value
        with pytest.raises(InputError, match="is damaged"):
            loads(json.dumps(data), "x.json")


def test_no_path_of_a_machine(tmp_path):
    package = tmp_path / "lib" / "nets"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert portable(str(package / "a.py"), str(tmp_path / "project")) == "nets/a.py"
    assert portable(str(package / "a.py"), str(tmp_path)) == "lib/nets/a.py"


def test_what_a_difference_leaves_out_are_metrics():
    for names in depends().values():
        assert names <= set(figures.names())


def test_an_annotation_cannot_be_ended_by_a_name():
    text = command("error", "50%\n::error::x", file="a,b:c.py", title="t\r")
    assert text == "::error file=a%2Cb%3Ac.py,title=t ::50%25%0A::error::x"
    assert "\n" not in text


@given(st.text(alphabet="a`*_<>[]\\| \n#", max_size=30))
def test_markdown_shows_the_text(text):
    from html import unescape
    from re import sub

    from markdown_it import MarkdownIt

    html = MarkdownIt("js-default").renderInline(escaped(f"x {text} x"))
    shown = unescape(sub(r"</?code>", "", html))
    letters = sub(r"[`\s]", "", f"x {text} x")
    assert sub(r"[`\s]", "", shown) == letters


SOURCE = """
import torch.nn as nn
from torch.nn import Module
class Block(nn.Module):
    def __init__(self, n): ...
class Net(Module):
    def __init__(self, n=3, *, k=1): ...
class Child(Block):
    def __init__(self): super().__init__(3)
class Same(Block): ...
class _Hidden(nn.Module): ...
class Config: ...
def small(): return Net(3)
def typed() -> "nn.Module": return globals()["Net"]()
def train(): return Config()
def needs(n): return Net(n)
"""


def test_factories_of_a_file():
    assert factories(SOURCE, "net.py") == ["Child", "small", "typed"]
    assert factories(SOURCE.replace("Net(3)", "Child()"), "net.py") == ["Net", "small", "typed"]


NASTY = "a\x1b[31m\x9b\u202e\ufffe::error::%0A]]>\r\n::warning::b"


def test_reports_for_ci_servers_have_no_control_characters():
    """Nor a command of their own, nor what XML has not."""
    result = Result(NASTY, file=NASTY, line=3, problems=(NASTY,))
    report = Report((result,))
    for form in ("github", "gitlab", "junit"):
        written = formats.render(report, form, "/")
        assert all(sign.isprintable() or sign == "\n" for sign in written)
        if form == "github":
            assert written.count("\n") == written.count("::error file=") == 1
            assert not re.search("^::(?!error file=)", written, re.MULTILINE)
        elif form == "gitlab":
            assert json.loads(written)[0]["description"].isprintable()
        else:
            ElementTree.fromstring(written)
