"""HTML by jinja2, which escapes by itself: a page of its own, or a notebook's cell."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from srprof.render.document import LEGEND, Document, Section
from srprof.words import printable

if TYPE_CHECKING:
    from jinja2 import Template

SUFFIX = ".html"


def write(document: Document, width: int) -> str:
    """A self-contained page."""
    return _drawn("page.html", document.page())


def fragment(document: Document) -> str:
    """The sections without scripts or styles of their own, for a notebook's theme."""
    return _drawn("sections.html", document.sections)


def _drawn(name: str, sections: tuple[Section, ...]) -> str:
    return template(name).render(sections=sections, legend=LEGEND) + "\n"


@cache
def template(name: str) -> Template:
    """A template of `srprof/render/templates`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("srprof.render", "templates"), autoescape=True, finalize=_finalized,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def _finalized(value: object) -> object:
    """Text without control characters; markup stays as it is."""
    return value if hasattr(value, "__html__") else printable(value)
