"""What a comparison with a golden file sees, and what it lets pass."""

from __future__ import annotations

import pytest

from tests.golden_files import Golden, assert_same_cells, rows, without_source_lines

TEXT = """\
net and net2 at 1x3x8x8 float32

peak         before MiB    after MiB    difference
---------  ------------  -----------  ------------
planned           48.98        43.83     -5.15 MiB
eager             95.57            -
reserved         108.00       184.00    +76.00 MiB

the planned peak is -5.15 MiB.
"""

MARKDOWN = """\
| peak    |   before MiB | at          |
|:--------|-------------:|-------------|
| planned |        48.98 | net.py:N    |
| a\\|b    |            - | other.py:N  |
"""


def test_cells_of_text():
    _, _, header, rule, planned, eager, _, _, sentence = rows(TEXT)
    assert header == ("peak", "before MiB", "after MiB", "difference")
    assert rule == ("-",) * 4
    assert planned == ("planned", "48.98", "43.83", "-5.15 MiB")
    assert eager == ("eager", "95.57", "-", "")
    assert sentence == ("the planned peak is -5.15 MiB.",)


def test_cells_of_markdown():
    header, rule, _, last = rows(MARKDOWN)
    assert header == ("", "peak", "before MiB", "at", "")
    assert rule == ("", ":-", "-:", "-", "")
    assert last == ("", "a\\|b", "-", "other.py:N", "")


def test_widths_are_free():
    wider = """\
net and net2 at 1x3x8x8 float32

peak            before MiB    after MiB      difference
------------  ------------  -----------  --------------
planned              48.98        43.83       -5.15 MiB
eager                95.57            -
reserved            108.00       184.00      +76.00 MiB

the planned peak is -5.15 MiB.
"""
    assert_same_cells(wider, TEXT)
    assert_same_cells(MARKDOWN.replace("--:|", "----:|").replace("    |", " |"), MARKDOWN)


@pytest.mark.parametrize(
    "text, before, after",
    [
        (TEXT, "-5.15 MiB\n", " 5.15 MiB\n"),
        (TEXT, "+76.00 MiB", " 76.00 MiB"),
        (TEXT, "is -5.15", "is 5.15"),
        (TEXT, "before MiB", "before GiB"),
        (TEXT, "before MiB    after MiB", "after MiB    before MiB"),
        (TEXT, "184.00    +76.00 MiB", "         +76.00 MiB    "),
        (TEXT, "           -\n", "            \n"),
        (TEXT, "           -\n", "          --\n"),
        (TEXT, "reserved         108.00       184.00    +76.00 MiB\n", ""),
        (MARKDOWN, "         - |", "           |"),
        (MARKDOWN, "-:|", "--|"),
        (MARKDOWN, "48.98 | net.py:N    ", "net.py:N | 48.98    "),
    ],
)
def test_what_is_seen(text: str, before: str, after: str):
    assert before in text
    with pytest.raises(AssertionError, match=r"(?ms)^--- kept\.txt.*^[-+]\S.*--update-golden"):
        assert_same_cells(text.replace(before, after), text, "kept.txt")


def test_an_update_rewrites_the_part_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.golden_files.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- begin -->\nold\n<!-- end -->\nmore\n")
    between = ("<!-- begin -->\n", "\n<!-- end -->")
    with pytest.raises(AssertionError, match=r"-old\n\+new"):
        Golden(update=False)("new", page, between)
    assert "old" in page.read_text()
    Golden(update=True)("new", page, between)
    assert page.read_text() == "# Page\n<!-- begin -->\nnew\n<!-- end -->\nmore\n"


def test_a_new_file_is_written_by_an_update_only(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.golden_files.ROOT", tmp_path)
    with pytest.raises(AssertionError):
        Golden(update=False)("text\n", tmp_path / "new.txt")
    Golden(update=True)("text\n", tmp_path / "new.txt")
    assert (tmp_path / "new.txt").read_text() == "text\n"


def test_source_lines_keep_the_columns_in_place():
    text = "at models/net.py:38    48.98  then models/net.py:9, and\nmodels/net.py:138  48.98\n"
    assert without_source_lines(text) == (
        "at net.py:N            48.98  then net.py:N, and\nnet.py:N           48.98\n"
    )
    assert without_source_lines("0,conv,models/net.py:38,1x3") == "0,conv,net.py:N,1x3"
    assert without_source_lines("| models/net.py:38 | 1 |") == "| net.py:N         | 1 |"
