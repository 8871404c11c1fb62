"""`srprof.fit`: the largest input, tile or batch within a budget of memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import gcd
from typing import Any

from srprof.analysis import Analysis, scratch_on
from srprof.call import call_of
from srprof.cost.profiles import Profile, read_profile
from srprof.errors import InputError
from srprof.figures import find_peak
from srprof.inputs import check_shape
from srprof.memory.settings import Settings
from srprof.progress import Progress, silent
from srprof.quantities import parse_aspect, parse_budget
from srprof.sizing.probe import Probe
from srprof.sizing.record import Fit
from srprof.sizing.search import Search


def fit(
    model: Any,
    budget: str | int,
    *inputs: Any,
    memory: str = "allocated",
    aspect: str | tuple[int, int] | None = None,
    batch: bool = False,
    image: tuple[int, int] | None = None,
    weights: str | None = None,
    dtype: str | None = None,
    channels_last: bool = False,
    allocator: str | None = None,
    workspace: str | None = None,
    profile: str | Profile | None = None,
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
        model, inputs, weights, dtype, channels_last: as for `srprof.trace`.
            One of the inputs is an image, by default of 256x256: its batch and channels are kept,
            its size matters to `batch` only, or where the network takes few sizes.
        budget: bytes, or text with a unit: "4GiB", "800 MB".
        memory: the peak that must be within the budget: "planned", "eager", "allocated" or
            "reserved" (`srprof.figures`), of a fresh program's first image.
        aspect: width:height of the inputs, "16:9" or (16, 9); None is the image's if there is
            one, else 1:1.
        batch: keep the size, and find the largest batch.
        image: LR height and width of an image that is to be run whole or in tiles.
        allocator, workspace, profile, device: as for `srprof.analyze`.
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

    call = call_of(model, inputs, weights, dtype, channels_last)
    if not call.inputs:
        call = replace(call, inputs=("256x256",))
    predicted_by = read_profile(profile, device)
    analyzed = partial(
        Analysis,
        allocator=Settings.read(allocator),
        workspaces=scratch_on(predicted_by, workspace),
        profile=predicted_by,
    )
    title = "" if predicted_by is None else predicted_by.title
    probe = Probe(resolve(call), peak, analyzed, title, progress)
    search = Search(probe, available, ratio)
    return search.batch() if batch else search.size(image)


def _ratio(aspect: str | tuple[int, int] | None, image: tuple[int, int] | None) -> tuple[int, int]:
    """Width : height of the inputs."""
    if aspect is not None:
        return parse_aspect(aspect) if isinstance(aspect, str) else aspect
    if image is None:
        return 1, 1
    height, width = check_shape(image, what=f"image {image}")
    return width // gcd(width, height), height // gcd(width, height)
