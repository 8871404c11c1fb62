"""A network's calls by its estimate, where that holds, and by traces where it does not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

import srprof_estimate
from srprof.errors import InputError, SrprofError
from srprof.estimating.probe import Probe, Shape
from srprof.estimating.record import Estimate, SizedCall
from srprof.estimating.shipped import shipped
from srprof.figures import peak_names
from srprof.files import read_json
from srprof.output import write
from srprof.sizing.record import Fit
from srprof.tiling.sizes import SizeRule


@dataclass
class Known(Probe):
    """What calls of a network take, by its estimate.

    Attributes:
        estimate: exact, of the network in the dtype that it runs in.
    """

    estimate: Mapping[str, Any] = field(default_factory=dict)

    def rule(self) -> SizeRule:
        """The sides that the network takes."""
        sides = self.estimate["sides"]
        return SizeRule(sides["taken_from"], sides["step"])

    def needs(self, shape: Shape) -> float:
        """Bytes of the peak that is asked for; infinite where there is no such call."""
        return self._peak(shape, self.peak.name) if self._holds(shape) else super().needs(shape)

    def requests(self, shape: Shape) -> float:
        """Bytes that never fall with the size, and are no more than `needs`."""
        return self._peak(shape, "eager") if self._holds(shape) else super().requests(shape)

    def record(self, shape: Shape, build: Callable[[str], nn.Module] | None = None) -> SizedCall:
        """All peaks of a call."""
        if build is not None or not self._holds(shape):
            return super().record(shape, build)
        size = srprof_estimate.result_size(self.estimate, *shape[2:])
        result = () if size is None else (shape[0], *size)
        return SizedCall(shape, result, {name: self._peak(shape, name) for name in peak_names()})

    def confirmed(self, call: SizedCall) -> bool:
        """Whether a trace of the call has the estimate's peaks: else that is of another network."""
        return super().record(call.shape).peaks == call.peaks

    def _holds(self, shape: Shape) -> bool:
        """Whether the estimate holds for a call with an image of this shape."""
        place = self.estimate["dtypes"][self.workload.run_dtype]
        batches = [variant["batch"][1] for variant in self.estimate["graphs"][place]]
        several = None in batches or shape[0] <= max(batches)
        least: int = self.estimate["sides"]["least"]
        return several and min(shape[2:]) >= least

    def _peak(self, shape: Shape, kind: str) -> int:
        batch, _, *size = shape
        found: int = srprof_estimate.peak_bytes(
            self.estimate, *size, batch, self.workload.run_dtype, kind
        )
        return found


def known(
    probe: Probe,
    path: str | None,
    form: Mapping[str, bool],
    search: Callable[[Probe], Fit],
    make: Callable[[], Estimate],
) -> Fit:
    """What a search finds by an estimate where there is one, with what is to be said of that.

    The answer by a file is traced: the network may be another by now.

    Args:
        path, form: as for `by_estimate`. make: the estimate for a file that is not there yet.
    """
    told = () if path is None else _made(path, make)
    if path is not None and told and not os.path.exists(path):
        return _with(search(probe), *told)
    by, more = by_estimate(probe, path, form)
    found = search(by)
    if path is None or not isinstance(by, Known):
        return _with(found, *told, *more)
    if by.confirmed(found.largest):
        return _with(replace(found, traces=by.traces), *told, *more)
    note = f"{path} is of another state of the network: each call was traced"
    return _with(search(probe), note)


def _with(found: Fit, *notes: str) -> Fit:
    return replace(found, notes=(*found.notes, *notes))


def _made(path: str, make: Callable[[], Estimate]) -> tuple[str, ...]:
    """Write the estimate of a network into its file, if there is none; what is to be said then."""
    if os.path.exists(path) or not path.endswith(".json"):
        return ()
    try:
        found = make()
    except SrprofError as error:
        return (f"no estimate is in {path}, each call was traced: {error}",)
    write(found.to_json(), path)
    return (f"{path} was made: the next fit is by it",)


def by_estimate(
    probe: Probe, path: str | None, form: Mapping[str, bool]
) -> tuple[Probe, tuple[str, ...]]:
    """The probe by an estimate, of a file or the zoo's own, and what is to be said of it.

    Args:
        form: what a program does around the call.

    Raises:
        InputError: the file is no estimate, another network's, or as another program runs it.
    """
    spec = probe.workload.spec
    own = {} if form else shipped(spec, torch.__version__)
    estimate = (own or None) if path is None else _read(path)
    if estimate is None or not set(peak_names()) <= set(srprof_estimate.KINDS):
        return probe, ()
    if path is not None and estimate["model"]["spec"] != spec:
        raise InputError(
            f"{path} is the estimate of {estimate['model']['spec']}, and not of {spec}"
        )
    if path is not None and (estimate.get("as") or {"form": {}})["form"] != form:
        raise InputError(f"{path} is of the network as another program runs it: give its --as")
    if estimate["time"] is not None:
        raise InputError(f"{path} has the scratch of a profile: give one that was made without")
    if not estimate["exact"]:
        return probe, (f"{path} is not exact: its sizes decide the graph; each call was traced",)
    alone = estimate["sides"]["taken_from"] and not probe.several and len(probe.image.shape) == 4
    dtype = estimate["dtypes"].get(probe.workload.run_dtype)
    if not alone or not isinstance(dtype, int) or probe.image.shape[1] != _channels(estimate):
        return probe, () if path is None else (f"{path} is not of such a call, which was traced",)
    fields = {f.name: getattr(probe, f.name) for f in dataclasses.fields(probe) if f.init}
    known = Known(**fields, estimate=estimate)
    return known, ("sizes from the network's estimate; srprof estimate says how it was checked",)


def _channels(estimate: Mapping[str, Any]) -> int:
    channels: int = estimate["model"]["channels"]
    return channels


def _read(path: str) -> Mapping[str, Any]:
    """An estimate's file; an InputError if it is none."""
    try:
        found: Mapping[str, Any] = srprof_estimate.check(read_json(path))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return found
