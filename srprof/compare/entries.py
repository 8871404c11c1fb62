"""Rows of a ranking from models and records: what srprof predicts, and what was measured.

A challenge counts each figure at its own image: complexity at 256x256, memory at its largest
image, runtime as the mean over images of many sizes. So a model is run once at each size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srprof.call import Call
from srprof.challenge.years import DEFAULT, Sizes, Year
from srprof.compare.ranking import METRICS, Cell, Entry, Origin
from srprof.errors import InputError
from srprof.figures import find_peak
from srprof.inputs import check_shape
from srprof.words import mib_size, shape_text

if TYPE_CHECKING:
    from srprof.analysis import Analysis
    from srprof.cost.profiles import Profile
    from srprof.measuring.record import Measurement
    from srprof.quality.record import Evaluation
    from srprof.spec import Spec


#: The images that the zoo's published PSNRs are of.
_PSNR_OF = DEFAULT.psnr_of


@dataclass(frozen=True)
class Model:
    """A model's row before its cells are chosen: its runs by image size.

    `shapes` are those of the inputs, by what they are for ("counts", "runtime", "memory").
    """

    spec: Spec
    name: str
    shapes: Mapping[str, tuple[int, ...]]
    runs: Mapping[tuple[int, ...], Analysis]

    def run_for(self, what: str) -> Analysis:
        """The run that a kind of figure is taken from."""
        return self.runs[self.shapes[what]]


def trace_model(text: str, sizes: Sizes) -> Model:
    """Run a model once at each size, on meta tensors.

    An InputError if the SPEC or a size is wrong, a ModelError if the model raised.
    """
    from srprof import spec
    from srprof.analysis import Analysis
    from srprof.tracing.run import trace_call

    parsed = spec.parse(text)
    shapes = {
        what: check_shape(size if len(size) > 2 else (1, parsed.channels, *size))
        for what, size in sizes._asdict().items()
    }
    runs = {
        shape: Analysis(trace_call(Call(text, (shape,)), holders=False))
        for shape in dict.fromkeys(shapes.values())
    }
    if parsed.network is None:
        return Model(parsed, parsed.text, shapes, runs)
    # the zoo's name for it, with the arguments
    _, bracket, arguments = parsed.text.partition("(")
    return Model(parsed, parsed.network.name + bracket + arguments, shapes, runs)


def predicted(model: Model, profile: Profile, memory: str, year: Year = DEFAULT) -> Entry:
    """A model's row: counts, predicted runtime and memory, and its published PSNR if it has one.

    Args:
        memory: the name of a peak.
        year: whose rules count FLOPs and memory.

    Raises:
        InputError: there is no such peak, or the profile has no peak for the network's dtype.
    """
    from srprof.cost.estimate import estimate

    run = model.run_for("counts")
    rules = "" if year.flops == "flops" else ", FLOPs by the rules of fvcore"
    how = f"counted as the {year.title} challenge counts{rules}, at {_shape(model, 'counts')}"
    counted = Origin("predicted", how)
    runtime = estimate(model.run_for("runtime").trace, profile)
    doubt = profile.held_out_error
    error = "" if doubt is None else f"; mean error on networks that its fit left out {doubt:.1%}"
    timed = f"roofline at {_shape(model, 'runtime')}{error}"
    counts = {"params": "params", "flops": year.flops, "activations": "activations"}
    values = ((metric, run.value(name)) for metric, name in {**counts, "convs": "convs"}.items())
    cells = {metric: Cell(value, counted) for metric, value in values if value is not None}
    if "latency_ms" not in model.run_for("runtime").trace.unknown:
        cells["runtime_ms"] = Cell(1e3 * runtime.seconds, Origin("predicted", timed, profile.name))
    peaks, cell, built = _memory(model, memory, year)
    if cell is not None:
        cells["memory"] = cell
    psnr = _published_psnr(model, year)
    if psnr is not None:
        cells["psnr_dB"] = psnr
    ordered = {name: cells[name] for name in METRICS if name in cells}
    notes = dict.fromkeys(part.text for run in model.runs.values() for part in run.trace.unseen)
    return Entry(model.name, ordered, peaks=peaks, notes=(*notes, *built))


def _memory(
    model: Model, memory: str, year: Year
) -> tuple[dict[str, int], Cell | None, tuple[str, ...]]:
    """The peaks by name, the one that is shown, and what must be said of it.

    Where a year's counter begins with its program, what building the network takes on the GPU is
    part of what the allocator has had. A cell that is None is not known.
    """
    peak, run = find_peak(memory), model.run_for("memory")
    peaks = {name: p.nbytes for name, p in run.peaks.items()}
    if peak.name in run.trace.unknown:
        return {}, None, ()  # those that are known are not all of it
    fresh = "" if peak.least is None else " of a fresh program's first image"
    sized = f"{memory}: {peak.meaning.removeprefix('as ')}{fresh}, at {_shape(model, 'memory')}"
    building = run.simulation.construction if year.script.from_start else None
    of_allocator = {} if building is None else {
        "allocated": building.peaks.allocated, "reserved": building.peaks.reserved
    }  # fmt: skip
    image, built = peaks[memory], of_allocator.get(memory, 0)
    peaks |= {name: max(peaks[name], nbytes) for name, nbytes in of_allocator.items()}
    said: tuple[str, ...] = ()
    if built > image:
        sized = f"{memory}: of a fresh program, the most being taken while the network is built"
        said = (
            f"memory is what building it takes, {mib_size(built)}, which the challenge's counter "
            f"sees; an image takes {mib_size(image)}",
        )
    return peaks, Cell(peaks[memory], Origin("predicted", sized)), said


def _shape(model: Model, what: str) -> str:
    return shape_text(model.shapes[what])


def _published_psnr(model: Model, year: Year) -> Cell | None:
    """PSNR of the zoo's own weights on a year's images.

    Of other arguments than the scale nobody published one, and of LSDIR's images neither.
    """
    network, scale = model.spec.network, model.run_for("counts").trace.scale
    only_scaled = not model.spec.args and {"scale"}.issuperset(dict(model.spec.kwargs))
    if network is None or scale is None or not only_scaled or year.psnr_of != _PSNR_OF:
        return None
    value = network.published.get(scale, {}).get("psnr_dB")
    if value is None:
        return None
    table, _, _ = network.row.partition(":")
    return Cell(value, Origin("published", f"PSNR on {_PSNR_OF}", source=f"FMEN, {table}"))


def measured(
    entry: Entry, model: Model, record: Measurement, path: str, memory: str = "allocated"
) -> Entry:
    """The row with what a record has of it in place of what was predicted.

    Runtime and memory are taken where the record's image is the one of that column; memory only
    where `memory` is "allocated", which is what a device reports. An InputError if the record is
    of another network, or of no image that the table uses.
    """
    shapes = tuple(tensor.shape for tensor in record.inputs)
    takes = [what for what in ("runtime", "memory") if (model.shapes[what],) == shapes]
    if not takes:
        there = f"runtime at {_shape(model, 'runtime')} and memory at {_shape(model, 'memory')}"
        raise InputError(
            f"--record {path} is of {', '.join(map(shape_text, shapes))}, and this table has "
            f"{there}: give --input with the record's size"
        )
    record.require_same_network(model.run_for(takes[0]).trace)
    cells = dict(entry.cells)
    if "runtime" in takes and record.latency is not None:
        what = f"latency by the {record.latency.protocol} protocol"
        cells["runtime_ms"] = Cell(record.latency.value_ms, _of_record(what, record, path))
    cold = record.memory.cold
    if "memory" in takes and memory == "allocated" and cold and cold.max_allocated is not None:
        what = "the allocator's peak of the first run"
        cells["memory"] = Cell(cold.max_allocated, _of_record(what, record, path))
    if cells == entry.cells:
        raise InputError(
            f"--record {path} has nothing that this table shows: it was taken without latency, "
            "and its memory stands for --memory allocated"
        )
    return replace(entry, cells=cells)


def evaluated(entry: Entry, model: Model, record: Evaluation, path: str) -> Entry:
    """The row with the PSNR (RGB, as the challenge) of an evaluation, in place of any other.

    An InputError if it is of another network, or all its images are infinitely good.
    """
    trace = model.run_for("counts").trace
    psnr = record.psnr_of(trace, path)
    count = len(record.images)
    images = f"{count} image{'s' if count > 1 else ''} of {record.hr}"
    what = f"RGB, x{record.scale}, border of {record.scale}, {images}"
    if trace.parameters:
        what += f", with {record.weights or 'the weights that it was built with'}"
    cell = Cell(psnr, Origin("measured", what, record.device.name, path))
    return replace(entry, cells={**entry.cells, "psnr_dB": cell})


def _of_record(what: str, record: Measurement, path: str) -> Origin:
    return Origin("measured", what, record.device.name, path)
