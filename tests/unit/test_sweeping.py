"""What a sweep runs over, the rows that a journal keeps, and the front of a plot; no torch."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from srprof import spec
from srprof.errors import InputError
from srprof.options import add_output, check_ending, format_of
from srprof.ranges import parse_range, parse_values
from srprof.render.figures.pareto import axes_of, front
from srprof.sweeping.grid import (
    check_arguments,
    configurations,
    parse_inputs,
    parse_metrics,
    usual_metrics,
)
from srprof.sweeping.journal import Journal

BASIS = {"srprof": "1", "torch": "2", "metric set": ["params"]}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2..6", [2, 3, 4, 5, 6]),
        ("64..256:64", [64, 128, 192, 256]),
        ("1..6:2", [1, 3, 5]),
        ("5..5", [5]),
        ("-2..0", [-2, -1, 0]),
        ("0.1..0.3:0.1", [0.1, 0.2, 0.3]),
    ],
)
def test_ranges_have_both_ends(text, values):
    found = parse_range(text)
    assert found == values and [type(v) for v in found] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6..2", "ends before it begins"),
        ("2..6:0", "step must be positive"),
        ("2..6:-1", "step must be positive"),
        ("2..", "is no range"),
        ("2...6", "is no range"),
        ("a..b", "is no range"),
        ("0.1..0.5", "give its step"),
        ("1..999999999", "too many"),
        ("1..2:1e9", "is no range"),
    ],
)
def test_ranges_that_are_none(text, message):
    with pytest.raises(InputError, match=message):
        parse_range(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nf=32,40,48", ("nf", (32, 40, 48))),
        ("n=2..4,8", ("n", (2, 3, 4, 8))),
        ("block='rb','erb'", ("block", ("rb", "erb"))),
        ("name='a,b..c'", ("name", ("a,b..c",))),
        ("up=[2,1],(3, 2)", ("up", ([2, 1], (3, 2)))),
        ("x=True,1,1.0,1", ("x", (True, 1, 1.0))),
        ("x=None", ("x", (None,))),
    ],
)
def test_values_of_arguments(text, found):
    name, values = parse_values(text)
    assert (name, repr(values)) == (found[0], repr(found[1]))


@pytest.mark.parametrize(
    "text", ["nf", "=3", "2nf=3", "nf=", "nf=1,,2", "nf=abc", "nf=__import__('os')", "nf=2..x"]
)
def test_values_that_are_none(text):
    for option in ("--set", "--widths"):
        with pytest.raises(InputError, match=f"^{option} "):
            parse_values(text, option)


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        (["64..192:64"], ["64x64", "128x128", "192x192"]),
        (["64x96", "64"], ["64x96", "64x64"]),
        (["64x64,1x3x32x32,64"], ["64x64", "1x3x32x32"]),
        (["8..9x4"], ["8x4", "9x4"]),
        (["1..2x3x8x8"], ["1x3x8x8", "2x3x8x8"]),
        (["1x5x3x8x8", "3x8x8"], ["1x5x3x8x8", "3x8x8"]),
    ],
)
def test_inputs(texts, sizes):
    assert list(parse_inputs(texts)) == sizes


@pytest.mark.parametrize("text", ["64..", "0..8", "64MiB", "", "9..1", "-4", "1.5x2", "x"])
def test_inputs_that_are_none(text):
    with pytest.raises(InputError, match="--inputs"):
        parse_inputs([text])


def test_the_grid_is_in_order_and_each_point_is_a_spec():
    parsed = spec.parse("fmen(scale=2)")
    grid = configurations(parsed, ["8x8", "9x9"], {"n_feats": [16, 32], "block": ["rb"]})
    assert [(c.spec, c.input) for c in grid] == [
        ("fmen(scale=2, n_feats=16, block='rb')", "8x8"),
        ("fmen(scale=2, n_feats=16, block='rb')", "9x9"),
        ("fmen(scale=2, n_feats=32, block='rb')", "8x8"),
        ("fmen(scale=2, n_feats=32, block='rb')", "9x9"),
    ]
    assert len({c.key for c in grid}) == 4
    assert spec.parse(grid[0].spec).kwargs == (("scale", 2), ("n_feats", 16), ("block", "rb"))


def test_a_spec_of_a_file_stays_one(tmp_path):
    file = tmp_path / "net.py"
    file.write_text("")
    (point,) = configurations(spec.parse(f"{file}:Net(3)"), ["8x8"], {"nf": [[1, 2]]})
    assert point.spec == f"{file}:Net(3, nf=[1, 2])"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("fmen(scale=2)", {"scale": [2]}, "keep one"),
        ("fmen", {"params": [2]}, "has that name already"),
        ("fmen", {"a": range(2000), "b": range(2000)}, "4,000,000 configurations"),
    ],
)
def test_grids_that_are_none(text, arguments, message):
    with pytest.raises(InputError, match=message):
        configurations(spec.parse(text), ["8x8"], arguments)


def test_names_of_arguments_are_read_off_the_source(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "class A:\n    def __init__(self, nf, *, scale=2): ...\n"
        "def b(**options): ...\n@decorated\ndef c(): ...\nclass D(A): ...\n"
    )
    check_arguments(spec.parse(f"{file}:A"), ["nf", "scale"])
    with pytest.raises(InputError, match="--set x: A takes no such argument; it takes nf, scale"):
        check_arguments(spec.parse(f"{file}:A"), ["x"])
    for unknown in "bcDE":  # what the source does not tell is found out by building it
        check_arguments(spec.parse(f"{file}:{unknown}"), ["x"])
    with pytest.raises(InputError, match="fmen takes no such argument"):
        check_arguments(spec.parse("fmen"), ["nf"])


def test_metrics():
    assert parse_metrics([], None) == usual_metrics()
    assert parse_metrics([], "h100")[-1] == "latency_ms"
    assert parse_metrics(["eager,params", "eager"], None) == ("eager", "params")
    assert parse_metrics(["latency"], "h100") == ("latency_ms",)
    with pytest.raises(InputError, match="did you mean planned"):
        parse_metrics(["planed"], None)
    with pytest.raises(InputError, match="give --profile too"):
        parse_metrics(["latency"], None)


# -- the journal --------------------------------------------------------------------------------


def test_rows_are_there_again_and_nothing_twice(tmp_path):
    path = tmp_path / "j"
    with Journal(path, BASIS) as journal:
        journal.add("a", {"params": 1})
        journal.add("a", {"params": 2})
        assert len(path.read_bytes().splitlines()) == 2  # on the disk while it goes on
    with Journal(path, BASIS) as journal:
        assert journal.found == 1 and journal.rows == {"a": {"params": 1}}


@pytest.mark.parametrize("cut", range(1, 60))
def test_half_a_line_is_cut_off(tmp_path, cut):
    """A writer that was killed at any byte: what was whole is kept, the rest computed again."""
    path = tmp_path / "j"
    with Journal(path, BASIS) as journal:
        journal.add("a", {"params": 1})
        journal.add("b", {"params": 2})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with Journal(path, BASIS) as journal:
        assert set(journal.rows) in ({"a"}, set())
        journal.add("b", {"params": 2})
        journal.add("a", {"params": 1})
    with Journal(path, BASIS) as journal:
        assert journal.rows == {"a": {"params": 1}, "b": {"params": 2}}


def test_rows_of_another_definition_are_refused(tmp_path):
    path = tmp_path / "j"
    with Journal(path, BASIS) as journal:
        journal.add("a", {"params": 1})
    with pytest.raises(InputError, match="another torch: --restart forgets them"):
        Journal(path, {**BASIS, "torch": "3"})
    with Journal(path, {**BASIS, "torch": "3"}, restart=True) as journal:
        assert journal.found == 0


def test_a_journal_that_is_none_or_in_use(tmp_path):
    path = tmp_path / "j"
    path.write_text("not a journal\n")
    with pytest.raises(InputError, match="is no journal of a sweep"):
        Journal(path, BASIS)
    assert path.read_text() == "not a journal\n"
    other = tmp_path / "k"
    with (
        Journal(other, BASIS),
        pytest.raises(InputError, match="being written by another sweep"),
    ):
        Journal(other, BASIS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"error": null}', "row.error is None, not text"),
        ('{"error": "", "params": "many"}', "row.params is 'many', not a whole number"),
        ('{"error": "", "params": 1.5}', "row.params is 1.5, not a whole number"),
        ('{"error": "", "exit_code": -1}', "row.exit_code is -1"),
        ('{"error": "", "eager": 1e400}', "row.eager is inf"),
        ('{"error": "", "what": 1}', "unknown key row.what"),
        ("[]", "row is .., not"),
        ("[" * 9999, "not whole JSON"),
    ],
)
def test_a_row_of_a_journal_that_cannot_be(tmp_path, row: str, message: str):
    path = tmp_path / "j"
    heading = json.dumps({"schema": 1, "basis": BASIS})
    path.write_text(f'{heading}\n{{"configuration": "a", "row": {row}}}\n')
    with pytest.raises(InputError, match=rf"j is no journal of a sweep \(line 2: .*{message}"):
        Journal(path, BASIS)


def test_a_journal_without_rows_leaves_no_file(tmp_path):
    with Journal(tmp_path / "j", BASIS):
        pass
    assert not (tmp_path / "j").exists()


def test_a_row_is_one_line_of_json(tmp_path):
    with Journal(tmp_path / "j", BASIS) as journal:
        journal.add("a\nb", {"error": "two\nlines"})
    lines = (tmp_path / "j").read_text().splitlines()
    assert [json.loads(line) for line in lines][1]["row"] == {"error": "two\nlines"}


# -- what is written ----------------------------------------------------------------------------


def test_the_front_has_what_no_other_is_below():
    points = [(1, 5), (2, 3), (2, 4), (3, 3), (4, 1), (1, 6), (4, 1)]
    assert front(points) == [0, 1, 4]
    assert front([]) == []


def test_axes_of_the_plot():
    assert axes_of(None, usual_metrics(), None) == (("eager", False), ("params", True))
    assert axes_of("flops,params:max", usual_metrics(), None) == (
        ("flops", False),
        ("params", True),
    )
    for text in ("flops", "flops,flops", "flops,macs", "flops,eager:most", None):
        metrics = ("flops", "eager") if text else ("flops",)
        with pytest.raises(InputError, match="--pareto"):
            axes_of(text, metrics, None)


def output(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_output(parser, more={"parquet": ".parquet"})
    return parser.parse_args(argv)


def test_the_format_is_the_suffix_s():
    assert format_of(output()) == "text"
    for path, name in (("a.CSV", "csv"), ("a.Parquet", "parquet"), ("a.md", "markdown")):
        assert format_of(output("-o", path)) == name
        check_ending(output("-o", path))
    assert format_of(output("-o", "a.csv", "--format", "json")) == "json"
    check_ending(output("-o", "table", "--format", "json"))
    with pytest.raises(InputError, match=r"ends in \.csv.*\.parquet"):
        check_ending(output("-o", "table"))


def test_what_asks_loads_no_torch():
    code = "import sys, srprof.sweeping.run, srprof.sweeping.worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
