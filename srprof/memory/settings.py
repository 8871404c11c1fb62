"""Settings of PyTorch's CUDA caching allocator: what `PYTORCH_CUDA_ALLOC_CONF` says.

As torch 2.13 reads them (c10/core/AllocatorConfig, c10/cuda/CUDAAllocatorConfig), except that a
number with something behind it (`64x`), which torch takes for the number, is an error here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from typing import Any

from srprof.errors import InputError
from srprof.words import MIB

#: Requests are rounded up to multiples of this many bytes.
BLOCK = 512
#: The largest rounded request that the small pool serves, and the size of its segments.
SMALL_REQUEST, SMALL_SEGMENT = MIB, 2 * MIB
#: From this size on, a request gets a segment of its own, a multiple of `SEGMENT_STEP`.
OWN_SEGMENT, SEGMENT_STEP = 10 * MIB, 2 * MIB

#: `roundup_power2_divisions` distinguishes sizes from 1 MiB to 32 GiB by their power of two.
_INTERVALS = 16

#: Options of memory that is not the device's, of other streams or of CUDA graphs, and one that
#: raises earlier where an allocation would fail anyway.
_OPTIONS_NOT_SIMULATED = """
    graph_capture_record_stream_reuse pinned_free_catch_all pinned_max_cached_size_mb
    pinned_max_round_threshold_mb pinned_num_register_threads pinned_reserve_segment_size_mb
    pinned_use_background_threads pinned_use_cuda_host_register pinned_use_hip_host_register
    release_lock_on_cudamalloc release_lock_on_hipmalloc throw_on_cudamalloc_oom
