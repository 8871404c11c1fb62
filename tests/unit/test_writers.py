"""Every writer on one document with texts that would break a format, cell by cell."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from srprof import words
from srprof.cli import main
from srprof.errors import InputError
from srprof.render import writers
from srprof.render.document import Cell, Column, Document, Picture, Section, Table
from srprof.render.figures import as_svg
from srprof.render.figures.errors import draw
from srprof.render.writers import formats, html, latex, markdown, render, suffixes

#: What is written, and how each format that a person reads has it.
NASTY = {
    "a|b": {"markdown": r"a\|b", "latex": r"a\textbar{}b"},
    "`code_` and `": {"markdown": r"`code_` and \`", "latex": r"`code\_` and `"},
    "<script>alert(1)</script>": {
        "markdown": "&lt;script>alert(1)&lt;/script>",
        "latex": r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}",
    },
    "R&D &amp; 100%": {"markdown": r"R&D \&amp; 100%", "latex": r"R\&D \&amp; 100\%"},
    "_init_ of snake_case": {
        "markdown": r"\_init\_ of snake_case",
        "latex": r"\_init\_ of snake\_case",
    },
    "two\nlines\r\tand \x1b[31mred\x07\x00": {
        "text": "two lines  and  [31mred",
        "markdown": r"two lines and \[31mred",
        "latex": "two lines and [31mred",
    },
    "=cmd|'/C calc'!A0": {
        "markdown": r"=cmd\|'/C calc'!A0",
        "latex": r"=cmd\textbar{}'/C calc'!A0",
    },
    "- **item** [x](y)": {
        "markdown": r"\- \*\*item\*\* \[x\](y)",
        "latex": "- **item** [x](y)",
    },
    r"\end{table} $x^2$ ~#": {
        "markdown": r"\\end{table} $x^2$ ~#",
        "latex": r"\textbackslash{}end\{table\} \$x\textasciicircum{}2\$ \textasciitilde{}\#",
    },
}
COLUMNS = (
    Column("what | where"),
    Column("size MiB", "mib"),
    Column("moved", "change"),
    Column("% of it, all/some", "share"),
    Column("GFLOPs", "scaled", "flops", 1e9, 3),
    Column("calls", "count"),
)
TABLE = Table(
    COLUMNS,
    (
        *((text, None, None, None, None, None) for text in NASTY),
        ("first", Cell(3 * 2**20, mark="best"), -0.125, 0.5, 22_280_011_776, 1234),
        (Cell("second", note="a"), Cell(2**21, mark="second", note="b"), 0.25, None, -1e9, -7),
        (Cell("last", "the last"), Cell(-(2**20), "minus one"), -0.0001, 0, 0, 0),
    ),
    ("", "a", "", "", "", ""),
)
FOOTNOTES = (("a", "from <a> file_"), ("b", "100% & more"))
DOCUMENT = Document(
    (
        Section("A | title_", ("a line\x1b[2J", "1. no list"), TABLE, ("after & all",), FOOTNOTES),
        Section("Nothing", (), Table((Column("empty"),), ())),
        Section("Lines alone", ("# one",)),
    ),
    lambda: {"texts": list(NASTY), "unknown": None},
    lambda: (Section("For pages"),),
)
NUMBERS = {
    "first": ["3.00", "-12.50%", "50.0%", "22.280", "1,234"],
    "second": ["2.00", "+25.00%", "-", "-1.000", "-7"],
    "the last": ["minus one", "-0.01%", "0.0%", "0.000", "0"],
}


def in_text(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_text():
    text = render(DOCUMENT)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    lines = text.splitlines()
    assert lines[:4] == ["A | title_", "a line [2J", "1. no list", ""]
    assert in_text(lines[4]) == [
        "what | where", "size MiB [a]", "moved", "% of it, all/some", "GFLOPs", "calls",
    ]  # fmt: skip
    names = [line[: lines[5].index("  ")].rstrip() for line in lines[6 : 6 + len(NASTY)]]
    assert names == [forms.get("text", text) for text, forms in NASTY.items()]
    rows = [in_text(line) for line in lines[6 + len(NASTY) : 9 + len(NASTY)]]
    first, second, last = NUMBERS.values()
    assert rows == [
        ["first", "3.00*", *first[1:]],
        ["second [a]", "2.00+[b]", *second[1:]],
        ["the last", *last],
    ]
    rest = "\n".join(lines[9 + len(NASTY) :])
    assert rest == (
        "\n* best, + second best. Letters, at a value, else its row, else its column, say where it "
        "comes from:\n[a] from <a> file_\n[b] 100% & more\n\nafter & all\n\nNothing\n\nempty\n"
        "-------\n\nLines alone\n# one"
    )


def test_rich_says_what_text_says():
    coloured = render(DOCUMENT, "rich", 300)
    assert "\x1b[1;32m" in coloured and "\x1b[4;36m" in coloured
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", plain)
    said = [
        line.replace("*", "").replace("+[", " [").replace("2.00+", "2.00")
        for line in render(DOCUMENT).splitlines()
    ]
    for cells in map(in_text, said[6 + len(NASTY) : 9 + len(NASTY)]):
        assert cells in [in_text(line) for line in plain.splitlines()]
    assert "[b] 100% & more" in plain and "after & all" in plain


@pytest.mark.parametrize("width", [40, 80])
def test_no_digit_is_cut_in_a_narrow_terminal(width: int):
    columns = (Column("name"), *(Column(f"figure {i}", "number") for i in range(9)))
    table = Table(columns, tuple(("net", *(f"123.45 ({i})" for i in range(9))) for _ in range(3)))
    plain = re.sub(
        r"\x1b\[[\d;]*m",
        "",
        render(Document((Section("t", (), table),)), "rich", width),
    )
    assert [plain.count(f"123.45 ({i})") for i in range(9)] == [3] * 9
    assert max(map(len, plain.splitlines())) <= width


def test_markdown():
    page = render(DOCUMENT, "markdown")
    assert "<script" not in page and "\x1b" not in page
    blocks = page.split("\n\n")
    assert blocks[:3] == [r"# A \| title\_", r"a line \[2J", r"1\. no list"]
    head, rule, *rows = (re.split(r"(?<!\\)\|", line)[1:-1] for line in blocks[3].splitlines())
    cells = [[cell.strip() for cell in row] for row in rows]
    assert head[0].strip() == r"what \| where" and head[1].strip() == "size MiB<sup>a</sup>"
    assert [mark.strip("-") for mark in rule] == [":", *[":"] * 5]
    assert [mark[0] for mark in rule] == [":", *"-----"]  # texts to the left, numbers to the right
    assert [row[0] for row in cells[: len(NASTY)]] == [f["markdown"] for f in NASTY.values()]
    assert all(row[1:] == ["-"] * 5 for row in cells[: len(NASTY)])
    first, second, last = NUMBERS.values()
    assert cells[len(NASTY) :] == [
        ["first", "**3.00**", *first[1:]],
        ["second<sup>a</sup>", "<u>2.00</u><sup>b</sup>", *second[1:]],
        ["the last", *last],
    ]
    assert blocks[4].startswith("**Best**, <u>second best</u>. Letters, at a value")
    assert blocks[5] == "- <sup>a</sup> from &lt;a> file\\_\n- <sup>b</sup> 100% & more"
    assert blocks[6:] == [
        "- after & all", "## Nothing", "| empty   |\n|---------|", "## Lines alone", "\\# one",
        "## For pages\n",
    ]  # fmt: skip


class Page(HTMLParser):
    """The cells of every row, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.classes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.classes.append(dict(attrs).get("class") or "")
        if tag == "span" and self.classes:
            self.classes[-1] += f" {dict(attrs)['class']}"

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data if data.strip() else ""


