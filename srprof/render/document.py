"""What is shown, before it is drawn: sections of lines and tables, with raw values.

Views make documents of records, writers draw them; neither knows the other. Nothing of srprof is
imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Kind = Literal[
    "text", "number", "count", "mib", "giga", "mega", "time", "share", "change", "scaled", "fixed"
]
Mark = Literal["best", "second", ""]

LEGEND = "Letters, at a value, else its row, else its column, say where it comes from:"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading for a person.
        kind: how its values are written for a person; all but text stand to the right.
        key: its heading for a program, "" to make one of the name and the kind.
        factor: of the kind `scaled`: a value is divided by it.
        decimals: of the kinds `scaled` and `fixed`. long: on a page its texts may wrap.
        spare: in a terminal without room for all, the columns with the most go first; 0 stays.
    """

    name: str
    kind: Kind = "text"
    key: str = ""
    factor: float = 1
    decimals: int = 2
    long: bool = False
    spare: int = 0

    @property
    def right(self) -> bool:
        """Whether its cells stand to the right."""
        return self.kind != "text"

    def written(self, value: Any) -> str:
        """A value as a person reads it; unknown is a dash."""
        if value is None:
            return "-"
        if self.kind == "scaled":
            return f"{value / self.factor:,.{self.decimals}f}"
        if self.kind == "fixed":
            return f"{value:.{self.decimals}f}"
        return _WRITE[self.kind](value)

    def cell(self, value: Any) -> Cell:
        """A value with its text."""
        cell = value if isinstance(value, Cell) else Cell(value)
        return cell if cell.text is not None else replace(cell, text=self.written(cell.value))


_WRITE: dict[Kind, Callable[[Any], str]] = {
    "text": str,
    "number": str,
    "count": "{:,}".format,
    "mib": lambda value: f"{value / 2**20:.2f}",
    "giga": lambda value: f"{value / 1e9:.4f}",
    "mega": lambda value: f"{value / 1e6:.4f}",
    "time": "{:.2f}".format,
    "share": "{:.1%}".format,
    "change": "{:+.2%}".format,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A value that is written otherwise than its column's, or stands out.

    Attributes:
        value: for programs. text: for a person, None to write it as its column does.
        mark: that it is the best or the second best of its column. note: letter of a footnote.
    """

    value: Any
    text: str | None = None
    mark: Mark = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of raw values: bytes, counts, texts, times in the column's unit; None is unknown.

    A value may be a `Cell`. `notes` are letters of footnotes by column.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def build(cls, records: Iterable[T], *fields: tuple[Column, Callable[[T], object]]) -> Table:
        """A row for each record; every column stands beside what it shows of one."""
        columns = tuple(column for column, _ in fields)
        return cls(columns, tuple(tuple(take(r) for _, take in fields) for r in records))

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> Table:
        """A table for programs, a column for each key of the first row."""
        columns = tuple(Column(key, key=key) for row in rows[:1] for key in row)
        return cls(columns, tuple(tuple(row.values()) for row in rows))

    @property
    def marked(self) -> bool:
        """Whether a cell stands out."""
        return any(isinstance(cell, Cell) and cell.mark for row in self.rows for cell in row)

    def heads(self) -> list[Cell]:
        """The columns' headings."""
        notes = self.notes or ("",) * len(self.columns)
        return [Cell(c.key, c.name, note=n) for c, n in zip(self.columns, notes, strict=True)]

    def cells(self) -> Iterator[list[Cell]]:
        """The rows, every cell with its text."""
        for row in self.rows:
            yield [column.cell(value) for column, value in zip(self.columns, row, strict=True)]


@dataclass(frozen=True, slots=True)
class Chart:
    """What a page draws: a kind of picture, what is said under it, and plain data for the script.

    Charts of one run have the same object for data, which the page then holds once.
    """

    kind: Literal["memory", "held", "roofline", "modules", "nodes", "bars", "lines"]
    caption: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing that stands in a page as it is: what is said under it, and what gives its SVG."""

    caption: str
    svg: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with lines, a table, its footnotes (letter and text), and lines under it.

    `charts` and `pictures` give what pages draw beside that; they are called only there.
    """

    title: str
    lines: tuple[str, ...] = ()
    table: Table | None = None
    after: tuple[str, ...] = ()
    footnotes: tuple[tuple[str, str], ...] = ()
    charts: tuple[Callable[[], Chart], ...] = ()
    pictures: tuple[Picture, ...] = ()


def notes(texts: Sequence[str]) -> tuple[Section, ...]:
    """The section of what a reader must know, if there is anything."""
    return (Section("Notes", tuple(texts)),) if texts else ()


def sentence(line: str) -> str:
    """A line as formats write it that set lines into one paragraph."""
    return line if line.endswith((".", ":", ";", "!", "?")) else f"{line}."


@dataclass(frozen=True, slots=True)
class Document:
    """A result before it is drawn.

    Attributes:
        sections: in reading order.
        data: gives the object of `--format json`.
        appendix: gives further sections, for formats that are read as a page, not in a terminal.
        main: the table of formats that hold just one; None is the first section's that has one.
    """

    sections: tuple[Section, ...]
    data: Callable[[], Any] = dict
    appendix: Callable[[], tuple[Section, ...]] = tuple
    main: Table | None = None

    def page(self) -> tuple[Section, ...]:
        """All sections, those of the appendix last."""
        return (*self.sections, *self.appendix())

    @property
    def table(self) -> Table:
        """The one table of formats that hold just one."""
        tables = (section.table for section in self.sections if section.table is not None)
        return self.main or next(tables, Table((), ()))
