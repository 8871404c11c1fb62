"""Writers: a document in a format. Each is one file, found by its name, with its escaper.

A writer's module has `SUFFIX`, how names of such files end, and `write(document, width)`, which is
the terminal's, in columns.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from srprof.errors import InputError
from srprof.render.document import Document


class Writer(Protocol):
    """What a writer's module has."""

    SUFFIX: str

    def write(self, document: Document, width: int) -> str:
        """The document in the format; ends with a newline."""
        ...


def formats() -> tuple[str, ...]:
    """The names of all writers, text first."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(names, key=lambda name: (name != "text", name)))


def writer(name: str) -> Writer:
    """The writer of a format; an InputError says which there are if it is none of them."""
    if name not in formats():
        raise InputError(f"format {name!r} is not one of {', '.join(formats())}")
    return cast(Writer, importlib.import_module(f"{__name__}.{name}"))


def render(document: Document, name: str = "text", width: int = 100) -> str:
    """A document in a format; ends with a newline."""
    return writer(name).write(document, width)


def suffixes() -> dict[str, str]:
    """Formats by how the names of their files end; colour is for terminals alone."""
    return {writer(name).SUFFIX: name for name in formats() if name != "rich"}
