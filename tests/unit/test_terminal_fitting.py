"""Text and tables in a terminal's columns: no line longer, no word cut, no number broken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from srprof.render.document import Cell, Column, Document, Section, Table
from srprof.render.fitting import fitted, shortened, wrapped
from srprof.render.writers import render
from tests.terminals import capture, check_lines


@pytest.mark.parametrize(
    "word, width, short",
    [
        ("models/rfdn_net.py:84", 21, "models/rfdn_net.py:84"),
        ("models/rfdn_net.py:84", 20, "…rfdn_net.py:84"),
        ("networks/residual/blocks/net.py:51", 30, "networks/…blocks/net.py:51"),
        ("/work/of/mine/networks/net.py:51", 23, "/work/of/…net.py:51"),
        ("/work/of/mine/networks/net.py:51", 27, "/work/…networks/net.py:51"),
        ("a_long_name_of_a_file.py:123", 14, "a_…file.py:123"),
        ("HFABs.0.convs.0.conv1.rep_conv", 24, "HFABs.0.…conv1.rep_conv"),
        ("HFABs.0.convs.0.conv1.rep_conv", 12, "…rep_conv"),
        ("max_pool2d_with_indices", 16, "max_…indices"),
        ("undividedword", 9, "undi…word"),
        ("日本語のファイル/net.py:3", 12, "…net.py:3"),
    ],
)
def test_a_word_loses_whole_parts_of_its_middle(word: str, width: int, short: str):
    assert shortened(word, width) == short
    assert cell_len(short) <= width


@given(st.text("ab/._:,;=(+-", min_size=1, max_size=40), st.integers(1, 40))
def test_a_shortened_word_fits_and_keeps_both_ends(word: str, width: int):
    short = shortened(word, width)
    assert cell_len(short) <= width
    head, sign, tail = short.partition("…")
    assert (short == word) if not sign else word.startswith(head) and word.endswith(tail)


@given(st.text("ab cd  é日/.", max_size=80), st.integers(8, 60))
def test_wrapped_text_says_the_same(text: str, width: int):
    lines = wrapped(text, width)
    assert all(cell_len(line) <= width for line in lines)
    words = " ".join(lines).split()
    assert len(words) == len(text.split())
    for ours, theirs in zip(words, text.split(), strict=True):
        assert ours == shortened(theirs, width - _indent(text, width))


def _indent(text: str, width: int) -> int:
    return min(len(text) - len(text.lstrip(" ")), width // 2) if text.strip() else 0


def test_a_number_stays_with_its_unit_and_a_tree_with_its_name():
    assert wrapped("it takes 49.61 MiB", 16) == ["it takes", "49.61 MiB"]
    assert wrapped("it saves, -0.78 MiB.", 16) == ["it saves,", "-0.78 MiB."]
    assert wrapped("│ ├─ name", 9) == ["│ ├─ name"]
    assert wrapped("  a line of several", 12) == ["  a line of", "  several"]


NAMES = st.text("abc_.", min_size=1, max_size=20)
TEXTS = st.lists(NAMES, min_size=1, max_size=4).map(" ".join)
NUMBERS = st.integers(0, 10**9).map("{:,}".format)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    kinds = draw(st.lists(st.booleans(), min_size=1, max_size=8))
    columns = tuple(
        Column(f"{draw(NAMES)} {i}", "number" if number else "text", spare=draw(st.integers(0, 2)))
        for i, number in enumerate(kinds)
    )
    rows = draw(st.integers(0, 3))
    cells = (tuple(draw(NUMBERS if n else TEXTS) for n in kinds) for _ in range(rows))
    return Table(columns, tuple(cells))


@given(tables(), st.integers(40, 130))
def test_any_table_fits_without_a_cut_number(table: Table, width: int):
    document = Document((Section("t", (), table),))
    shown = capture(document, width)
    assert all(cell_len(line) <= width for line in shown.splitlines())
    texts = [
        [head.text or "" for head in table.heads()],
        *([c.text or "" for c in r] for r in table.cells()),
    ]
    laid = fitted(table.columns, texts, width)
    kept = {i for block in laid.blocks for i in block}
    assert kept | set(laid.left_out) == set(range(len(table.columns)))
    assert all(table.columns[i].spare for i in laid.left_out)
    for i in kept:
        if table.columns[i].right:
            assert all(row[i] in shown for row in texts[1:])
    for row in texts[1:]:
        place = 0  # what a row says comes in the order of its columns
        for i in laid.blocks[0]:
            if table.columns[i].right:
                place = shown.find(row[i], place)
                assert place >= 0


def wide(*spares: int) -> Table:
    columns = (
        Column("name"),
        *(Column(f"figure{i}", "number", spare=n) for i, n in enumerate(spares)),
    )
    return Table(columns, (("row", *("1" * 15 for _ in spares)),))


def test_what_says_least_goes_first_and_is_named():
    shown = capture(Document((Section("t", (), wide(0, 2, 0, 1)),)), 60)
    head = next(line for line in shown.splitlines() if line.startswith("name"))
    assert head.split() == ["name", "figure0", "figure2", "figure3"]
    assert "Left out at 60 columns: figure1." in shown
    assert "Left out" not in capture(Document((Section("t", (), wide(0, 2, 0, 1)),)), 90)


def test_what_cannot_go_stands_below_with_its_rows_name():
    shown = capture(Document((Section("t", (), wide(0, 0, 0, 0, 0)),)), 60)
    heads = [line.split() for line in shown.splitlines() if line.startswith("name")]
    assert heads == [["name", "figure0", "figure1", "figure2"], ["name", "figure3", "figure4"]]
    assert shown.count("row") == 2 and shown.count("1" * 15) == 5


def test_marks_and_notes_are_measured_too():
    cells = (Cell("a", note="x"), Cell(3, "3", mark="best", note="y"))
    table = Table((Column("first"), Column("second", "number")), (cells,))
    document = Document((Section("t", (), table, (), (("x", "one"), ("y", "two"))),))
    check_lines(document, 80)
    assert "a [x]   3 [y]" in capture(document, 80)


def test_without_colour_if_asked(monkeypatch: pytest.MonkeyPatch):
    """https://no-color.org: marks stay bold and underlined, which is no colour."""
    cells = (Cell(1, "1", mark="best"), Cell(2, "2", mark="second"))
    document = Document((Section("t", (), Table((Column("a"), Column("b")), (cells,))),))
    colour = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|4[0-8]|9\d|10\d)(?:;\d+)*m")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colour.search(render(document, "rich"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(render(document, "rich"))
    assert "\x1b[1m1" in render(document, "rich") and "\x1b[4m2" in render(document, "rich")
