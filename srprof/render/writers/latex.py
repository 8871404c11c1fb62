r"""LaTeX: one booktabs table for each section."""

from __future__ import annotations

from collections.abc import Iterable

from srprof.render.document import Cell, Document, Section, Table, sentence
from srprof.words import one_line

SUFFIX = ".tex"

_PACKAGES = r"% \usepackage[T1]{fontenc}, \usepackage{booktabs}, \usepackage{graphicx}"
_WRAP = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def escaped(text: str) -> str:
    """Text on one line without LaTeX's own signs."""
    return "".join(_SIGNS.get(sign, sign) for sign in one_line(text))


def write(document: Document, width: int) -> str:
    """A table for each section that has one; sections of lines are comments."""
    parts = [_PACKAGES]
    for section in document.sections:
        texts = (section.title, *section.lines, *section.after)
        comments = [f"% {one_line(text)}" for text in texts]
        parts += comments if section.table is None else _drawn(section, section.table)
    return "\n".join(parts) + "\n"


def _drawn(section: Section, table: Table) -> list[str]:
    best = r". \textbf{Best}, \underline{second best}." if table.marked else ""
    under = [rf"\textsuperscript{{{note}}}~{escaped(text)}." for note, text in section.footnotes]
    under += map(escaped, map(sentence, (*section.lines, *section.after)))
    return [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escaped(section.title)}{best}}}",
        r"  \resizebox{\linewidth}{!}{%",
        rf"  \begin{{tabular}}{{{''.join('r' if c.right else 'l' for c in table.columns)}}}",
        r"    \toprule",
        _row(table.heads()),
        r"    \midrule",
        *map(_row, table.cells()),
        r"    \bottomrule",
        r"  \end{tabular}}",
        *([r"  \par\smallskip\raggedright\footnotesize"] if under else []),
        *(f"  {line}" for line in under),
        r"\end{table}",
    ]


def _row(cells: Iterable[Cell]) -> str:
    row = " & ".join(map(_cell, cells))
    guard = "{}" if row.startswith(("[", "*")) else ""  # arguments of the rule or row before
    return f"    {guard}{row}" + r" \\"


def _cell(cell: Cell) -> str:
    note = rf"\textsuperscript{{{cell.note}}}" if cell.note else ""
    return _WRAP[cell.mark] % escaped(cell.text or "") + note