def test_html():
    text = render(DOCUMENT, "html")
    page = Page(text)
    assert "script" not in page.tags
    rows = page.rows[1 : 1 + len(NASTY)]
    assert [row[0].split() for row in rows] == [
        forms.get("text", text).split() for text, forms in NASTY.items()
    ]
    first, second, last = NUMBERS.values()
    assert page.rows[1 + len(NASTY)] == ["first", *first]
    assert page.rows[2 + len(NASTY)] == ["seconda", "2.00b", *second[1:]]
    assert page.rows[3 + len(NASTY)][:5] == ["the last", *last[:4]]
    assert "number best" in page.classes and "number second" in page.classes
    assert '<span class="best">Best</span>' in text and "For pages" in text
    assert "For pages" not in html.fragment(DOCUMENT)
    assert "<style" not in html.fragment(DOCUMENT)


def test_latex():
    text = render(DOCUMENT, "latex")
    rows = [
        line.strip().removesuffix(r" \\").split(" & ")
        for line in text.splitlines()
        if line.endswith(r" \\")
    ]
    assert rows[0][1] == r"size MiB\textsuperscript{a}" and rows[0][3] == r"\% of it, all/some"
    assert [row[0] for row in rows[1 : 1 + len(NASTY)]] == [f["latex"] for f in NASTY.values()]
    assert rows[1 + len(NASTY)][:3] == ["first", r"\textbf{3.00}", r"-12.50\%"]
    assert rows[2 + len(NASTY)][:2] == [
        r"second\textsuperscript{a}", r"\underline{2.00}\textsuperscript{b}"
    ]  # fmt: skip
    assert r"\textsuperscript{a}~from \textless{}a\textgreater{} file\_." in text
    assert r"\begin{tabular}{lrrrrr}" in text and "% # one" in text
    assert text.count(r"\begin{table}") == text.count("\n\\end{table}") == 2


