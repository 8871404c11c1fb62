"""The caching allocator with expandable segments. No torch."""

from __future__ import annotations

from bisect import insort

from srprof.memory.allocator import BOUNDLESS, Block, CachingAllocator, Pool
from srprof.memory.settings import BLOCK


class ExpandableAllocator(CachingAllocator):
    """The caching allocator with `expandable_segments:True`.

    A pool has one segment, of which pages are mapped as they are needed: 2 MiB in the small pool,
    20 MiB in the large one. Blocks are always split, and only pages can be released. A second
    segment is made only if the address space of the first, 9/8 of the device's memory, is used up.
    """

    def release_cached(self) -> None:
        """Give all pages that are wholly free back to the device."""
        for pool in (self._large, self._small):
            for _, address in list(pool.free):
                self._unmap(self._blocks[address])

    def _best(self, pool: Pool, index: int) -> Block:
        # A block at the end of what is mapped is as large as it can grow, so that others go first.
        block = self._blocks[pool.free[index][1]]
        for _, address in pool.free[index + 1 :]:
            following = self._blocks[address]
            if _room(following) >= _room(block):
                break
            block = following
        return block

    def _splits(self, block: Block, rounded: int) -> bool:
        return block.size - rounded >= BLOCK

    def _stuck(self, block: Block) -> int:
        return 0

    def _release_oversize(self, pool: Pool, rounded: int) -> bool:
        return False

    def _collect_garbage(self) -> None:
        pass  # pages are released when there is no more memory, and only then

    def _reserve(self, pool: Pool, rounded: int) -> Block | None:
        """A block of newly mapped pages, with the free block before them if there is one."""
        if self._reserved + self.settings.segment_size(rounded) > self._allowed:
            return None
        block = self._lowest_room(pool, rounded)
        while not block.mapped or block.size < rounded:
            there, missing = (block.size, block.next) if block.mapped else (0, block)
            assert missing is not None  # or there would not be room
            mapped = self._map(missing, min(missing.size, rounded - there))
            if mapped is None:
                return None
            block = mapped
        self._take(block)
        return block

    def _lowest_room(self, pool: Pool, rounded: int) -> Block:
        """The first of a row of free and unmapped blocks that is long enough."""
        for address in pool.unmapped:
            block = self._blocks[address]
            if block.previous is not None and not block.previous.in_use:
                block = block.previous
            if _row(block, rounded) >= rounded:
                return block
        return self._new_segment(pool)

    def _new_segment(self, pool: Pool) -> Block:
        page = self.settings.page_size(pool.small)
        space = BOUNDLESS if self.capacity is None else self.capacity + self.capacity // 8
        start, size = (-(-n // page) * page for n in (self._next_address, space))
        self._next_address = start + size
        block = Block(start, size, pool, mapped=False)
        self._blocks[start] = block
        insort(pool.unmapped, start)
        return block

    def _map(self, block: Block, size: int) -> Block | None:
        """Map the first bytes of an unmapped block; gives the free block that they end up in.

        None if the device has not enough left.
        """
        page = self.settings.page_size(block.pool.small)
        size = -(-size // page) * page
        if self._reserved + size > self._device:
            return None
        self._withdraw(block)
        if size < block.size:
            insort(block.pool.unmapped, self._divide(block, size).address)
        block.mapped = True
        self.observe("segment_map", block.address, size)
        block = self._merge(block)
        self._put(block)
        self._grow(size)
        return block

    def _unmap(self, block: Block) -> None:
        """Give back the pages that lie wholly in a free block."""
        page = self.settings.page_size(block.pool.small)
        start = -(-block.address // page) * page
        stop = (block.address + block.size) // page * page
        if start >= stop:
            return
        self._take(block)
        if start > block.address:
            before, block = block, self._divide(block, start - block.address)
            self._put(before)
        if stop < block.address + block.size:
            self._put(self._divide(block, stop - block.address))
        self._reserved -= block.size
        self.observe("segment_unmap", block.address, block.size)
        block.mapped = False
        block = self._merge(block)
        if block.split:
            insort(block.pool.unmapped, block.address)
        else:
            del self._blocks[block.address]  # the whole segment


def _room(block: Block) -> int:
    """Bytes that a free block can grow to."""
    following = block.next
    return block.size + (following.size if following and not following.mapped else 0)


def _row(block: Block, enough: int) -> int:
    """Bytes in a row from this block on that are not in use, counted until there are enough."""
    total = 0
    following: Block | None = block
    while following is not None and not following.in_use and total < enough:
        total += following.size
        following = following.next
    return total
