"""Small pieces of syntax, as libcst has it. Needs the extra `apply`."""

from __future__ import annotations

import ast

import libcst as cst
import libcst.matchers as m


def functional(text: str) -> str:
    """What a file calls `torch.nn.functional`; "" if it does not import it."""
    names: dict[str, str] = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            package = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names.update({package + a.name: a.asname or a.name for a in node.names})
    for known in ("torch.nn.functional", "torch.nn", "torch"):
        if known in names:
            return names[known] + "torch.nn.functional".removeprefix(known)
    return ""


def constructed_in_place(call: cst.Call) -> cst.Call:
    """A constructor's call with `inplace=True`."""
    true = cst.ensure_type(cst.parse_expression("f(inplace=True)"), cst.Call).args[0]
    args = list(call.args)
    positional = m.Arg(keyword=None, value=m.Name("False"))
    for index, argument in enumerate(args):
        if m.matches(argument, m.Arg(keyword=m.Name("inplace")) | positional):
            args[index] = argument.with_changes(value=true.value)
            return call.with_changes(args=args)
    return call.with_changes(args=[*args, true])


def apart(
    line: cst.SimpleStatementLine | cst.SimpleStatementSuite,
) -> list[cst.SimpleStatementLine]:
    """Statements of one line, each on a line of its own."""
    alone = (small.with_changes(semicolon=cst.MaybeSentinel.DEFAULT) for small in line.body)
    rows = [cst.SimpleStatementLine([small]) for small in alone]
    if isinstance(line, cst.SimpleStatementLine):
        rows[0] = rows[0].with_changes(leading_lines=line.leading_lines)
    rows[-1] = rows[-1].with_changes(trailing_whitespace=line.trailing_whitespace)
    return rows


def comments(node: cst.CSTNode) -> list[str]:
    """The comments in a piece of syntax."""
    return [cst.ensure_type(found, cst.Comment).value for found in m.findall(node, m.Comment())]


def comment_line(text: str) -> cst.EmptyLine:
    """A comment on a line of its own."""
    return cst.EmptyLine(comment=cst.Comment(text))
