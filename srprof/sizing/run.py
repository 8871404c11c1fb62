"""`srprof.fit`: the largest input, tile or batch within a budget of memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import gcd
from typing import Any

from srprof import presets
from srprof.analysis import Analysis, scratch_on
from srprof.call import Call, call_of
from srprof.cost.gpus import find_gpu
from srprof.cost.profiles import Profile, read_profile
from srprof.errors import InputError
from srprof.estimating.probe import Probe
from srprof.estimating.record import Estimate
from srprof.figures import find_peak
from srprof.inputs import check_shape
from srprof.memory.settings import Settings
from srprof.progress import Progress, silent
from srprof.quantities import parse_aspect, parse_budget
from srprof.records import Trace
from srprof.sizing.known import known
from srprof.sizing.record import Fit
from srprof.sizing.search import Search
from srprof.sizing.step import STEP, Step

#: A variable that sets the workspace which cuBLAS keeps.
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def fit(
    model: Any,
    budget: str | int | None = None,
    *inputs: Any,
    gpu: str | None = None,
    memory: str = "allocated",
    aspect: str | tuple[int, int] | None = None,
    batch: bool = False,
    frames: bool = False,
    train: bool = False,
    image: tuple[int, int] | None = None,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    allocator: str | None = None,
    workspace: str | None = None,
    profile: str | Profile | None = None,
    device: str | Profile | None = None,
    estimate: str | None = None,
    run_as: str | None = None,
    progress: Progress = silent,
) -> Fit:
    """The largest input of a network that takes no more memory than a budget.

    "Largest" is exact: sizes of one aspect ratio stand in a row, by their longer side, in the
    steps that the network takes; the one that is found fits, and none of those after it does.
    `planned` and `eager` grow with the size. An allocator's peaks may fall from one size to the
    next, so there every size is looked at from the largest whose requested bytes are within the
    budget downwards. Nothing is allocated: each size is a trace on the meta device.

    Args:
        model, inputs, weights, dtype, channels_last: as for `srprof.trace`.
            One of the inputs is an image, by default of 256x256: its batch and channels are kept,
            its size matters to `batch` only, or where the network takes few sizes.
        budget: bytes, or text with a unit: "4GiB", "800 MB"; or None, with
        gpu: a GPU's name, "RTX 3060": its memory less what the driver and CUDA take. Its profile
            predicts latency and scratch, if it has one and none is given.
        memory: the peak that must be within the budget: "planned", "eager", "allocated" or
            "reserved" (`srprof.figures`), of a fresh program's first image.
        aspect: width:height of the inputs, "16:9" or (16, 9); None is the image's if there is
            one, else 1:1.
        batch: keep the size, and find the largest batch. frames: of a video (N, T, C, H, W) keep
            it, and find the most frames T.
        train: of one training step (`srprof.analyze_training`), by the bytes that it requests.
        image: LR height and width of an image that is to be run whole or in tiles.
        allocator, workspace, profile, device: as for `srprof.analyze`.
        estimate: a file of the network's, from `srprof estimate`, which is made if it is not
            there: sizes are looked up where it holds, and the answer alone is traced. If that is
            another, as behind a change of the network, all is traced. The zoo's networks have
            theirs; other torches than it was made with trace.
        run_as: the program that runs the network, by its name in `srprof.presets`; in the dtype
            that it usually does, if none is given.
        progress: called with what is being done, and how many traces were made (twice).

    Raises:
        NoFitError: the budget is below the least that the network needs (and what that is).
        InputError: an argument is wrong.
        ModelError: the network raises at every size that was tried.
    """
    peak = find_peak(memory)
    kept = [name for name, asked in (("batch", batch), ("frames", frames)) if asked]
    if len(kept) > 1 or (kept and image is not None):
        both = " and ".join([*kept, *(["image"] if image is not None else [])])
        raise InputError(f"{both} are two questions: ask one at a time")
    if kept and aspect is not None:
        raise InputError(f"with {kept[0]} the input keeps its size: leave out the aspect")
    if train and image is not None:
        raise InputError("an image in tiles is of inference: leave out train, or the image")
    if (budget is None) == (gpu is None):
        raise InputError("give a budget or a gpu: one of them")
    card = None if gpu is None else find_gpu(gpu)
    available = parse_budget(card.usable if card is not None else budget or 0)
    if card is not None and card.profile and profile is None and device is None and not train:
        profile = card.profile
    ratio = _ratio(aspect, image)
    from srprof.workload import resolve

    call = call_of(model, inputs, weights, dtype, channels_last)
    if not call.inputs:
        call = replace(call, inputs=("256x256",))
    bare = call
    call = _as_run(call, run_as, train)
    if train and isinstance(call.spec, str):
        from srprof.training.analysis import training_spec

        call = replace(call, spec=training_spec(call.spec))
    predicted_by = read_profile(profile, device)
    analyzed: Callable[[Trace], Any] = partial(
        Analysis,
        allocator=Settings.read(allocator),
        workspaces=scratch_on(predicted_by, workspace),
        profile=predicted_by,
    )
    if train:
        if predicted_by is not None:
            raise InputError("no latency is predicted of a training step: leave out the profile")
        analyzed, peak = Step, STEP
    title = "" if predicted_by is None else predicted_by.title
    workload = replace(resolve(call), training=train)
    probe = Probe(workload, peak, analyzed, title, progress)

    def search(probe: Probe) -> Fit:
        one = Search(probe, available, ratio)
        return one.along(kept[0]) if kept else one.size(image)

    asked = frames or train or predicted_by or workspace or call.channels_last
    plain = not asked and Settings.read(allocator) == Settings() and not os.environ.get(CUBLAS)
    if estimate is not None and not plain:
        raise InputError(
            "an estimate is of inference and of the default allocator, without a profile: leave "
            "it out, or frames, train, profile, gpu with a profile, workspace, layout, allocator"
        )
    # a class of anybody's may be called as one of the zoo's
    if plain and (estimate is not None or isinstance(call.spec, str)):
        found = known(
            probe, estimate, call.form, search, partial(_estimate, bare, run_as, progress)
        )
    else:
        found = search(probe)
    return found if card is None else replace(found, notes=(*found.notes, card.note()))


def _estimate(call: Call, run_as: str | None, progress: Progress) -> Estimate:
    """The estimate of a call's network, in the dtypes that a program runs it in."""
    from srprof.estimating.run import DTYPES
    from srprof.estimating.run import estimate as estimate_call

    call = replace(call, dtype=None if call.dtype in DTYPES else call.dtype)
    return estimate_call(call, run_as=run_as, progress=progress)


def _as_run(call: Call, run_as: str | None, train: bool) -> Call:
    """The call as a program makes it, in its usual dtype where it has one of its own."""
    if run_as is None:
        return call
    if train:
        raise InputError(f"{run_as} trains no network: leave out train, or the program")
    preset = presets.find(run_as)
    dtype = call.dtype or (preset.dtypes[0] if preset.form else None)
    return presets.applied(replace(call, dtype=dtype), preset)


def _ratio(aspect: str | tuple[int, int] | None, image: tuple[int, int] | None) -> tuple[int, int]:
    """Width : height of the inputs."""
    if aspect is not None:
        return parse_aspect(aspect) if isinstance(aspect, str) else aspect
    if image is None:
        return 1, 1
    height, width = check_shape(image, what=f"image {image}")
    return width // gcd(width, height), height // gcd(width, height)
