"""Edits carried out in text: what is written where, and what is left alone."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from srprof.advising.editing import Edit, UnplaceableError, edited
from srprof.advising.elementwise import constructor_call
from srprof.advising.rewrite import (
    BindCall,
    Construct,
    Delete,
    ExchangeStatements,
    MoveStatement,
    Overwrite,
    Part,
    Rewrite,
    SplitFusion,
)
from srprof.advising.source import Place, read_functions
from srprof.advising.syntax import functional

HEAD = "from torch.nn import functional as F\n\n\ndef forward(self, x):\n"
BODY = """\
    # the first
    a = self.one(x)  # one

    # the second
    b = self.two(a)
    return self.three(b)
"""


def at(source: str, text: str) -> Place:
    """Where a text first stands as words of their own, with columns in bytes."""
    found = re.search(rf"(?<![\w.]){re.escape(text)}(?!\w)", source)
    assert found is not None, text
    start = found.start()
    head = source[:start].split("\n")
    column = len(head[-1].encode())
    return len(head), column, len(head), column + len(text.encode())


def made(body: str, *rewrites: Rewrite, head: str = HEAD) -> str:
    """The body after edits, which are given in the source of the head and the body."""
    source = head + body
    edits = [Edit(rewrite, "forward", 1) for rewrite in rewrites]
    return edited(source.encode(), source, edits).decode().removeprefix(head)


def delete(body: str, name: str, statement: str) -> Delete:
    return Delete((name,), at(HEAD + body, statement), block=False)


def overwrite(body: str, old: str, into: str, *others: str, call: str = "add_") -> Overwrite:
    """`into` and `others` are looked for in the expression."""
    source = HEAD + body
    line, column, *_ = at(source, old)
    inner = source.split("\n")[line - 1].encode()[column:].decode()
    places = []
    for text in (into, *others):
        _, first, _, last = at(inner, text)
        places.append((line, column + first, line, column + last))
    return Overwrite(at(source, old), places[0], tuple(places[1:]), call, (), old, "")


def test_del_stands_behind_the_statement_and_comments_stay():
    assert made(BODY, delete(BODY, "a", "b = self.two(a)")) == BODY.replace(
        "(a)\n", "(a)\n    del a\n"
    )
    after = made(BODY, delete(BODY, "x", "a = self.one(x)"))
    assert after == BODY.replace("# one\n", "# one\n    del x\n")


def test_a_call_gets_a_line_of_its_own_under_the_statement_s_comment():
    bind = BindCall("b", at(HEAD + BODY, "self.two(a)"), "", at(HEAD + BODY, "b = self.two(a)"))
    assert "# the second\n    b = self.two(a)\n    b = b\n" in made(BODY, bind)


def test_a_statement_moves_with_its_comments():
    source = HEAD + BODY
    statements = [at(source, text) for text in ("a = self.one(x)", "b = self.two(a)")]
    after = (
        "\n    # the second\n    b = self.two(a)\n    # the first\n    a = self.one(x)  # one\n"
        "    return self.three(b)\n"
    )
    assert made(BODY, ExchangeStatements(*statements)) == after
    assert made(BODY, MoveStatement(*statements, below=True)) == after
    assert made(BODY, MoveStatement(*reversed(statements), below=False)) == after


def test_several_edits_on_one_line_the_inner_one_inside_the_outer():
    body = "    return self.act((a + b) * c)\n"
    inner = overwrite(body, "a + b", "a", "b")
    outer = overwrite(body, "(a + b) * c", "a + b", "c", call="mul_")
    assert made(body, outer, inner) == "    return self.act((a.add_(b)).mul_(c))\n"


@pytest.mark.parametrize(
    ("body", "old", "operands", "call", "after"),
    [
        ("    y = torch.add(a, b, alpha=2)\n", "torch.add(a, b, alpha=2)", "ab", "add_",
         "    y = a.add_(b, alpha=2)\n"),
        ("    y = self.act(a + b)\n", "self.act(a + b)", ["a + b"], "relu_",
         "    y = (a + b).relu_()\n"),
        ("    y = self.act(a)\n", "self.act(a)", "a", "silu", "    y = F.silu(a, inplace=True)\n"),
        ("    y = a.add(b)\n", "a.add(b)", "ba", "add_", "    y = b.add_(a)\n"),
        ("    return(a + b)\n", "a + b", "ab", "add_", "    return(a.add_(b))\n"),
        ("    é = 'é'; y = a + b\n", "a + b", "ab", "add_", "    é = 'é'; y = a.add_(b)\n"),
    ],
)  # fmt: skip
def test_an_expression_writes_into_an_operand(body, old, operands, call, after):
    assert made(body, overwrite(body, old, *operands, call=call)) == after


def test_comments_inside_an_expression_go_above_its_statement():
    body = "    # sum\n    y = (a  # first\n         + b)\n    return y\n"
    line, column, *_ = at(HEAD + body, "a  #")
    place = (line, column, line + 1, 12)
    rewrite = Overwrite(
        place, (line, column, line, column + 1), ((line + 1, 11, line + 1, 12),), "add_", (), "", ""
    )
    after = "    # sum\n    # first\n    y = (a.add_(b))\n    return y\n"
    assert made(body, rewrite) == after


def test_statements_of_one_line_are_set_apart_only_where_an_edit_comes_between():
    body = "    # both\n    a = f(x); b = g(a)  # two\n    c = 1; return b\n"
    assert made(body, delete(body, "x", "a = f(x)")) == (
        "    # both\n    a = f(x)\n    del x\n    b = g(a)  # two\n    c = 1; return b\n"
    )


def test_a_statement_behind_a_colon_gets_a_block():
    body = "    if x: a = f(x); b = 1  # short\n    return a\n"
    assert made(body, delete(body, "x", "a = f(x)")) == (
        "    if x:\n        a = f(x)\n        del x\n        b = 1  # short\n    return a\n"
    )


def test_del_after_a_block():
    body = "    for b in c:\n        d = g(a)\n        # done\n    return d\n"
    source = HEAD + body
    line, column, *_ = at(source, "for b")
    rewrite = Delete(("a",), (line, column, line + 1, 16), block=True)
    assert made(body, rewrite) == body.replace("    return", "    del a\n    return")


def test_windows_newlines_a_byte_order_mark_and_other_encodings_stay():
    source = HEAD + BODY.replace("# one", "# café")
    edit = [Edit(delete(BODY, "x", "a = self.one(x)"), "forward", 1)]
    crlf = edited(source.replace("\n", "\r\n").encode(), source, edit)
    assert crlf.count(b"\n") == crlf.count(b"\r\n") == source.count("\n") + 1
    assert edited(b"\xef\xbb\xbf" + source.encode(), source, edit).startswith(b"\xef\xbb\xbffrom")
    declared = "# coding: latin-1\n" + source
    moved = [Edit(Delete(("x",), at(declared, "a = self.one(x)"), block=False), "forward", 1)]
    after = edited(declared.encode("latin-1"), declared, moved)
    assert b"caf\xe9\n    del x\n" in after


def split(body: str, *names: str) -> SplitFusion:
    """Of `y = self.fuse(torch.cat([a, b], dim=1))`, with parts of one width that are there."""
    source, cat = HEAD + body, f"torch.cat([{', '.join(names)}], dim=1)"
    return SplitFusion(
        line=5,
        early=False,
        cat=at(source, cat),
        convolution=at(source, f"self.fuse({cat})"),
        statement=at(source, f"y = self.fuse({cat})"),
        module="self.fuse",
        total="y",
        weights="w",
        named=True,
        parts=tuple(Part(at(source, name), 8, None, "", ((name, None),)) for name in names),
    )


FUSED = "    # fuse\n    y = self.fuse(torch.cat([a, b], dim=1))  # both\n    return y\n"


def test_a_fusion_becomes_a_sum_and_keeps_its_comments():
    assert made(FUSED, split(FUSED, "a", "b")) == (
        "    # fuse\n    # both\n"
        "    w = self.fuse.weight.chunk(2, dim=1)\n"
        "    y = F.conv2d(a, w[0], self.fuse.bias)\n    del a\n"
        "    y += F.conv2d(b, w[1])\n    del b\n    return y\n"
    )


def test_a_fusion_in_a_sequential_keeps_what_follows():
    rewrite = split(FUSED, "a", "b")
    rewrite = replace(rewrite, inside=True, named=False, total="s", let_go=rewrite.statement)
    after = made(FUSED, rewrite)
    assert "    w = self.fuse[0].weight.chunk(2, dim=1)\n" in after
    assert "    y = self.fuse[1:](s)  # both\n    del s\n" in after


def test_sums_of_one_function_have_names_of_their_own():
    twice = FUSED.replace("    return y\n", "") + FUSED.replace("[a, b]", "[c, d]")
    after = made(twice, split(twice, "a", "b"), split(twice, "c", "d"))
    assert "y = F.conv2d(a, w[0], " in after and "y = F.conv2d(c, w_[0], " in after


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("import torch.nn.functional as F", "F"),
        ("from torch.nn import functional", "functional"),
        ("from torch import nn", "nn.functional"),
        ("import torch", "torch.nn.functional"),
        ("import torch.nn", "torch.nn.functional"),
        ("import numpy", ""),
    ],
)
def test_the_name_of_torch_s_functions(head, name):
    assert functional(head) == name


@pytest.mark.parametrize(
    ("rewrite", "reason"),
    [
        (Construct("Net", "act", "", None), "plain sight"),
        (SplitFusion(5, early=True, problem="its parts are not written out"), "not written out"),
        (Delete(("a",), (99, 4, 99, 5), block=False), "not there"),
        (overwrite("    y = g(a)\n", "g(a)", "a", call="silu"), "import torch.nn.functional"),
    ],
)
def test_what_cannot_be_placed_says_why(rewrite, reason):
    source = "\n\n\ndef forward(self, x):\n    y = g(a)\n" + "\n" * 100
    with pytest.raises(UnplaceableError, match=reason) as caught:
        edited(source.encode(), source, [Edit(rewrite, "forward", 7)])
    assert caught.value.line == 7


INIT = """\
def __init__(self, act):
    self.act = nn.ReLU()
    self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.LeakyReLU(0.1, False))
    self.given = act
    self.twice = nn.ReLU()
    self.twice = nn.ReLU()
    self.listed = nn.Sequential(*[nn.ReLU()])
"""


@pytest.mark.parametrize(
    ("path", "kind", "after"),
    [
        ("act", "ReLU", "nn.ReLU(inplace=True)"),
        ("body.1", "LeakyReLU", "nn.LeakyReLU(0.1, True)"),
        ("given", "ReLU", None),
        ("twice", "ReLU", None),
        ("listed.0", "ReLU", None),
        ("act", "SiLU", None),
    ],
)
def test_an_activation_is_constructed_in_place_where_that_is_in_plain_sight(path, kind, after):
    call = constructor_call(read_functions(INIT)[1], path, kind)
    assert (call is None) == (after is None)
    if call is not None:
        text = edited(INIT.encode(), INIT, [Edit(Construct("Net", path, "", call), "", 1)])
        assert after in text.decode()


def test_what_libcst_cannot_read_is_said():
    with pytest.raises(UnplaceableError, match="libcst cannot read this line") as caught:
        edited(b"x = 1\ny = (\n", "x = 1\ny = (\n", [])
    assert caught.value.line >= 2
