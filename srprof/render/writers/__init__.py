"""Writers: a document in a format. Each is one file, found by its name, with its escaper.

A writer's module has `SUFFIX`, how names of such files end, and `write(document, style)`.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Protocol, cast

from srprof.errors import InputError
from srprof.render.document import Document


@dataclass(frozen=True, slots=True)
class Style:
    """How a document is drawn: `width` of the terminal, in columns."""

    width: int = 100


class Writer(Protocol):
    """What a writer's module has."""

    SUFFIX: str

    def write(self, document: Document, style: Style) -> str:
        """The document in the format; ends with a newline."""
        ...


def formats() -> tuple[str, ...]:
    """The names of all writers, text first."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(names, key=lambda name: (name != "text", name)))


def writer(name: str) -> Writer:
    """The writer of a format.

    Raises:
        InputError: there is none; the names that there are.
    """
    if name not in formats():
        raise InputError(f"format {name!r} is not one of {', '.join(formats())}")
    return cast(Writer, importlib.import_module(f"{__name__}.{name}"))


def render(document: Document, name: str = "text", style: Style | None = None) -> str:
    """A document in a format; ends with a newline."""
    return writer(name).write(document, style or Style())


def suffixes() -> dict[str, str]:
    """Formats by how the names of their files end; colour is for terminals alone."""
    return {writer(name).SUFFIX: name for name in formats() if name != "rich"}
