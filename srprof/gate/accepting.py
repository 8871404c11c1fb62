"""In what a baseline differs from the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from srprof import figures
from srprof.gate.baseline import Baseline
from srprof.gate.environment import shown
from srprof.quantities import format_quantity


def accepted(
    old: Baseline | str, new: Baseline, whys: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """In what a baseline differs from the one before, a line for each, and why."""
    if isinstance(old, str):
        if old:
            yield f"what was there is not known: {old}"
        return
    yield from _values("", old.environment, new.environment)
    for name in sorted({*old.entries, *new.entries}):
        was, now = old.entries.get(name), new.entries.get(name)
        if now is None:
            yield f"{name}: no longer checked"
        elif was is None:
            yield f"{name}: new"
        else:
            yield from _values(f"{name}: ", was.settings, now.settings)
            yield from _figures(f"{name}: ", was.metrics, now.metrics)
            yield from (f"{name}: because {why}" for why in whys.get(name, ()))


def _values(head: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{head}{key}: {shown(old.get(key))} -> {shown(new.get(key))}"


def _figures(head: str, old: Mapping[str, int], new: Mapping[str, int]) -> Iterator[str]:
    for name in (*new, *sorted(old.keys() - new)):
        was, now = old.get(name), new.get(name)
        if was != now:
            figure = figures.known(name)
            change = "" if was is None or now is None else f" ({_figure(name, now - was, True)})"
            title = name if figure is None else figure.title
            yield f"{head}{title}: {_figure(name, was)} -> {_figure(name, now)}{change}"


def _figure(name: str, value: int | None, sign: bool = False) -> str:
    figure = figures.known(name)
    if value is None or figure is None:  # one of an older srprof
        return "not known" if value is None else str(value)
    return format_quantity(value, figure.kind, sign)
