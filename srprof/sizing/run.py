"""`srprof.fit`: the largest input, tile or batch within a budget of memory."""

from __future__ import annotations

import os
from math import gcd
from typing import Any

from srprof.cost.profiles import Profile, load_profile
from srprof.errors import InputError
from srprof.figures import find_peak
from srprof.inputs import check_shape
from srprof.memory.settings import Settings
from srprof.memory.workspace import WorkspaceTable, load_workspaces
from srprof.progress import Progress, silent
from srprof.sizing.arguments import parse_aspect, parse_budget
from srprof.sizing.probe import Probe
from srprof.sizing.records import Fit
from srprof.sizing.search import Search


def fit(
    model: Any,
    budget: str | int,
    *inputs: Any,
    memory: str = "allocated",
    aspect: str | None = None,
    batch: bool = False,
    image: tuple[int, int] | None = None,
    weights: str | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
    allocator: str | None = None,
    workspace: str | None = None,
    device: str | Profile | None = None,
    progress: Progress = silent,
) -> Fit:
    """The largest input of a network that takes no more memory than a budget.

    "Largest" is exact: sizes of one aspect ratio stand in a row, by their longer side, in the
    steps that the network takes; the one that is found fits, and none of those after it does.
    `planned` and `eager` grow with the size. An allocator's peaks may fall from one size to the
    next, so there every size is looked at from the largest whose requested bytes are within the
    budget downwards. Nothing is allocated: each size is a trace on the meta device.

    Args:
        model: as for `srprof.trace`.
        budget: bytes, or text with a unit: "4GiB", "800 MB".
        inputs: as for `srprof.trace`, with one image, whose batch and channels are kept; its size
            matters to `batch` only, or where the network takes few sizes. Default: one image of
            256x256.
        memory: the peak that must be within the budget: "planned", "eager", "allocated" or
            "reserved" (`srprof.figures`), of a fresh program's first image.
        aspect: width:height of the inputs; None is the image's if there is one, else 1:1.
        batch: keep the size, and find the largest batch.
        image: LR height and width of an image that is to be run whole or in tiles.
        weights, dtype, channels_last, allocator, workspace, device: as for `srprof.analyze`.
        progress: called with what is being done, and how many traces were made (twice).

    Raises:
        InputError: the budget is below the least that the network needs (and what that is), or
            an argument is wrong.
        ModelError: the network raises at every size that was tried.
    """
    peak = find_peak(memory)
    if batch and image is not None:
        raise InputError("batch and image are two questions: ask one at a time")
    if batch and aspect is not None:
        raise InputError("a batch keeps the input's size: leave out the aspect")
    available, ratio = parse_budget(budget), _ratio(aspect, image)
    from srprof.workload import resolve

    workload = resolve(
        model, inputs or _default(model), weights=weights, dtype=dtype, channels_last=channels_last
    )
    parsed = Settings.from_environment(os.environ) if allocator is None else None
    probe = Probe(
        workload=workload,
        peak=peak,
        settings=parsed or Settings.parse(allocator or ""),
        workspaces=WorkspaceTable() if workspace is None else load_workspaces(workspace),
        device=load_profile(device) if isinstance(device, str) else device,
        progress=progress,
    )
    search = Search(probe, available, ratio)
    return search.batch() if batch else search.size(image)


def _ratio(aspect: str | None, image: tuple[int, int] | None) -> tuple[int, int]:
    """Width : height of the inputs."""
    if aspect is not None:
        return parse_aspect(aspect)
    if image is None:
        return 1, 1
    height, width = check_shape(image, what=f"image {image}")
    return width // gcd(width, height), height // gcd(width, height)


def _default(model: Any) -> tuple[Any, ...]:
    """One image of 256x256 with the channels that the network is likely to take."""
    channels = 3
    if isinstance(model, str):
        from srprof import spec

        channels = spec.parse(model).channels
    return ((1, channels, 256, 256),)
