"""Output formats. Each is one file; they are imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from srprof.errors import InputError
from srprof.render.base import VIEWS, Options, Renderer

if TYPE_CHECKING:
    from srprof.analysis import Analysis

__all__ = ["ENDINGS", "FIGURES", "FORMATS", "VIEWS", "Options", "Renderer", "render", "renderer"]

_RENDERERS = {
    "text": "srprof.render.text:TextRenderer",
    "json": "srprof.render.json:JsonRenderer",
    "csv": "srprof.render.csv:CsvRenderer",
    "markdown": "srprof.render.markdown:MarkdownRenderer",
    "perfetto": "srprof.render.perfetto:PerfettoRenderer",
    "memory-viz": "srprof.render.memory_viz:MemoryVizRenderer",
    "html": "srprof.render.html:HtmlRenderer",
}

#: What `--format` takes.
FORMATS = tuple(name for name in _RENDERERS if name != "html")

#: What `--figure-kind` takes, and how the name of a figure's file may end.
FIGURES = ("roofline", "modules")
ENDINGS = (".svg", ".png", ".pdf")


def renderer(name: str) -> Renderer:
    """The renderer of a format."""
    if name not in _RENDERERS:
        raise InputError(f"format {name!r} is not one of {', '.join(_RENDERERS)}")
    module, _, cls = _RENDERERS[name].partition(":")
    made: Renderer = getattr(importlib.import_module(module), cls)()
    return made


def render(analysis: Analysis, name: str, options: Options | None = None) -> str | bytes:
    """An analysis in a format, bytes if the format is binary."""
    return renderer(name).render(analysis, options or Options())