def test_csv_has_raw_values_under_one_word_each():
    head, *rows = csv.reader(io.StringIO(render(DOCUMENT, "csv"), newline=""))
    assert head == ["what_where", "size_bytes", "moved", "of_it_all_some", "flops", "calls"]
    texts = [words.printable(text) for text in NASTY]
    texts[texts.index("=cmd|'/C calc'!A0")] = "'=cmd|'/C calc'!A0"
    texts[texts.index("- **item** [x](y)")] = "'- **item** [x](y)"
    assert [row[0] for row in rows] == [*texts, "first", "second", "last"]
    assert rows[0][1:] == [""] * 5
    assert rows[-3][1:] == [str(3 * 2**20), "-0.125", "0.5", "22280011776", "1234"]
    assert rows[-2][1:] == [str(2**21), "0.25", "", "-1000000000.0", "-7"]
    assert rows[-1][1:] == [str(-(2**20)), "-0.0001", "0", "0", "0"]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", " =1", "\uff1d1"])
def test_no_cell_is_a_formula(text: str):
    """Nor a heading, which `--set` may have named."""
    table = Table.of([{text: text}])
    head, row = csv.reader(io.StringIO(render(Document((), main=table), "csv"), newline=""))
    assert head == row == ["'" + text.replace("\t", " ")]


def test_numbers_and_what_is_not_known_are_no_formulas():
    table = Table.of([{"a": "-", "b": "+3.1%", "c": "-2.50", "d": -3, "e": "a=b"}])
    assert render(Document((), main=table), "csv") == "a,b,c,d,e\n-,+3.1%,-2.50,-3,a=b\n"


#: What colours or clears a terminal, turns the direction of text, or ends a line elsewhere.
CONTROL = "a\x1b[2J\x07\x00\x7f\x9b31m\u202eb\u2066c\u200f\u2028d\ufeff"


