"""Spectra of feature maps as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from srprof._version import __version__
from srprof.quality.spectrum import HIGH, ModuleSpectra, Spectra, Spectrum
from srprof.render.tables import Column, Section, Table
from srprof.render.text import plain_sections
from srprof.words import shape_text

#: Version of the JSON object.
SCHEMA = 1
KIND = "srprof spectrum"

_COLUMNS = (
    Column("module"),
    Column("class"),
    Column("before"),
    Column("after"),
    Column("constant before", "share"),
    Column("constant after", "share"),
    Column("high before", "share"),
    Column("high after", "share"),
)


def spectrum_text(found: Spectra) -> str:
    """A line for each module: its feature maps, and how their power is shared out."""
    rows = tuple(
        (
            title(item),
            item.kind,
            _map(item.before),
            _map(item.after),
            item.before.constant,
            item.after.constant,
            item.before.high,
            item.after.high,
        )
        for item in found.modules
    )
    weights = f" with {found.weights}" if found.weights else ""
    sections = [
        Section(
            f"{found.spec}{weights} on {found.image}, {shape_text(found.shape)}",
            ("the mean feature map over the channels, before and after each module",),
            Table(_COLUMNS, rows),
            (
                "constant: power of the zero frequency, the map's mean value",
                f"high: power beyond {HIGH} cycles per pixel, as a share of what is not constant",
            ),
        )
    ]
    if found.notes:
        sections.append(Section("Notes", found.notes))
    return plain_sections(sections)


def title(item: ModuleSpectra) -> str:
    """The module's name, with the number of its call from the second on."""
    return item.module if item.call == 1 else f"{item.module} (call {item.call})"


def _map(spectrum: Spectrum) -> str:
    return shape_text((spectrum.channels, *spectrum.mean.shape))


def spectrum_json(found: Spectra) -> str:
    """Radii in cycles per pixel and densities, by module; they sum to 1."""
    report = {
        "schema": SCHEMA,
        "kind": KIND,
        "srprof": __version__,
        "model": {"spec": found.spec, "name": found.name, "weights": found.weights},
        "image": found.image,
        "input": {"shape": list(found.shape), "dtype": "float32", "range": found.pixel_range},
        "modules": [
            {
                "module": item.module,
                "class": item.kind,
                "call": item.call,
                "before": _spectrum(item.before),
                "after": _spectrum(item.after),
            }
            for item in found.modules
        ],
        "notes": list(found.notes),
    }
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


def _spectrum(spectrum: Spectrum) -> dict[str, Any]:
    return {
        "shape": [spectrum.channels, *spectrum.mean.shape],
        "constant": spectrum.constant,
        "high": spectrum.high,
        "radius": spectrum.radius.tolist(),
        "density": spectrum.density.tolist(),
    }


def spectrum_csv(found: Spectra) -> str:
    """A line for each ring of each spectrum."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["module", "call", "side", "ring", "radius_cycles_per_pixel", "density"])
    for item in found.modules:
        for side, spectrum in (("before", item.before), ("after", item.after)):
            rings = zip(spectrum.radius.tolist(), spectrum.density.tolist(), strict=True)
            for ring, (radius, density) in enumerate(rings):
                writer.writerow([item.module, item.call, side, ring, radius, density])
    return out.getvalue()


#: What `--format` takes.
FORMATS: Mapping[str, Callable[[Spectra], str]] = {
    "text": spectrum_text,
    "json": spectrum_json,
    "csv": spectrum_csv,
}
