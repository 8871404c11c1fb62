"""The tables of a report, as text cells; drawn as HTML, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from srprof.compare.published import MEASURES
from srprof.render.writers.latex import escaped

if TYPE_CHECKING:
    from srprof.report.record import ComparedTable, Environment, FigureCell, ReportRecord


@dataclass(frozen=True, slots=True)
class TextTable:
    """Cells as a person reads them.

    Attributes:
        numbers: by column, whether it holds numbers, which stand to the right.
        long: indices of columns whose text may wrap.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[bool, ...]
    long: frozenset[int] = frozenset()


# -- what they hold -------------------------------------------------------------------------------


def peaks_table(record: ReportRecord) -> TextTable:
    """The peaks of every model, where the eager one is, and the predicted times."""
    head = ["model", *(f"{peak.name} {peak.unit}" for peak in record.peaks), "eager at node"]
    head += [f"predicted ms, {device.name}" for device in record.devices]
    rows = []
    for model in record.models:
        node = model.peak_node["eager"]
        times = [f"{t.predicted_ms:.2f} ± {t.uncertainty_ms:.2f}" for t in model.devices]
        sizes = [f"{model.peak[peak.name] / peak.factor:.2f}" for peak in record.peaks]
        rows.append((model.name, *sizes, "-" if node is None else str(node), *times))
    return TextTable(tuple(head), tuple(rows), (False, *(True,) * (len(head) - 1)))


def comparison_table(table: ComparedTable) -> TextTable:
    """Published figures beside ours: three columns a measure."""
    head, numbers = ["model"], [False]
    for name in table.measures:
        measure = MEASURES[name]
        unit = f" {measure.unit}" if measure.unit else ""
        head += [f"{measure.title}{unit}, published", _ours_title(name), "difference"]
        numbers += [True, True, False]
    rows = []
    for row in table.rows:
        cells = [row.name]
        for name in table.measures:
            cells += _comparison(name, row.figures.get(name))
        rows.append(tuple(cells))
    return TextTable(tuple(head), tuple(rows), tuple(numbers))


def _ours_title(measure: str) -> str:
    return "predicted" if MEASURES[measure].unit == "ms" else "ours"


def _comparison(name: str, cell: FigureCell | None) -> tuple[str, str, str]:
    if cell is None:
        return "-", "-", "-"
    decimals = MEASURES[name].decimals
    published, ours = cell.published, cell.ours
    difference = "-"
    if cell.agrees:
        difference = "the same digits"
    elif published and ours is not None:
        difference = f"{ours / published - 1:+.2%}"
        if not cell.reproducible:
            difference += ", not reproducible"
    return (
        "-" if published is None else f"{published:.{decimals}f}",
        "-" if ours is None else f"{ours:.{decimals + (MEASURES[name].factor != 1)}f}",
        difference,
    )


def how_lines(table: ComparedTable) -> list[str]:
    """How ours was counted, where it was not as the measure is by default."""
    lines = [
        f"{MEASURES[name].title}: {MEASURES[name].how}"
        for name in table.measures
        if MEASURES[name].counts
    ]
    timed, others = dict[str, None](), dict[tuple[str, str], list[str]]()
    for row in table.rows:
        for name, cell in row.figures.items():
            if cell.uncertainty is not None:
                timed[f"time: {cell.how}"] = None
            elif cell.ours is not None and cell.how != MEASURES[name].how:
                others.setdefault((MEASURES[name].title, cell.how), []).append(row.name)
    return [
        *lines,
        *timed,
        *(f"{title} of {', '.join(names)}: {how}" for (title, how), names in others.items()),
    ]


def environment_table(environment: Environment) -> TextTable:
    """What made the report."""
    rows = [
        ("command", environment.command),
        ("Python", environment.python),
        ("system", environment.system),
        *((name, version or "not installed") for name, version in environment.packages.items()),
    ]
    return TextTable(("what", "value"), tuple(rows), (False, False), frozenset({1}))


# -- how they are drawn ---------------------------------------------------------------------------


def html_table(table: TextTable) -> str:
    """A table in a box that scrolls."""
    head = "".join(
        f'<th scope="col"{_classes(table, i)}>{escape(title)}</th>'
        for i, title in enumerate(table.head)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_classes(table, i)}>{escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>\n"
        for row in table.rows
    )
    return (
        '<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _classes(table: TextTable, column: int) -> str:
    if table.numbers[column]:
        return ' class="number"'
    return ' class="long"' if column in table.long else ""


def markdown_escaped(text: str) -> str:
    """Text that Markdown shows as it is, within a table too."""
    text = escape(text.replace("\\", "\\\\"), quote=False)
    for sign in "|*`[]_":
        text = text.replace(sign, f"\\{sign}")
    return text


def markdown_table(table: TextTable) -> str:
    """A pipe table."""
    rule = ["---:" if number else "---" for number in table.numbers]
    lines = [[markdown_escaped(title) for title in table.head], rule]
    lines += [[markdown_escaped(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def latex_table(table: TextTable, caption: str, notes: Sequence[str] = ()) -> str:
    """A booktabs table, made as narrow as the text's width."""

    def line(cells: Sequence[str]) -> str:
        return "    " + " & ".join(map(escaped, cells)) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escaped(caption)}}}",
            r"  \resizebox{\linewidth}{!}{%",
            rf"  \begin{{tabular}}{{{''.join('r' if n else 'l' for n in table.numbers)}}}",
            r"    \toprule",
            line(table.head),
            r"    \midrule",
            *map(line, table.rows),
            r"    \bottomrule",
            r"  \end{tabular}}",
            *([r"  \par\smallskip\raggedright\footnotesize"] if notes else []),
            *(f"  {escaped(note)}." for note in notes),
            r"\end{table}",
            "",
        ]
    )