@pytest.mark.parametrize("form", [form for form in formats() if form != "json"])
def test_no_control_character_is_left(form: str):
    column = Column(CONTROL, key=CONTROL)
    section = Section(
        CONTROL, (CONTROL,), Table((column,), ((CONTROL,),)), (CONTROL,), (("a", CONTROL),)
    )
    written = render(Document((section,)), form)
    if form == "rich":
        written = re.sub(r"\x1b\[[\d;]*m", "", written)
    assert "a" in written
    assert all(sign.isprintable() or sign == "\n" for sign in written)


@pytest.mark.parametrize(
    "text", ["# a", "###### a", "> a", ">a", "- a", "+ a", "1. a", "2) a", "---", "==="]
)
def test_markdown_opens_no_block(text: str):
    assert re.fullmatch(r"\d*\\.*", markdown.escaped(text))
    assert markdown.escaped(text).replace("\\", "") == text


def test_latex_takes_no_cell_for_an_argument():
    for text in ("[2cm]", "*"):
        assert f"    {{}}{text} " in render(
            Document((Section("t", (), Table((Column("a"),), ((text,),))),)), "latex"
        )


def test_json_is_the_data():
    assert json.loads(render(DOCUMENT, "json")) == {"texts": list(NASTY), "unknown": None}


@pytest.mark.parametrize("form", formats())
def test_a_document_without_anything(form: str):
    text = render(Document(()), form)
    assert text.endswith("\n") or text == ""


def test_rows_for_programs():
    table = Table.of([{"a b": 1, "c": None}, {"a b": 2, "c": "x"}])
    assert render(Document((), main=table), "csv") == "a b,c\n1,\n2,x\n"
    assert Table.of([]) == Table((), ())


def test_escapers_leave_words_alone():
    words = "FMEN-S at 1x3x64x64, 0.5 + 1 (x2) it's"
    assert markdown.escaped(words) == latex.escaped(words) == words


def test_the_suffix_of_a_file_names_its_format():
    assert suffixes() == {
        ".txt": "text", ".csv": "csv", ".html": "html", ".json": "json", ".tex": "latex",
        ".md": "markdown",
    }  # fmt: skip


def test_an_unknown_format_is_refused():
    with pytest.raises(InputError, match=r"format 'pdf' is not one of text, csv, "):
        render(DOCUMENT, "pdf")


MADE_UP = """
SUFFIX = ".made"


def write(document, style):
    return f"made up: {document.sections[0].title}, {len(document.table.rows)} rows\\n"
"""


@pytest.mark.parametrize("command, title", [("devices", "Device profiles"), ("list", "The zoo")])
def test_a_writer_is_one_file(command, title, tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "made_up.py").write_text(MADE_UP, encoding="utf-8")
    monkeypatch.setattr(writers, "__path__", [*writers.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "srprof.render.writers.made_up", raising=False)
    assert main([command, "--format", "made_up"]) == 0
    written = capsys.readouterr().out
    assert re.fullmatch(rf"made up: {title}, [1-9]\d+ rows\n", written)
    target = tmp_path / "out.made"
    assert main([command, "-o", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == written
    assert main([command, "--format", "made"]) == 2
    assert "made_up" in capsys.readouterr().err


def test_a_picture_stands_in_a_page_alone():
    picture = Picture("said <here>", lambda: "<svg><g/></svg>")
    document = Document((Section("Title", pictures=(picture,)),))
    page = render(document, "html")
    assert "<svg><g/></svg><figcaption>said &lt;here&gt;</figcaption>" in page
    for form in set(formats()) - {"html"}:
        assert "svg" not in render(document, form)


def test_errors_are_drawn_the_same_each_time():
    errors = {"memory": [0.0, 0.002], "runtime": [0.1, 4.0, 0.2]}
    drawn = [as_svg(lambda: draw(errors)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith("<svg") and drawn[0].endswith("</svg>\n")
    assert "memory (2)" in drawn[0] and "runtime (3)" in drawn[0]
    assert as_svg(lambda: draw({})).startswith("<svg")