""".split()


@dataclass(frozen=True, slots=True)
class Settings:
    """What changes the caching allocator's answers. Sizes are in bytes.

    Attributes:
        max_split_size: blocks of at least this size are not split, nor handed to smaller
            requests; None is no limit.
        max_non_split_rounding: a request of at least `max_split_size` takes no block that is this
            much larger; None is `large_segment_size`.
        large_segment_size: of the segments that requests over 1 MiB and under 10 MiB share.
        roundup_power2_divisions: into how many steps each power of two is divided to round
            requests up, from 1 MiB (and all below it) to 32 GiB (and all above it); 0 and 1 round
            to 512 bytes.
        expandable_segments: one segment for each pool, which grows by pages.
        garbage_collection_threshold: part of the allowed memory in use beyond which cached
            segments that were idle longest are released; 0 is never. As in torch it has an effect
            only where `per_process_memory_fraction` is below 1.
        per_process_memory_fraction: part of the device's memory that the allocator may take.
        not_simulated: options that were given and that the simulation leaves out.
    """

    max_split_size: int | None = None
    max_non_split_rounding: int | None = None
    large_segment_size: int = 20 * MIB
    roundup_power2_divisions: tuple[int, ...] = (0,) * _INTERVALS
    expandable_segments: bool = False
    garbage_collection_threshold: float = 0.0
    per_process_memory_fraction: float = 1.0
    not_simulated: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Settings:
        """The settings of a `PYTORCH_CUDA_ALLOC_CONF`, such as `max_split_size_mb:128`.

        Raises:
            InputError: it is malformed, or asks for an allocator that is not the caching one.
        """
        settings = cls()
        options = _options(text)
        for option, value in options:
            try:
                settings = _read(settings, option, value)
            except ValueError as error:
                raise InputError(f"allocator setting {option}:{value}: {error}") from error
        least = settings.large_segment_size // MIB
        for option, value in options:
            if option in _AT_LEAST_A_LARGE_SEGMENT and int(value) < least:
                raise InputError(
                    f"allocator setting {option}:{value} is less than a large segment: "
                    f"give at least {least}"
                )
        return settings

    @classmethod
    def read(cls, text: str | None) -> Settings:
        """As `parse`; None is what torch would take from the environment now."""
        return cls.from_environment(os.environ) if text is None else cls.parse(text)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """The settings that torch takes from these variables: of 2.13, from the first that is set.

        Raises:
            InputError: as `parse`, naming the variable.
        """
        for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
            if name in environment:
                try:
                    return cls.parse(environment[name])
                except InputError as error:
                    raise InputError(f"{name}: {error}") from error
        return cls()

    def left_out(self, capacity: int | None) -> tuple[str, ...]:
        """Names of the options given that a simulation on this capacity leaves out."""
        if capacity is not None:
            return self.not_simulated
        fraction = ("per_process_memory_fraction",) * (self.per_process_memory_fraction < 1)
        threshold = ("garbage_collection_threshold",) * (self.garbage_collection_threshold > 0)
        return (*self.not_simulated, *threshold, *fraction)

    def rounded(self, nbytes: int) -> int:
        """Bytes of the block that a request needs, before any choice of a free block."""
        interval = min(max(nbytes.bit_length() - MIB.bit_length(), 0), _INTERVALS - 1)
        divisions = self.roundup_power2_divisions[interval]
        fine = divisions > 1 and nbytes > BLOCK * divisions
        step = (1 << (nbytes.bit_length() - 1)) // divisions if fine else BLOCK
        return max(-(-nbytes // step) * step, BLOCK)

    def segment_size(self, rounded: int) -> int:
        """Bytes of the segment that is reserved for a rounded request."""
        if rounded <= SMALL_REQUEST:
            return SMALL_SEGMENT
        if rounded < OWN_SEGMENT:
            return self.large_segment_size
        return -(-rounded // SEGMENT_STEP) * SEGMENT_STEP

    def page_size(self, small: bool) -> int:
        """Bytes by which an expandable segment of the small or large pool grows."""
        return SMALL_SEGMENT if small else self.large_segment_size


_OPTION = re.compile(r"([^\[\],:]+):(\[[^\[\]]*\]|[^\[\],:]+)(?:,|$)")

_AT_LEAST_A_LARGE_SEGMENT = ("max_split_size_mb", "max_non_split_rounding_mb")
#: As many digits as a 64-bit integer has.
_MOST_DIGITS = 19


def _options(text: str) -> list[tuple[str, str]]:
    """Names and values, in order; blanks do not count."""
    text = "".join(text.split())
    options, position = [], 0
    while position < len(text):
        match = _OPTION.match(text, position)
        if match is None:
            raise InputError(
                f"allocator settings {text!r} cannot be read from {text[position:]!r} on: "
                "write name:value pairs with commas between, max_split_size_mb:128"
            )
        options.append((match[1], match[2]))
        position = match.end()
    return options


def _read(settings: Settings, option: str, value: str) -> Settings:
    """The settings with one more option; ValueError says what is wrong with its value."""
    if option in _READERS:
        return replace(settings, **{option.removesuffix("_mb"): _READERS[option](value)})
    if option in _OPTIONS_NOT_SIMULATED:
        return replace(settings, not_simulated=(*settings.not_simulated, option))
    if option == "backend":
        if value == "native":
            return settings
        raise ValueError("this allocator is not simulated; leave the option out, or give native")
    names = ", ".join(sorted({*_READERS, *_OPTIONS_NOT_SIMULATED, "backend"}))
    raise ValueError(f"there is no such option; torch has {names}")


def _whole(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > _MOST_DIGITS:
        raise ValueError(f"{value!r} is not a whole number; write one, such as 128")
    return int(value)


def _mebibytes(value: str, over: int = -1) -> int:
    size = _whole(value) * MIB
    if size <= over:
        raise ValueError(f"give more than {over // MIB}")
    return size


def _truth(value: str) -> bool:
    if value not in {"True", "False"}:
        raise ValueError("write True or False")
    return value == "True"


def _share(value: str, wanted: str, all_of_it: bool) -> float:
    try:
        share = float(value)
    except ValueError:
        share = nan
    if not (0 < share < 1 or (all_of_it and share == 1)):
        raise ValueError(f"give a number {wanted}, such as 0.8")
    return share


def _power_of_two(value: str, zero: bool = False) -> int:
    number = _whole(value)
    if number.bit_count() != 1 and not (zero and number == 0):
        raise ValueError(f"{value} is not a power of two; write one, such as 4")
    return number


def _power2_divisions(value: str) -> tuple[int, ...]:
    """One number for all sizes, or `[256:1,512:2,>:8]`: divisions from so many MiB on.

    As in torch: a size that the list leaves out below its first has the first's divisions, one
    between others has none, and `>` is all sizes above the last before it.
    """
    if not value.startswith("["):
        return (_power_of_two(value),) * _INTERVALS
    divisions, last = [0] * _INTERVALS, 0
    for position, entry in enumerate(filter(None, value[1:-1].split(","))):
        size, colon, count = entry.partition(":")
        if not colon:
            raise ValueError(f"{entry!r} has no divisions; write MiB:divisions, such as 256:4")
        number = _power_of_two(count, zero=True)
        if size == ">":
            divisions[last + 1 :] = [number] * (_INTERVALS - last - 1)
            continue
        last = min(_power_of_two(size).bit_length() - 1, _INTERVALS - 1)
        if position == 0:
            divisions[:last] = [number] * last
        divisions[last] = number
    return tuple(divisions)


_READERS: dict[str, Callable[[str], Any]] = {
    "max_split_size_mb": _mebibytes,
    "max_non_split_rounding_mb": _mebibytes,
    "large_segment_size_mb": partial(_mebibytes, over=OWN_SEGMENT),
    "roundup_power2_divisions": _power2_divisions,
    "expandable_segments": _truth,
    "garbage_collection_threshold": partial(_share, wanted="between 0 and 1", all_of_it=False),
    "per_process_memory_fraction": partial(_share, wanted="over 0 and at most 1", all_of_it=True),
}
