"""The caching allocator: each rule, a plain model of it, and torch's own answers.

`golden/allocator_torch.json` is what the allocator of torch 2.13 answered; see
`benchmarks/allocator/compare.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srprof.errors import OutOfDeviceMemoryError
from srprof.memory.allocator import SegmentInfo, Usage, new_allocator
from srprof.memory.settings import MIB, Settings

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "allocator_torch.json").read_text())

#: A feature map of 50 channels at 510x510 in float32: 49.61 MiB.
FEATURE_MAP = 4 * 50 * 510 * 510


def allocator(settings: str = "", capacity: int | None = None):
    return new_allocator(Settings.parse(settings), capacity)


def tiling(segment: SegmentInfo) -> list[tuple[int, int | None]]:
    """Sizes of the blocks, with what was requested of those in use."""
    return [(b.size, b.requested if b.in_use else None) for b in segment.blocks]


# -- pools, segments, splitting ---------------------------------------------------------------


def test_a_feature_map_takes_a_segment_of_50_mib_whole():
    assert FEATURE_MAP == 52_020_000
    device = allocator()
    device.allocate(FEATURE_MAP)
    assert device.usage == Usage(
        requested=52_020_000,
        allocated=50 * MIB,  # not 52,020,224: less than 1 MiB would remain
        reserved=50 * MIB,
        rounding=224,
        unsplit=50 * MIB - 52_020_224,
    )


def test_small_requests_share_a_segment_of_2_mib():
    device = allocator()
    device.allocate(1)
    device.allocate(513)
    (segment,) = device.segments()
    assert segment.small
    assert tiling(segment) == [(512, 1), (1024, 513), (2 * MIB - 1536, None)]
    assert device.usage == Usage(514, 1536, 2 * MIB, 511 + 511, 0, 2 * MIB - 1536)


def test_requests_over_1_mib_share_a_segment_of_20_mib():
    device = allocator()
    device.allocate(MIB + 1)
    device.allocate(10 * MIB - 512)
    (segment,) = device.segments()
    assert not segment.small
    assert [size for size, _ in tiling(segment)] == [MIB + 512, 10 * MIB - 512, 9 * MIB]


def test_requests_of_10_mib_have_a_segment_of_their_own():
    device = allocator()
    device.allocate(10 * MIB)
    device.allocate(11 * MIB)
    assert [s.size for s in device.segments()] == [10 * MIB, 12 * MIB]


@pytest.mark.parametrize(
    "remainder, split",
    [(MIB, False), (MIB + 512, True)],
)
def test_a_large_block_is_split_if_more_than_1_mib_remains(remainder, split):
    device = allocator()
    device.free(device.allocate(20 * MIB))
    device.allocate(20 * MIB - remainder)
    assert device.usage.unsplit == (0 if split else remainder)
    assert len(device.segments()[0].blocks) == 1 + split


@pytest.mark.parametrize("size, split", [(MIB - 512, True), (MIB, False)])
def test_a_small_block_is_split_if_512_bytes_remain(size, split):
    device = allocator()
    device.allocate(MIB)
    device.allocate(size)
    assert len(device.segments()[0].blocks) == 2 + split


def test_the_pools_do_not_share():
    device = allocator()
    device.free(device.allocate(20 * MIB))
    device.allocate(MIB)
    assert [s.size for s in device.segments()] == [20 * MIB, 2 * MIB]


# -- best fit, merging, reuse -----------------------------------------------------------------


def test_the_smallest_block_that_fits_is_taken():
    device = allocator()
    for address in [device.allocate(n * MIB) for n in (30, 12, 14)]:
        device.free(address)
    device.allocate(11 * MIB)
    assert [tiling(s)[0][1] for s in device.segments()] == [None, 11 * MIB, None]


def test_of_equal_blocks_the_lowest_address_is_taken():
    device = allocator()
    for address in [device.allocate(12 * MIB) for _ in range(3)][::-1]:
        device.free(address)
    device.allocate(12 * MIB)
    assert [tiling(s)[0][1] for s in device.segments()] == [12 * MIB, None, None]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
def test_free_neighbours_merge(order):
    device = allocator()
    addresses = [device.allocate(5 * MIB) for _ in range(3)]
    for index in order:
        device.free(addresses[index])
    (segment,) = device.segments()
    assert tiling(segment) == [(20 * MIB, None)]
    assert device.usage == Usage(reserved=20 * MIB)


def test_segments_stay_until_they_are_released():
    device = allocator()
    first, second = device.allocate(12 * MIB), device.allocate(2 * MIB)
    device.free(first)
    assert device.usage.reserved == 32 * MIB
    device.release_cached()
    assert device.usage.reserved == 20 * MIB  # the other is in use
    device.free(second)
    device.release_cached()
    assert device.segments() == ()
    assert device.peaks.reserved == 32 * MIB


def test_a_request_of_nothing_is_no_block():
    device = allocator()
    assert device.allocate(0) == 0
    device.free(0)
    assert device.usage == Usage()


def test_misuse_is_refused():
    device = allocator()
    address = device.allocate(1)
    with pytest.raises(ValueError, match="-1 bytes"):
        device.allocate(-1)
    with pytest.raises(ValueError, match="no block in use"):
        device.free(address + 512)
    device.free(address)
    with pytest.raises(ValueError, match="no block in use"):
        device.free(address)


# -- figures ----------------------------------------------------------------------------------


def test_peaks_are_of_different_moments():
    device = allocator()
    device.free(device.allocate(100 * MIB))
    device.allocate(60 * MIB)  # 60 of the 100, split
    device.allocate(30 * MIB)
    peaks = device.peaks
    assert (peaks.requested, peaks.allocated, peaks.reserved) == (100 * MIB,) * 3
    device.reset_peaks()
    assert (device.peaks.allocated, device.peaks.reserved) == (90 * MIB, 100 * MIB)
    device.allocate(50 * MIB)
    peaks = device.peaks
    assert (peaks.allocated, peaks.reserved) == (140 * MIB, 150 * MIB)


def test_the_peak_is_described_at_its_first_moment():
    device = allocator()
    whole = device.allocate(FEATURE_MAP)
    at_peak = device.usage
    device.free(whole)
    device.allocate(50 * MIB)  # as much, but all of it requested
    assert device.peaks.at_allocated == at_peak
    assert at_peak.allocated - at_peak.requested == at_peak.rounding + at_peak.unsplit
    assert device.peaks.requested == 50 * MIB


def test_fragmentation_and_what_is_stuck():
    device = allocator()
    device.free(device.allocate(12 * MIB))  # could be released
    device.allocate(2 * MIB)  # of the 12
    device.free(device.allocate(30 * MIB))
    usage = device.usage
    assert (usage.allocated, usage.fragmentation) == (2 * MIB, 40 * MIB)
    assert usage.inactive_split == 10 * MIB


# -- settings ---------------------------------------------------------------------------------


def test_blocks_over_max_split_size_are_kept_whole():
    device = allocator("max_split_size_mb:40")
    device.free(device.allocate(60 * MIB))
    device.allocate(30 * MIB)  # may not have it
    assert device.usage.reserved == 90 * MIB
    device.allocate(42 * MIB)  # has all of it
    assert device.usage.unsplit == 18 * MIB
    assert device.usage.reserved == 90 * MIB


def test_a_block_too_large_for_a_large_request_is_left():
    for rounding, reserved in ((20, 102), (30, 62)):
        device = allocator(f"max_split_size_mb:40,max_non_split_rounding_mb:{rounding}")
        device.free(device.allocate(62 * MIB))
        device.allocate(40 * MIB)
        assert device.usage.reserved == reserved * MIB


def test_power_of_two_rounding_counts_as_rounding():
    device = allocator("roundup_power2_divisions:4")
    device.allocate(FEATURE_MAP)
    assert device.usage.allocated == 56 * MIB
    assert device.usage.rounding == 56 * MIB - FEATURE_MAP


def test_expandable_segments_grow_by_pages_and_always_split():
    device = allocator("expandable_segments:True")
    device.allocate(FEATURE_MAP)
    assert device.usage == Usage(FEATURE_MAP, 52_020_224, 60 * MIB, 224)
    second = device.allocate(20 * MIB)
    assert device.usage.reserved == 80 * MIB
    (segment,) = device.segments()
    rest = 80 * MIB - 52_020_224 - 20 * MIB
    assert tiling(segment) == [(52_020_224, FEATURE_MAP), (20 * MIB, 20 * MIB), (rest, None)]
    device.free(second)
    device.release_cached()
    assert device.usage.reserved == 60 * MIB  # the page that the feature map ends in stays
    device.allocate(1)
    assert device.usage.reserved == 62 * MIB


def test_expandable_segments_fill_gaps_of_pages_first():
    device = allocator("expandable_segments:True")
    first, last = device.allocate(40 * MIB), device.allocate(20 * MIB)
    device.free(first)
    device.release_cached()
    assert device.usage.reserved == 20 * MIB
    assert device.allocate(30 * MIB) == first
    assert device.usage.reserved == 60 * MIB
    device.free(last)
    assert device.usage.allocated == 30 * MIB


def test_garbage_collection_releases_what_was_idle_longest():
    settings = "garbage_collection_threshold:0.5,per_process_memory_fraction:0.5"
    device = allocator(settings, 400 * MIB)
    old, young = device.allocate(60 * MIB), device.allocate(50 * MIB)
    device.free(old)
    device.allocate(12 * MIB)  # of the old one
    device.allocate(48 * MIB)  # all that is left of it
    device.free(young)
    for _ in range(3):
        device.allocate(1)
    device.allocate(70 * MIB)  # 110 of the 100 that the threshold allows are reserved
    assert [s.size // MIB for s in device.segments()] == [60, 2, 70]
    kept = allocator("garbage_collection_threshold:0.5", 400 * MIB)
    kept.free(kept.allocate(300 * MIB))
    kept.allocate(99 * MIB)
    assert kept.usage.reserved == 300 * MIB


# -- the device's end -------------------------------------------------------------------------


@pytest.mark.parametrize("settings", ["", "expandable_segments:True"])
def test_cached_segments_are_released_before_giving_up(settings):
    device = allocator(settings, 100 * MIB)
    device.free(device.allocate(60 * MIB))
    device.allocate(80 * MIB)
    assert device.usage.reserved == 80 * MIB


@pytest.mark.parametrize("settings", ["", "expandable_segments:True", "max_split_size_mb:20"])
def test_out_of_memory_says_what_there_was(settings):
    device = allocator(settings, 100 * MIB)
    device.allocate(60 * MIB)
    with pytest.raises(OutOfDeviceMemoryError) as error:
        device.allocate(50 * MIB)
    told = error.value
    assert (told.requested, told.allocated) == (50 * MIB, 60 * MIB)
    assert (told.reserved, told.capacity) == (60 * MIB, 100 * MIB)
    assert (told.image, told.node) == (None, None)
    assert str(told).startswith("out of device memory: 50.00 MiB requested, 60.00 MiB allocated")
    device.allocate(40 * MIB)  # it goes on


@pytest.mark.parametrize("settings", ["", "expandable_segments:True"])
@pytest.mark.parametrize("capacity", [1, 2 * MIB - 1, 30 * MIB])
def test_a_request_larger_than_the_device(settings, capacity):
    device = allocator(settings, capacity)
    with pytest.raises(OutOfDeviceMemoryError):
        device.allocate(100 * MIB)
    assert device.usage == Usage()


def test_a_device_without_memory_is_a_mistake():
    with pytest.raises(ValueError, match="0 bytes"):
        allocator(capacity=0)


def test_a_fraction_of_the_device_is_the_limit():
    device = allocator("per_process_memory_fraction:0.5", 100 * MIB)
    with pytest.raises(OutOfDeviceMemoryError) as error:
        device.allocate(52 * MIB)
    assert error.value.capacity == 50 * MIB
    device.allocate(50 * MIB)


# -- against a plain model --------------------------------------------------------------------


class PlainAllocator:
    """The default rules from scratch: segments are lists of what is taken, gaps are what is not.

    No free list, no merging, no counters. Raises MemoryError.
    """

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.segments: list[tuple[int, bool, list[tuple[int, int, int]]]] = []

    def gaps(self, size, taken):
        edges = [0]
        for start, length, _ in sorted(taken):
            edges += [start, start + length]
        edges.append(size)
        return [(a, b - a) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]

    def allocate(self, nbytes: int) -> tuple[list, tuple[int, int, int]]:
        need = (nbytes + 511) // 512 * 512
        small = need <= MIB
        fits = [
            (length, number, start)
            for number, (size, of_small, taken) in enumerate(self.segments)
            if of_small == small
            for start, length in self.gaps(size, taken)
            if length >= need
        ]
        if not fits:
            size = 2 * MIB if small else 20 * MIB
            if need >= 10 * MIB:
                size = (need + 2 * MIB - 1) // (2 * MIB) * (2 * MIB)
            if self.capacity is not None and self.reserved + size > self.capacity:
                self.segments = [s for s in self.segments if s[2]]
                if self.reserved + size > self.capacity:
                    raise MemoryError
            self.segments.append((size, small, []))
            fits = [(size, len(self.segments) - 1, 0)]
        length, number, start = min(fits)
        spare = length - need
        if spare >= 512 if small else spare > MIB:
            length = need
        block = (start, length, nbytes)
        self.segments[number][2].append(block)
        return self.segments[number][2], block

    @property
    def reserved(self) -> int:
        return sum(size for size, _, _ in self.segments)

    def tilings(self):
        found = []
        for size, small, taken in self.segments:
            blocks = [(start, length, nbytes) for start, length, nbytes in taken]
            blocks += [(start, length, None) for start, length in self.gaps(size, taken)]
            found.append((small, [(length, nbytes) for _, length, nbytes in sorted(blocks)]))
        return found


sizes = st.one_of(
    st.integers(1, 3000),
    st.integers(1, MIB),
    st.integers(MIB - 1024, MIB + 1024),
    st.integers(1, 24).map(lambda n: n * MIB // 2),
    st.integers(MIB, 12 * MIB),
    st.sampled_from([FEATURE_MAP, 4 * 48 * 510 * 339, 4 * 16 * 510 * 510]),
    st.integers(9 * MIB, 40 * MIB),
)
#: An allocation of so many bytes, or the index of a block to free among those in use.
calls = st.lists(st.one_of(sizes, st.integers(-100, -1)), max_size=40)
limits = st.one_of(st.none(), st.integers(20 * MIB, 200 * MIB))


@given(calls, limits)
def test_the_default_rules_are_the_plain_ones(calls, capacity):
    device, plain = allocator(capacity=capacity), PlainAllocator(capacity)
    alive = []
    for call in calls:
        if call < 0:
            if alive:
                address, taken, block = alive.pop(call % len(alive))
                device.free(address)
                taken.remove(block)
        else:
            try:
                taken, block = plain.allocate(call)
            except MemoryError:
                with pytest.raises(OutOfDeviceMemoryError):
                    device.allocate(call)
            else:
                alive.append((device.allocate(call), taken, block))
        assert [(s.small, tiling(s)) for s in device.segments()] == plain.tilings()
        assert device.usage.reserved == plain.reserved


every_setting = st.sampled_from(
    [
        "",
        "max_split_size_mb:20",
        "max_split_size_mb:30,max_non_split_rounding_mb:22",
        "large_segment_size_mb:12",
        "roundup_power2_divisions:4",
        "roundup_power2_divisions:[1:8,4:2,16:4,>:16]",
        "garbage_collection_threshold:0.3,per_process_memory_fraction:0.9",
        "expandable_segments:True",
        "expandable_segments:True,large_segment_size_mb:12,max_split_size_mb:30",
    ]
)


def check_figures(device) -> None:
    """The figures are what the segments show, and no byte is in two blocks or in none."""
    blocks = []
    end = 0
    for segment in device.segments():
        assert segment.address >= end
        position = segment.address
        for block in segment.blocks:
            assert block.address == position
            assert block.size > 0
            assert block.requested <= block.size
            assert bool(block.requested) == block.in_use
            position += block.size
        end = position
        assert position == segment.address + segment.size
        for left, right in zip(segment.blocks, segment.blocks[1:], strict=False):
            assert left.in_use or right.in_use  # free neighbours have merged
        blocks += segment.blocks
    usage = device.usage
    assert usage.requested == sum(b.requested for b in blocks)
    assert usage.allocated == sum(b.size for b in blocks if b.in_use)
    assert usage.reserved == sum(b.size for b in blocks)
    assert usage.requested <= usage.allocated <= usage.reserved
    assert usage.rounding + usage.unsplit == usage.allocated - usage.requested
    assert min(usage.rounding, usage.unsplit, usage.inactive_split) >= 0
    assert usage.inactive_split <= usage.fragmentation
    peaks = device.peaks
    assert peaks.allocated == peaks.at_allocated.allocated
    assert peaks.requested >= max(usage.requested, peaks.at_allocated.requested)
    assert peaks.allocated >= usage.allocated
    assert peaks.reserved >= max(usage.reserved, peaks.at_allocated.reserved)


@given(every_setting, calls, limits)
def test_invariants_under_every_setting(settings, calls, capacity):
    device = allocator(settings, capacity)
    alive: dict[int, int] = {}
    for call in calls:
        if call < 0:
            if alive:
                address = list(alive)[call % len(alive)]
                del alive[address]
                device.free(address)
        else:
            try:
                address = device.allocate(call)
            except OutOfDeviceMemoryError:
                pass
            else:
                assert address not in alive
                alive[address] = call
        check_figures(device)
        in_use = {b.address: b.requested for s in device.segments() for b in s.blocks if b.in_use}
        assert in_use == alive
    for address in alive:
        device.free(address)
    assert device.usage == Usage(reserved=device.usage.reserved)
    assert all(len(s.blocks) == 1 for s in device.segments())  # merging restored them
    device.release_cached()
    assert device.segments() == ()
    assert device.usage == Usage()


# -- against torch ----------------------------------------------------------------------------


@pytest.mark.parametrize("run", GOLDEN, ids=lambda r: f"{r['settings']}-{r['capacity']}")
def test_torchs_own_answers(run):
    """Every figure after every call, and the segments at the end."""
    device = allocator(run["settings"], run["capacity"])
    addresses = {}
    for call, expected in zip(run["calls"], run["figures"], strict=True):
        letter, *arguments = call.split()
        if letter == "a":
            try:
                addresses[arguments[0]] = device.allocate(int(arguments[1]))
            except OutOfDeviceMemoryError:
                letter = "o"
        elif letter == "f":
            device.free(addresses.pop(arguments[0], 0))
        else:
            device.release_cached()
        usage, peaks = device.usage, device.peaks
        figures = [usage.allocated, usage.requested, usage.reserved, usage.inactive_split]
        figures += [peaks.allocated, peaks.requested, peaks.reserved]
        assert " ".join(map(str, [letter, *figures])) == expected
    segments = [
        f"s {s.size} {int(s.small)} " + " ".join(f"{b.size}:{b.requested}" for b in s.blocks)
        for s in device.segments()
    ]
    assert sorted(segments) == run["segments"]


def test_the_recorded_answers_have_seen_the_end_of_memory():
    letters = [line[0] for run in GOLDEN for line in run["figures"]]
    assert {"a", "f", "e", "o"} == set(letters)
