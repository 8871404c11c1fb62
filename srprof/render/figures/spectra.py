"""The picture of spectra: maps and spectra as in FMEN's Figure 6, densities as in Figure 8.

Beside them what an HFAB is said to do: each ring's share after over its share before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srprof.errors import InputError
from srprof.quality.spectrum import HIGH, ModuleSpectra, Spectra, Spectrum
from srprof.render.figures import escaped, new_figure
from srprof.render.views.spectrum import title
from srprof.words import shape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Rows that one picture can have.
MOST_ROWS = 24
#: Percentiles of a spectrum's logarithms that are drawn black and white: zero frequency, which has
#: most of the power, is far above the others. And of a map's values, whose borders may be.
_SHOWN, _GREYS = (2, 99.95), (1, 99)
#: The highest frequency that rows and columns have; beyond are the spectrum's corners.
_NYQUIST = 0.5
#: Where an axis of ratios has ticks, one that goes up to 2 and one beyond; and how far it goes.
_NEAR, _FAR = (0.5, 0.8, 1, 1.25, 2), (0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000)
_LEAST_RATIO, _MOST_RATIO = 1.25, 1000.0
_ROW, _WIDTH = 1.75, 14.0
_BEFORE, _AFTER, _RATIO = "#0072B2", "#D55E00", "#000000"
_HEADS = (
    "map before", "map after", "spectrum before", "spectrum after",
    "share of the power", "share after / before,\nwithout the constant",
)  # fmt: skip


def draw(spectra: Spectra) -> Figure:
    """A row for each module: maps, spectra and densities, before and after it."""
    count = len(spectra.modules)
    if count > MOST_ROWS:
        raise InputError(
            f"--figure: {count} modules are more than one picture can show ({MOST_ROWS}); name "
            "fewer with --module"
        )
    figure = new_figure(_WIDTH, 1.6 + _ROW * count)
    what = escaped(f"{spectra.spec} on {Path(spectra.image).name}")
    figure.suptitle(
        f"What modules do to frequencies: {what}, {shape_text(spectra.shape)}\n"
        "the mean map over the channels; its power spectrum (log), zero frequency in the middle; "
        "the power in rings around there; shaded: high frequencies",
        fontsize=10, x=0.01, ha="left",
    )  # fmt: skip
    rows = figure.subplots(count, 6, squeeze=False, width_ratios=(1, 1, 1, 1, 1.7, 1.7))
    for item, axes in zip(spectra.modules, rows, strict=True):
        _draw_row(item, axes)
    for axes, heading in zip(rows[0], _HEADS, strict=True):
        axes.set_title(heading, fontsize=9)
    rows[0][4].legend(fontsize=8, frameon=False)
    _on_one_scale(rows[:, 4])
    _on_one_scale(rows[:, 5], ratios=True)
    for axes in rows[-1][4:]:
        axes.set_xlabel("frequency (cycles / pixel)", fontsize=9)
    return figure


def _on_one_scale(column: Any, *, ratios: bool = False) -> None:
    """The same logarithmic scale for a column's panels, of frequencies up to the highest.

    Of ratios 1 stands in the middle.
    """
    lines = [line.get_data() for axes in column for line in axes.get_lines()]
    drawn = [y for data in lines for x, y in zip(*data, strict=True) if x <= _NYQUIST and y > 0]
    lowest, highest = min(drawn, default=1.0), max(drawn, default=1.0)
    if ratios:
        highest = min(max(highest, 1 / lowest, _LEAST_RATIO), _MOST_RATIO)
        lowest = 1 / highest
    for axes in column:
        axes.set_yscale("log")
        axes.set_ylim(0.8 * lowest, 1.25 * highest)
        if ratios:
            ticks = _NEAR if highest <= max(_NEAR) else _FAR
            axes.set_yticks([tick for tick in ticks if lowest <= tick <= highest])
            axes.set_yticks([], minor=True)
            axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlim(-0.01, _NYQUIST)
        axes.axvspan(HIGH, _NYQUIST, color="#000000", alpha=0.05, linewidth=0)
        axes.tick_params(labelsize=8)
        axes.grid(visible=True, alpha=0.25, linewidth=0.6)


def _draw_row(item: ModuleSpectra, axes: Any) -> None:
    for place, spectrum in zip(axes[:2], (item.before, item.after), strict=True):
        darkest, lightest = np.percentile(spectrum.mean, _GREYS)
        place.imshow(spectrum.mean, cmap="gray", vmin=darkest, vmax=lightest)
    logs = [_log_power(item.before), _log_power(item.after)]
    lowest, highest = np.percentile(np.concatenate([log.ravel() for log in logs]), _SHOWN)
    for place, log in zip(axes[2:4], logs, strict=True):
        place.imshow(log, cmap="magma", vmin=lowest, vmax=highest)
    for place in axes[:4]:
        place.set_xticks([])
        place.set_yticks([])
        place.spines[:].set_visible(False)
    axes[0].set_ylabel(escaped(title(item)), fontsize=8)
    _draw_densities(item, axes[4])
    _draw_ratio(item, axes[5])


def _log_power(spectrum: Spectrum) -> Any:
    """Decimal logarithms of each frequency's share of the power."""
    power = spectrum.power
    total = float(power.sum()) or 1.0
    return np.log10(np.maximum(power / total, 1e-20))


def _draw_densities(item: ModuleSpectra, axes: Axes) -> None:
    for spectrum, color, style, label in (
        (item.before, _BEFORE, "-", "before"),
        (item.after, _AFTER, "--", "after"),
    ):
        seen = spectrum.density > 0
        axes.plot(
            spectrum.radius[seen], spectrum.density[seen], style, color=color, linewidth=1.2,
            label=label,
        )  # fmt: skip
    _write(axes, f"constant {item.before.constant:.1%} to {item.after.constant:.1%}", 0.06)


def _draw_ratio(item: ModuleSpectra, axes: Axes) -> None:
    """Above 1 a frequency has gained; nothing where the rings are others."""
    axes.axhline(1, color="#999999", linewidth=0.8)
    before, after = item.before.rest, item.after.rest
    if len(before) == len(after):
        seen = (before > 0) & (after > 0)
        radius = item.before.radius[1:]
        axes.plot(radius[seen], after[seen] / before[seen], color=_RATIO, linewidth=1.0)
    _write(axes, f"high {item.before.high:.1%} to {item.after.high:.1%}", 0.52)


def _write(axes: Axes, text: str, x: float) -> None:
    """In a panel, at its upper edge."""
    axes.text(x, 0.9, text, transform=axes.transAxes, fontsize=8)
