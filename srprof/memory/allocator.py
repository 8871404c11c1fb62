"""A simulation of PyTorch's CUDA caching allocator, for one device and one stream.

The rules are those of c10/cuda/CUDACachingAllocator.cpp in torch 2.13; `benchmarks/allocator/`
runs that very library without a device and compares. Addresses are numbers: nothing is allocated.

Requests of up to 1 MiB are served from the small pool, whose segments are 2 MiB; larger ones from
the large pool, whose segments are 20 MiB for requests under 10 MiB, else the request rounded up
to 2 MiB. The smallest free block that is large enough is taken, of equal ones the one at the
lowest address. It is split if at least 512 bytes (small pool) or more than 1 MiB (large pool)
would remain; otherwise the request has the whole block, and all of it counts as allocated. A block
that is freed merges with its free neighbours. Segments stay reserved until the device runs out.

No torch.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeGuard

from srprof.errors import OutOfDeviceMemoryError
from srprof.memory.settings import BLOCK, SMALL_REQUEST, Settings

#: More than any device has, and than any block is.
UNLIMITED = sys.maxsize

#: Room in the address space of an expandable segment where no capacity says how much there is.
BOUNDLESS = 2**50


@dataclass(frozen=True, slots=True)
class Usage:
    """The allocator at one moment, in bytes.

    Attributes:
        requested: what the program asked for.
        allocated: the blocks that it was given.
        reserved: the segments they lie in, all of which the device holds for the program.
        rounding: the part of allocated that rounding added, to 512 bytes or as
            `roundup_power2_divisions` says.
        unsplit: the part of allocated that lies behind a request, because the block that it was
            given was not split.
        inactive_split: free blocks in segments that are partly in use, which can be given back
            to no one; as torch, 0 for expandable segments.
    """

    requested: int = 0
    allocated: int = 0
    reserved: int = 0
    rounding: int = 0
    unsplit: int = 0
    inactive_split: int = 0

    @property
    def fragmentation(self) -> int:
        """Bytes reserved but not allocated: free blocks, whether or not they could be released."""
        return self.reserved - self.allocated


@dataclass(frozen=True, slots=True)
class Peaks:
    """The most of each since the peaks were last reset, in bytes; not all at one moment.

    Attributes:
        at_allocated: everything at the first moment when allocated was largest.
    """

    requested: int
    allocated: int
    reserved: int
    at_allocated: Usage


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """A part of a segment: its bytes, and what was requested of it (0 if it is free)."""

    address: int
    size: int
    requested: int
    in_use: bool


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A range of memory reserved at once, or all that an expandable segment maps in a row.

    Attributes:
        blocks: tile it, in the order of their addresses.
    """

    address: int
    size: int
    small: bool
    blocks: tuple[BlockInfo, ...]


@dataclass(slots=True, eq=False)
class Block:
    """A block while the allocator works: in use, in its pool's free list, or not mapped.

    Attributes:
        requested, rounded: bytes of the request that it serves, 0 if it is not in use.
        free_since: the pool's clock when it was freed.
        previous, next: its neighbours in the segment.
    """

    address: int
    size: int
    pool: Pool
    mapped: bool = True
    in_use: bool = False
    requested: int = 0
    rounded: int = 0
    free_since: int = 0
    previous: Block | None = None
    next: Block | None = None

    @property
    def split(self) -> bool:
        """Whether it shares its segment with other blocks."""
        return self.previous is not None or self.next is not None


@dataclass(slots=True, eq=False)
class Pool:
    """The free blocks for small or for large requests.

    Attributes:
        free: size and address of each, ascending: the order of best fit.
        unmapped: addresses of the unmapped ranges of expandable segments, ascending.
        searches: how often a block was looked for; the clock of garbage collection.
    """

    small: bool
    free: list[tuple[int, int]] = field(default_factory=list)
    unmapped: list[int] = field(default_factory=list)
    searches: int = 0


