"""TOML files as every part reads them: one line says what is wrong. No torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from srprof.errors import InputError
from srprof.words import hint

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["check_keys", "parse_toml", "read_toml"]


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says, for text that is known to be TOML."""
    return tomllib.loads(text)


def read_toml(path: Path, what: str, help_: str = "") -> dict[str, Any]:
    """What a TOML file says.

    Args:
        what: names the file in messages ("report"). help_: ends the message of a missing file.

    Raises:
        InputError: it cannot be read, or is no TOML.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        after = f"; {help_}" if help_ else ""
        raise InputError(f"cannot read {what} {path}: {error.strerror}{after}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = str(error).splitlines()[0]
        raise InputError(f"{what} {path} is not valid TOML: {message}") from error


def check_keys(table: Mapping[str, Any], keys: Iterable[str], where: str, prefix: str = "") -> None:
    """Refuse a key that is none of these.

    Raises:
        InputError: naming the key, and the nearest that there is.
    """
    keys = tuple(keys)
    for key in table:
        if key not in keys:
            raise InputError(f"{where}: unknown key {prefix}{key}; {hint(key, keys, prefix)}")
