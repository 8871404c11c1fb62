"""JSON: the contract's object; sizes in bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from srprof.codec import encode
from srprof.render.base import Options, Renderer

if TYPE_CHECKING:
    from srprof.analysis import Analysis


class JsonRenderer(Renderer):
    """The whole analysis, whatever the view."""

    name = "json"
    extension = ".json"

    def render(self, analysis: Analysis, options: Options) -> str:
        record = replace(analysis.record, published=options.published)
        return json.dumps(encode(record), indent=1) + "\n"
