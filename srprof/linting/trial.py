"""What an entry's network does when it is built and run, here and on a GPU that is not there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from srprof.analysis import Analysis, scratch_on
from srprof.blame import first_line
from srprof.call import Call
from srprof.challenge import script as scripts
from srprof.challenge.script import Anything, loading_by
from srprof.cost.profiles import Profile
from srprof.errors import InputError, ModelError, SrprofError
from srprof.linting.entry import Entry
from srprof.linting.refusing import Refusal, refusing
from srprof.placing import NotOnMetaError
from srprof.quality.pixel_range import Found, find_range
from srprof.quality.upscaling import Upscaler, probe
from srprof.records import Pass
from srprof.redirect import NO_GPU, without_gpu
from srprof.tracing.isolation import isolated
from srprof.tracing.run import run_constructor, run_trace
from srprof.weights import load_tensors, loaded, read_state_dict
from srprof.workload import resolve

#: Height and width of the LR image that the network is run on, as `find_range` takes it.
PICTURE = (64, 64)


@dataclass(frozen=True)
class Alone:
    """The network, built where there is neither a GPU nor a network.

    Attributes:
        error: why it was not; None if it was, if only with a device in a GPU's place.
        refused: what it asked for.
    """

    error: SrprofError | None
    refused: tuple[Refusal, ...]

    @property
    def missing(self) -> str:
        """The module for want of which it was not built, "" if that is not why."""
        error: BaseException | None = self.error
        while error is not None:
            if isinstance(error, ModuleNotFoundError):
                return error.name or ""
            error = error.__cause__
        return ""


@dataclass(frozen=True)
class Loading:
    """A checkpoint that a script loads into the network.

    Attributes:
        file: its path as the script has it. wrong: what does not fit, or why it cannot be read.
        strict: whether the script asks for a fit. there: whether there is such a file.
    """

    file: str
    wrong: str = ""
    strict: bool = True
    there: bool = True


def build_alone(entry: Entry) -> Alone:
    """Build the network without its weights, where nothing but this machine's CPU is given."""
    with entry.at_home():
        workload = resolve(entry.call(PICTURE))
        error: SrprofError | None = None
        with isolated([]), workload.environment(), refusing() as refused:
            try:
                workload.build("cpu")
            except NotOnMetaError as raised:
                error = ModelError(first_line(raised))
            except SrprofError as raised:
                error = raised
    return Alone(error, tuple(dict.fromkeys(refused)))


def constructor_passes(entry: Entry) -> tuple[Pass, ...]:
    """The calls of modules while the network is built on a GPU; raises as `srprof.trace`."""
    with entry.at_home(), refusing(gpu=True):
        return run_constructor(resolve(entry.call(PICTURE))).passes


def analyzed(entry: Entry, size: tuple[int, ...], profile: Profile | None = None) -> Analysis:
    """An analysis of a call at an LR image; raises as `srprof.analyze`."""
    with entry.at_home(), refusing(gpu=True):
        trace = run_trace(resolve(entry.call(size)), holders=False)
    return Analysis(trace, workspaces=scratch_on(profile, None), profile=profile)


def result_of(entry: Entry, size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of the result for an LR image, () for what is no tensor; raises likewise."""
    with entry.at_home(), refusing(gpu=True):
        workload = resolve(entry.call(size))
        return run_trace(workload, holders=False, constructor=False).result_shape


def load_spec(entry: Entry) -> str:
    """Why the checkpoint does not load into the network; "" if it does, every key of it."""
    with entry.at_home(), refusing(gpu=True):
        workload = resolve(entry.call(PICTURE, weights=True))
        with isolated([]), workload.environment():
            try:
                workload.build("cpu")
            except (InputError, NotOnMetaError) as error:
                return first_line(error)
    return ""


class _Reader:
    """What a script's `torch.load` and the network's `load_state_dict` do, and what came of it."""

    def __init__(self) -> None:
        self.loadings: list[Loading] = []
        self._last = ""

    def read(self, file: Any) -> Any:
        """`torch.load`, on the CPU and of tensors alone."""
        self._last = str(file)
        if not os.path.isfile(self._last):
            self.loadings.append(Loading(self._last, "there is no such file", there=False))
            return Anything()
        try:
            read_state_dict(self._last)
            with Path(self._last).open("rb") as stream:
                return load_tensors(stream)  # with what the script takes off itself
        except InputError as error:
            self.loadings.append(Loading(self._last, first_line(error)))
            return Anything()

    def load(self, module: nn.Module, state: Any, strict: bool) -> None:
        """`Module.load_state_dict`, of what fits."""
        if not isinstance(state, Anything):
            wrong, _ = loaded(module, state)
            self.loadings.append(Loading(self._last, wrong, strict))

    @contextmanager
    def active(self) -> Iterator[None]:
        """In the place of torch's, but for what is done here."""
        read, load = torch.load, nn.Module.load_state_dict

        def reading(file: Any, *_: Any, **__: Any) -> Any:
            with loading_by(read, load):
                return self.read(file)

        def loading(module: nn.Module, state: Any, strict: bool = True, *_: Any, **__: Any) -> None:
            with loading_by(read, load), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is on meta in a GPU's place has no data
                self.load(module, state, strict)

        with loading_by(reading, loading):
            yield


def build_by_script(entry: Entry) -> tuple[nn.Module, tuple[Loading, ...]]:
    """The network with the weights that the script loads, on the CPU, and how they fit."""
    program = entry.program
    assert program is not None
    reader = _Reader()
    repository, name = Path(program.folder), os.path.basename(program.source.file)
    build = partial(scripts.build, repository, program.team, "cuda", name, reader.active)
    with entry.at_home():
        workload = resolve(entry.call(PICTURE))
        with isolated([]), workload.environment(), refusing(gpu=True):
            model = without_gpu(build, NO_GPU, "cpu")
    # a first try, which failed for want of a GPU, may have loaded the same
    return model, tuple(dict.fromkeys(reader.loadings))


def run_on_picture(call: Call, scale: int, trained: bool) -> Found:
    """The range of values that a network takes, found on a picture; raises as `evaluate`."""
    probed = probe(replace(call, inputs=()))
    upscaler = Upscaler(call, probed, scale, 1, None, None, "cpu")
    with upscaler.running():
        picture = made_up_picture()
        upscaler(picture)  # which says what is wrong, where the search takes it for a bad likeness
        return find_range(upscaler, picture, "a picture of smooth waves and an edge", trained)


def made_up_picture() -> np.ndarray:
    """An LR image (H, W, 3) of 0 to 255, that looks like one: smooth, with an edge."""
    y, x = (side / PICTURE[0] for side in np.indices(PICTURE))
    planes = [
        120 + 60 * np.sin(5 * x + phase) * np.cos(4 * y - phase) + 50 * (x + y > 1.1)
        for phase in (0.0, 0.8, 1.6)
    ]
    return np.stack(planes, axis=-1).clip(0, 255)


def operator_namespaces() -> frozenset[str]:
    """Of the operators that PyTorch, and what is imported of it, has."""
    return frozenset(name.partition("::")[0] for name in torch._C._dispatch_get_all_op_names())
