"""Spectra of feature maps: how their power is shared out among frequencies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from srprof._version import __version__
from srprof.codec import pick
from srprof.quality.spectrum import HIGH, ModuleSpectra, Spectra, Spectrum
from srprof.render.document import Column, Document, Section, Table, notes
from srprof.words import shape_text

#: Version of the JSON object.
SCHEMA = 1
KIND = "srprof spectrum"

_LEGEND = (
    f"high: power beyond {HIGH} cycles per pixel",
    "moved: power that is in another ring around zero frequency after than before",
)
_RING = tuple(map(Column, "module call side ring radius_cycles_per_pixel density".split()))


def document(spectra: Spectra) -> Document:
    """A line for each module: how its maps' power is shared out, with the constant and without."""
    weights = f" with {spectra.weights}" if spectra.weights else ""
    everything = Section(
        f"{spectra.spec}{weights} on {spectra.image}, {shape_text(spectra.shape)}",
        ("the mean feature map over the channels, before and after each module",),
        Table.build(
            spectra.modules,
            (Column("module"), title),
            (Column("class", spare=2), lambda item: item.kind),
            (Column("before", spare=1), lambda item: shape_text(item.before.shape)),
            (Column("after", spare=1), lambda item: shape_text(item.after.shape)),
            (Column("constant before", "share"), lambda item: item.before.constant),
            (Column("constant after", "share"), lambda item: item.after.constant),
            (Column("high before", "share"), lambda item: item.before.high_of_all),
            (Column("high after", "share"), lambda item: item.after.high_of_all),
            (Column("moved", "share"), lambda item: item.moved),
        ),
        ("constant: power of the zero frequency, the map's mean value", *_LEGEND),
    )
    rest = Section(
        "Without the constant: shares of the power that is left",
        (),
        Table.build(
            spectra.modules,
            (Column("module"), title),
            (Column("high before", "share"), lambda item: item.before.high),
            (Column("high after", "share"), lambda item: item.after.high),
            (Column("moved", "share"), lambda item: item.moved_of_rest),
        ),
    )
    rings = Table(_RING, tuple(_rings(spectra)))
    return Document((everything, rest, *notes(spectra.notes)), lambda: _data(spectra), main=rings)


def title(item: ModuleSpectra) -> str:
    """The module's name, with the number of its call from the second on."""
    return item.module if item.call == 1 else f"{item.module} (call {item.call})"


def _data(spectra: Spectra) -> dict[str, object]:
    """Radii in cycles per pixel and densities, by module; they sum to 1."""
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "srprof": __version__,
        "model": pick(spectra, "spec name weights"),
        "image": spectra.image,
        "input": {"shape": list(spectra.shape), "dtype": "float32", "range": spectra.pixel_range},
        "modules": [
            {
                "module": item.module,
                "class": item.kind,
                "call": item.call,
                "before": _spectrum(item.before),
                "after": _spectrum(item.after),
                **pick(item, "moved moved_of_rest"),
            }
            for item in spectra.modules
        ],
        "notes": list(spectra.notes),
    }


def _spectrum(spectrum: Spectrum) -> dict[str, object]:
    rings = {"radius": spectrum.radius.tolist(), "density": spectrum.density.tolist()}
    return pick(spectrum, "shape constant high high_of_all") | rings


def _rings(spectra: Spectra) -> Iterator[tuple[Any, ...]]:
    """A row for each ring of each spectrum."""
    for item in spectra.modules:
        for side, spectrum in (("before", item.before), ("after", item.after)):
            rings = zip(spectrum.radius.tolist(), spectrum.density.tolist(), strict=True)
            for ring, (radius, density) in enumerate(rings):
                yield item.module, item.call, side, ring, radius, density
