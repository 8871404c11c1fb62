"""Estimates of the zoo's networks that come with srprof. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from srprof.files import read_json

PATH = Path(__file__).parents[1] / "data" / "zoo_estimates.json.gz"


@cache
def _all() -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(PATH)
    return found


def shipped(spec: str, torch: str) -> Mapping[str, Any] | None:
    """The estimate of a SPEC, if it is a network of the zoo and that torch traced it."""
    found = _all().get(spec)
    same = found is not None and found["torch"].partition("+")[0] == torch.partition("+")[0]
    return found if same else None
