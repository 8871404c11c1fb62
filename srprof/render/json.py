"""JSON: the contract's object; sizes in bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from srprof.render.base import Options, Renderer

if TYPE_CHECKING:
    from srprof.analysis import Analysis


class JsonRenderer(Renderer):
    """The whole analysis, whatever the view."""

    name = "json"
    extension = ".json"

    def render(self, analysis: Analysis, options: Options) -> str:
        return json.dumps(analysis.to_dict(), indent=1) + "\n"
