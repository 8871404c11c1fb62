"""Values and words that no command expects."""

from __future__ import annotations

import math
from typing import Any

#: Values in place of what a file has.
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 1.5, -0.0, 1e308, 5e-324, 2**31, 2**63, 2**64, -(2**63),
    10**30, 10**31, 10**400, -(10**400), math.nan, math.inf, -math.inf, "", " ", "\0", "a\0b", "x",
    "1", "-1", "NaN", "1e999", "\x1b[2J", "\u202e", "\ud800", "\ufeff", "é", "😀", "a" * 5000, "..",
    "/", "/dev/null", "net.py", "net.py:Net", "fmen_s", "8x8", "0x0", "1x3x8x8",
    "99999999x99999999", "1 MiB", "1%", "float16", "gtx1080ti", "=cmd", "$x$", "%s", "{}", "{0}",
    "::error::x", "\r\n", [], {}, [[]], [{}], [None], [0], ["x"], [1, 2, 3], {"": 0}, {"x": {}},
    {"a\x1b": None}, {"0": []},
)  # fmt: skip

#: Values of options and positional arguments beside the hostile ones that are text.
WORDS = (
    *(value for value in HOSTILE if isinstance(value, str) and "\ud800" not in value),
    "net.py:Net(nf=2)", "net.py:Net(nf=10**9)", "net.py:Net(nf=-1)", "net.py:Net(nf='x')",
    "net.py:Net(", "net.py:Net(**{})", "net.py:Net(nf=" + "(" * 200, "net.py:" + "N" * 300,
    "missing.py:Net", "a.b.c:d", ":", "::", "os:system('true')", "HEAD:net.py:Net",
    "HEAD~9:x.py:Net", "whole.json", "srprof.toml", "missing.toml", ".",
    "net.py:Net(nf=[" + "1," * 99 + "])", "--", "-", "-x", "--format", "x" * 300 + ".json",
    "a/b/c.csv", "a\nb", "8x8:int64", "x=8x8", "8", "8x", "x8", "-1x3", "1x1x1x1x1x1", "1e3x1",
    "٣x٣", "8x8,9x9", "8..9", "8..9:0", "9..8", "nf=1,2", "nf=1..3", "nf=", "=", "nf", "4GiB",
    "-4GiB", "nanGiB", "0", "1e400", "main", "ntire2022", "eager", "W:H", "16:9", "0:1",
    "max_split_size_mb:1", "max_split_size_mb:x", "json", "csv", "junit", "cuda:99", "cuda:x",
    "meta", "tcp://", "params:max", "tensor-cores", "none", "out.svg", "out.txt", "/proc/self/mem",
    "/nonexistent/x", "\x7f",
)  # fmt: skip
