"""How a result shows itself: `print`, `repr` and a notebook's cell, all through its view.

Views stand on a higher floor than results; this is the one place that names them, by name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, ClassVar

from srprof.words import one_line

if TYPE_CHECKING:
    from srprof.render.document import Document


class Shown:
    """A result with a view: `srprof.render.views.VIEW` has a `document(result)`.

    A dataclass that is shown is declared with `repr=False`, so that this one's `repr` is taken.
    """

    view: ClassVar[str]

    def document(self) -> Document:
        """What is shown of it."""
        module = importlib.import_module(f"srprof.render.views.{self.view}")
        document: Document = module.document(self)
        return document

    def headline(self) -> str:
        """What it is of, and the first that is to be said of it."""
        first = self.document().sections[0]
        return ": ".join((first.title, *first.lines[:1]))

    def __repr__(self) -> str:
        said = one_line(self.headline())
        return f"<{type(self).__name__} of {said if len(said) < 200 else said[:197] + '...'}>"

    def __str__(self) -> str:
        text: str = importlib.import_module("srprof.render.writers").render(self.document())
        return text.rstrip("\n")

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        html = importlib.import_module("srprof.render.writers.html")
        shown: str = html.fragment(self.document())
        return shown