class CachingAllocator:
    """The caching allocator of one device; `new_allocator` makes one.

    Attributes:
        observe: told of everything that happens: the action as torch's memory snapshots name it
            (`alloc`, `free_requested`, `free_completed`, `segment_alloc`, `segment_free`,
            `segment_map`, `segment_unmap`), the address and the bytes, of a block those requested.
        allocated: bytes of the blocks in use. peak_allocated: the most since the last
            `reset_peaks`.
    """

    def __init__(self, settings: Settings, capacity: int | None) -> None:
        self.settings = settings
        self.capacity = capacity
        self.observe: Callable[[str, int, int], None] = lambda action, address, nbytes: None
        self._device = self._allowed = UNLIMITED
        if capacity is not None:
            self._device = capacity
            if settings.per_process_memory_fraction < 1:
                self._allowed = int(settings.per_process_memory_fraction * capacity)
        self._max_split = settings.max_split_size or UNLIMITED
        self._max_waste = settings.max_non_split_rounding or settings.large_segment_size
        self._small, self._large = Pool(small=True), Pool(small=False)
        self._blocks: dict[int, Block] = {}
        self._next_address = BOUNDLESS
        self._requested = self.allocated = self._reserved = 0
        self._rounding = self._unsplit = self._inactive_split = 0
        self._peak_requested = self.peak_allocated = self._peak_reserved = 0
        self._at_peak = self.usage

    # -- what the program does ----------------------------------------------------------------

    def allocate(self, nbytes: int) -> int:
        """Address of a block for a request of so many bytes; 0, which is no block, for 0 bytes.

        Raises:
            OutOfDeviceMemoryError: the capacity does not allow it, even after all that is cached
                was released. The state is then as after `release_cached`.
            ValueError: a negative size.
        """
        if nbytes < 0:
            raise ValueError(f"a request of {nbytes} bytes")
        if nbytes == 0:
            return 0
        rounded = self.settings.rounded(nbytes)
        pool = self._small if rounded <= SMALL_REQUEST else self._large
        block = self._find(pool, rounded) or self._obtain(pool, rounded)
        if block is None:
            most = min(self._device, self._allowed)
            raise OutOfDeviceMemoryError(nbytes, self.allocated, self._reserved, most)
        if self._splits(block, rounded):
            self._put(self._divide(block, rounded))
        block.in_use, block.requested, block.rounded = True, nbytes, rounded
        self._count(block, 1)
        if self.allocated > self.peak_allocated:
            self.peak_allocated = self.allocated
            self._at_peak = self.usage
        self._peak_requested = max(self._peak_requested, self._requested)
        self.observe("alloc", block.address, nbytes)
        return block.address

    def free(self, address: int) -> None:
        """Give a block back; 0 is no block.

        Raises:
            ValueError: no block in use begins there.
        """
        if address == 0:
            return
        block = self._blocks.get(address)
        if block is None or not block.in_use:
            raise ValueError(f"no block in use at {address}")
        for action in ("free_requested", "free_completed"):  # on one stream, at once
            self.observe(action, address, block.requested)
        self._count(block, -1)
        block.in_use, block.requested, block.rounded = False, 0, 0
        self._put(self._merge(block))

    def release_cached(self) -> None:
        """Give all segments that are wholly free back to the device: `torch.cuda.empty_cache`."""
        for pool in (self._large, self._small):
            for _, address in list(pool.free):
                if not self._blocks[address].split:
                    self._release(self._blocks[address])

    # -- what it says -------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        """The state now."""
        blocks = self._requested, self.allocated, self._reserved, self._rounding
        return Usage(*blocks, self._unsplit, self._inactive_split)

    @property
    def peaks(self) -> Peaks:
        """The peaks since the start or the last `reset_peaks`."""
        return Peaks(self._peak_requested, self.peak_allocated, self._peak_reserved, self._at_peak)

    def reset_peaks(self) -> None:
        """Begin anew from the state now: `torch.cuda.reset_peak_memory_stats`."""
        self._peak_requested = self._requested
        self.peak_allocated = self.allocated
        self._peak_reserved = self._reserved
        self._at_peak = self.usage

    def segments(self) -> tuple[SegmentInfo, ...]:
        """All that is reserved, in the order of addresses: `torch.cuda.memory_snapshot`."""
        rows: list[list[Block]] = []
        for _, block in sorted(self._blocks.items()):
            if block.mapped:
                if block.previous is None or not block.previous.mapped:
                    rows.append([])
                rows[-1].append(block)
        return tuple(
            SegmentInfo(
                address=row[0].address,
                size=sum(b.size for b in row),
                small=row[0].pool.small,
                blocks=tuple(BlockInfo(b.address, b.size, b.requested, b.in_use) for b in row),
            )
            for row in rows
        )

    # -- choosing a block ---------------------------------------------------------------------

    def _find(self, pool: Pool, rounded: int) -> Block | None:
        """The best free block, taken out of the free list."""
        pool.searches += 1
        index = bisect_left(pool.free, (rounded, 0))
        if index == len(pool.free):
            return None
        block = self._best(pool, index)
        if rounded < self._max_split <= block.size:
            return None  # kept whole for a large request
        if self._max_split <= rounded <= block.size - self._max_waste:
            return None  # it would not be split
        self._take(block)
        return block

    def _best(self, pool: Pool, index: int) -> Block:
        """The block to take, of those free from the index on."""
        return self._blocks[pool.free[index][1]]

    def _splits(self, block: Block, rounded: int) -> bool:
        """Whether a block is split for a request."""
        remainder = block.size - rounded
        if block.pool.small:
            return remainder >= BLOCK
        return rounded < self._max_split and remainder > SMALL_REQUEST

    # -- getting memory from the device -------------------------------------------------------

    def _obtain(self, pool: Pool, rounded: int) -> Block | None:
        """A block of newly reserved memory, if need be after others were released."""
        self._collect_garbage()
        block = self._reserve(pool, rounded)
        if block is None and self._release_oversize(pool, rounded):
            block = self._reserve(pool, rounded)
        if block is None:
            self.release_cached()
            block = self._reserve(pool, rounded)
        return block

    def _reserve(self, pool: Pool, rounded: int) -> Block | None:
        """A new segment, None if the device has not enough left."""
        size = self.settings.segment_size(rounded)
        if self._reserved + size > min(self._allowed, self._device):
            return None
        block = Block(self._next_address, size, pool)
        self._next_address += size
        self._blocks[block.address] = block
        self._grow(size)
        self.observe("segment_alloc", block.address, size)
        return block

    def _grow(self, size: int) -> None:
        self._reserved += size
        self._peak_reserved = max(self._peak_reserved, self._reserved)

    def _release(self, block: Block) -> None:
        """Give a free segment back."""
        self._take(block)
        del self._blocks[block.address]
        self._reserved -= block.size
        self.observe("segment_free", block.address, block.size)

    def _release_oversize(self, pool: Pool, rounded: int) -> bool:
        """Release free blocks over `max_split_size` until the request fits; whether it does."""
        if self.settings.max_split_size is None:
            return False
        wanted = max(rounded, self._max_split)
        index = bisect_left(pool.free, (wanted, 0))
        if index < len(pool.free):
            self._release(self._blocks[pool.free[index][1]])
            return True
        released = 0
        while released < wanted and pool.free and pool.free[-1][0] >= self._max_split:
            released += pool.free[-1][0]
            self._release(self._blocks[pool.free[-1][1]])
        return released >= wanted

    def _collect_garbage(self) -> None:
        """Release cached segments that were idle for at least the average, until few are."""
        threshold = self.settings.garbage_collection_threshold
        if self._allowed == UNLIMITED or not threshold:
            return
        surplus = self._reserved - int(threshold * self._allowed)
        pool = self._large
        cached = [self._blocks[address] for _, address in pool.free]
        idle = [(pool.searches - block.free_since, block) for block in cached if not block.split]
        while surplus > 0 and idle:
            average = sum(age for age, _ in idle) / len(idle)
            for age, block in idle:
                if age >= average:
                    surplus -= block.size
                    self._release(block)
            idle = [(age, block) for age, block in idle if age < average]

    # -- blocks -------------------------------------------------------------------------------

    def _count(self, block: Block, sign: int) -> None:
        """Add a block to the figures, or take it out."""
        self._requested += sign * block.requested
        self.allocated += sign * block.size
        self._rounding += sign * (block.rounded - block.requested)
        self._unsplit += sign * (block.size - block.rounded)

    def _put(self, block: Block) -> None:
        """Into the free list."""
        insort(block.pool.free, (block.size, block.address))
        block.free_since = block.pool.searches
        self._inactive_split += self._stuck(block)

    def _take(self, block: Block) -> None:
        """Out of the free list."""
        free = block.pool.free
        del free[bisect_left(free, (block.size, block.address))]
        self._inactive_split -= self._stuck(block)

    def _stuck(self, block: Block) -> int:
        """Bytes of a free block that cannot be released, because others share its segment."""
        return block.size if block.split else 0

    def _divide(self, block: Block, size: int) -> Block:
        """Make the block this large; gives a new one of what is behind."""
        rest = Block(block.address + size, block.size - size, block.pool, block.mapped)
        rest.previous, rest.next = block, block.next
        if rest.next is not None:
            rest.next.previous = rest
        block.next, block.size = rest, size
        self._blocks[rest.address] = rest
        return rest

    def _merge(self, block: Block) -> Block:
        """A block that is in no list, with its free neighbours: one block, in no list."""
        if joins(block.previous, block):
            self._withdraw(block.previous)
            block = self._absorb(block.previous)
        if joins(block.next, block):
            self._withdraw(block.next)
            self._absorb(block)
        return block

    def _withdraw(self, block: Block) -> None:
        """Out of the list that a block that is not in use is in."""
        if block.mapped:
            self._take(block)
        else:
            block.pool.unmapped.remove(block.address)

    def _absorb(self, block: Block) -> Block:
        """The block, with the one behind it."""
        rest = block.next
        assert rest is not None
        del self._blocks[rest.address]
        block.size += rest.size
        block.next = rest.next
        if block.next is not None:
            block.next.previous = block
        return block


def joins(neighbour: Block | None, block: Block) -> TypeGuard[Block]:
    """Whether the two become one when the block is free."""
    return neighbour is not None and not neighbour.in_use and neighbour.mapped == block.mapped


def new_allocator(settings: Settings, capacity: int | None = None) -> CachingAllocator:
    """An empty caching allocator with these settings.

    Args:
        capacity: bytes of the device that the allocator can have, without what the driver, the
            context and other programs take; None is no limit.

    Raises:
        ValueError: a capacity of less than a byte.
    """
    from srprof.memory.expandable import ExpandableAllocator  # which builds on this module

    if capacity is not None and capacity < 1:
        raise ValueError(f"a capacity of {capacity} bytes")
    kind = ExpandableAllocator if settings.expandable_segments else CachingAllocator
    return kind(settings, capacity)
