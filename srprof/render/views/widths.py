"""What other widths of a network would take on a device: a line for each, or a table."""

from __future__ import annotations

from srprof import figures
from srprof.advising.record import Advice, Width, Widths
from srprof.codec import pick
from srprof.render.document import Column, Section, Table
from srprof.render.views import Field

_PROXY = (
    "Best is the fastest that is not narrower than now. Wider counts as better, which a training "
    "has to confirm."
)
_NONE = (
    "no argument of the network is a width: a whole number of at least 8 that is how many channels "
    "layers have"
)
_COUNTS = "FLOPs as the NTIRE challenge counts, MACs of all ops; of both a multiply-add is one."
_SIZE = "the results are not as large as now, so that these are not widths of one network"
#: Figures that a row has by their names.
_FIGURES = ("allocated", "params", "flops", "macs")


def sections(advice: Advice) -> list[Section]:
    """What was tried; none without a profile."""
    if advice.profile is None:
        return []
    device = advice.profile.title
    if advice.table:
        return [_asked(found, device) for found in advice.widths]
    lines = tuple(map(_line, advice.widths)) or (_NONE,)
    after = (_PROXY,) if advice.widths else ()
    return [Section(f"What the widths cost on {device}, predicted", lines, after=after)]


def table_asked(advice: Advice) -> Table | None:
    """The table of the widths that were asked for, None if none were."""
    return _table(advice.widths[0]) if advice.table else None


def data(found: Widths) -> dict[str, object]:
    """The JSON object; milliseconds and bytes."""
    return {
        **pick(found, "name present"),
        "best": found.best.value,
        "rows": [_row_data(found, row) for row in found.rows],
    }


def _row_data(found: Widths, row: Width) -> dict[str, object]:
    names = f"latency_ms uncertainty_ms {' '.join(_FIGURES)} same_size"
    figures_of = pick(row, names)
    if row.error:
        figures_of = dict.fromkeys(figures_of)
    faster = None if row.error else found.dominating(row)
    return {
        **pick(row, "value"),
        "spec": row.spec or None,
        **figures_of,
        "dominated_by": faster and faster.value,
        "error": row.error or None,
    }


def _line(found: Widths) -> str:
    """`nf=50: 6.27 ms; 48 would cost 4.87, 64 4.64 (best)`."""
    now, *others = sorted(found.built, key=lambda row: row is not found.now)
    costs = [f"{_ms(row)}{' (best)' if row is found.best else ''}" for row in others]
    first, *rest = (f"{row.value} {cost}" for row, cost in zip(others, costs, strict=True))
    first = first.replace(" ", " would cost ", 1)
    best = " (best)" if found.best is now else ""
    return f"{found.name}={now.value}: {_ms(now)} ms{best}; {', '.join((first, *rest))}"


def _ms(row: Width) -> str:
    return f"{row.latency_ms:.2f}"


def _asked(found: Widths, device: str) -> Section:
    other = ", ".join(str(row.value) for row in found.built if not row.same_size)
    after = [_PROXY, _COUNTS, *([f"{found.name}={other}: {_SIZE}"] if other else [])]
    after += [f"{found.name}={row.value}: {row.error}" for row in found.rows if row.error]
    title = f"{found.name} on {device}, predicted"
    return Section(title, (_summary(found),), _table(found), tuple(after))


def _summary(found: Widths) -> str:
    now, best = found.now, found.best
    text = f"{found.name}={now.value}: {_ms(now)} ms"
    if best is now:
        return f"{text}, and no wider one here is faster"
    return (
        f"{text}; {best.value} costs {_ms(best)}, {1 - best.latency_ms / now.latency_ms:.0%} less"
    )


def _table(found: Widths) -> Table:
    return Table.build(
        found.built,
        (Column(found.name, "number", "value"), lambda row: row.value),
        (Column("ms", "time", "latency_ms"), lambda row: row.latency_ms),
        (Column("give or take", "time", "uncertainty_ms"), lambda row: row.uncertainty_ms),
        *map(_of_figure, _FIGURES),
        (Column("which is", key="what"), lambda row: _what(found, row)),
    )


def _of_figure(name: str) -> Field:
    """The column of a figure that a row has under its name."""
    figure = figures.find(name)
    title = f"{name} {figure.unit}" if figure.kind == "bytes" else f"{figure.title} {figure.unit}"
    column = Column(title, "scaled", name, figure.factor, figure.decimals)
    return column, lambda row: getattr(row, name)


def _what(found: Widths, row: Width) -> str:
    faster = found.dominating(row)
    said = [
        "now" if row is found.now else "",
        "best" if row is found.best else "",
        "" if faster is None else f"no faster than {faster.value}",
    ]
    return ", ".join(filter(None, said))
