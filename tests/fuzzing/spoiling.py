"""A file with one or a few faults, of what it says or of its bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzzing.values import HOSTILE


def spoilt(random: Random, name: str, content: bytes) -> bytes:
    """A file's content with one or a few faults: of what it says, or of its bytes."""
    structured = {".json": _json, ".toml": _toml}.get(Path(name).suffix)
    if structured is not None and random.random() < 0.75:
        return structured(random, content)
    if name.endswith((".csv", ".txt")) and random.random() < 0.75:
        return _cells(random, content)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        content = random.choice(_BYTES)(random, content)
    return content


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _flipped(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]


def _inserted(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.choice(_PIECES) + content[at:]


def _doubled(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    return b"".join([*lines[: at + 1], *lines[at:]])


def _without(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    del lines[random.randrange(len(lines))]
    return b"".join(lines)


def _replaced(random: Random, content: bytes) -> bytes:
    return random.choice(_PIECES)


_BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (
    _cut, _flipped, _inserted, _doubled, _without, _replaced,
)  # fmt: skip
_PIECES = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"'", b"[", b"{", b"," * 50,
    b"[" * 5000, b'{"a":' * 3000, b"9" * 5000, b"1e999", b"NaN", b"-Infinity", b"null", b"true",
    b"0x1F", b"1979-05-27", b"\x1b[2J", "\u202e\u2028".encode(), b"=", b"]]", b"[[check]]\n",
    b"a.b.c = 1\n", b'"""', b"#", b"\\", b"\\ud800", b"import os\n",
    b"class Net(nn.Module): pass\n", b"def f(", b"PK\x03\x04", b"\x80\x02}q\x00.",
)  # fmt: skip


def _json(random: Random, content: bytes) -> bytes:
    value = json.loads(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        value = _changed(random, value)
    return json.dumps(value).encode()


def _toml(random: Random, content: bytes) -> bytes:
    """The file with the values of some keys replaced, line by line."""
    lines = content.decode().splitlines()
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        key, equals, _ = lines[at].partition(" = ")
        if not equals:
            lines[at] = random.choice((lines[at][:-1], f"{lines[at]}x", "", "[x]", "[[x]]"))
            continue
        name = key if random.random() < 0.8 else random.choice(_KEYS)
        lines[at] = f"{name} = {_toml_value(random.choice(HOSTILE))}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


_KEYS = ("x", '"a b"', '"\\u001b"', "a.b", "growth.x", "eager.x", "model.x", "schema", '""', "é")


def _toml_value(value: Any) -> str:
    if value is None:
        return "1979-05-27T07:32:00Z"
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "inf", "-inf": "-inf"}.get(str(value), "nan")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_toml_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return json.dumps(value)


def _changed(random: Random, value: Any) -> Any:
    """The value with something at a random place in it changed."""
    if not isinstance(value, (dict, list)) or not value or random.random() < 0.08:
        return random.choice(HOSTILE)
    if isinstance(value, list):
        at = random.randrange(len(value))
        what = random.random()
        if what < 0.1:
            return [*value[:at], *value[at + 1 :]]
        if what < 0.2:
            return [*value, value[at]]
        return [*value[:at], _changed(random, value[at]), *value[at + 1 :]]
    key, what = random.choice(list(value)), random.random()
    if what < 0.1:
        return {k: v for k, v in value.items() if k != key}
    if what < 0.2:
        return {**value, random.choice(("x", "", "\x1b", "schema", "kind", key.upper())): 1}
    return {**value, key: _changed(random, value[key])}


def _cells(random: Random, content: bytes) -> bytes:
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(random.choice((1, 1, 2, 4))):
        row = random.choice(rows)
        at = random.randrange(len(row) + 1)
        row[at : at + random.randrange(3)] = [str(random.choice(_CELLS))]
        if not row:
            row.append("")
    return "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")


_CELLS = (
    *(v for v in HOSTILE if isinstance(v, (str, float, bool))), "9" * 400, "9" * 5000, '"',
    '"a\nb"',
)  # fmt: skip
