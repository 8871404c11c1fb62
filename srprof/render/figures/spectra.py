"""The picture of spectra: maps and spectra as in FMEN's Figure 6, densities as in Figure 8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srprof.errors import InputError
from srprof.quality.spectrum import ModuleSpectra, Spectra, Spectrum
from srprof.render.figures import escaped, new_figure
from srprof.render.views.spectrum import title
from srprof.words import shape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Rows that one picture can have.
MOST_ROWS = 24
#: Percentiles of a spectrum's logarithms that are drawn black and white: zero frequency, which has
#: most of the power, is far above the others.
_SHOWN = (2, 99.95)
_ROW, _WIDTH = 1.75, 11.0
_BEFORE, _AFTER = "#0072B2", "#D55E00"


def draw(spectra: Spectra) -> Figure:
    """A row for each module: maps, spectra and densities, before and after it."""
    count = len(spectra.modules)
    if count > MOST_ROWS:
        raise InputError(
            f"--figure: {count} modules are more than one picture can show ({MOST_ROWS}); name "
            "fewer with --module"
        )
    figure = new_figure(_WIDTH, 1.3 + _ROW * count)
    what = escaped(f"{spectra.spec} on {Path(spectra.image).name}")
    figure.suptitle(
        f"{what}, {shape_text(spectra.shape)}: "
        "mean feature maps, their power spectra (log), power by frequency",
        fontsize=10, x=0.01, ha="left",
    )  # fmt: skip
    rows = figure.subplots(count, 5, squeeze=False, width_ratios=(1, 1, 1, 1, 1.7))
    for item, axes in zip(spectra.modules, rows, strict=True):
        _draw_row(item, axes)
    heads = ("map before", "after", "spectrum before", "after", "density")
    for axes, head in zip(rows[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    rows[0][4].legend(fontsize=8, frameon=False)
    rows[-1][4].set_xlabel("radius (cycles / pixel)", fontsize=9)
    return figure


def _draw_row(item: ModuleSpectra, axes: Any) -> None:
    for place, spectrum in zip(axes[:2], (item.before, item.after), strict=True):
        place.imshow(spectrum.mean, cmap="gray")
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
    axes.set_yscale("log")
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
