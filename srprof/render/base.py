"""What every output format shares: the renderer's interface and the registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from srprof.analysis import Analysis
    from srprof.analysis.record import Comparison

View = Literal["summary", "nodes", "peak", "modules"]

#: What `--view` takes.
VIEWS: tuple[View, ...] = ("summary", "nodes", "peak", "modules")


@dataclass(frozen=True, slots=True)
class Options:
    """How to render.

    Attributes:
        view: which tables; "summary" is a bit of each.
        top: rows of each long table, the largest; 0 is all. None is 10 in the summary and all in
            the other views.
        color: the text is for a terminal; width: of that terminal, in columns.
        published: the network's published figures beside ours, where somebody compared them.
    """

    view: View = "summary"
    top: int | None = None
    color: bool = False
    width: int = 100
    published: tuple[Comparison, ...] = ()

    @property
    def rows(self) -> int | None:
        """Rows of a long table; None is all."""
        if self.top is None:
            return 10 if self.view == "summary" else None
        return self.top or None


class Renderer(ABC):
    """One output format; a `binary` one gives bytes, the others text."""

    name: ClassVar[str]
    extension: ClassVar[str]
    binary: ClassVar[bool] = False

    @abstractmethod
    def render(self, analysis: Analysis, options: Options) -> str | bytes:
        """The analysis in this format; text ends with a newline."""
