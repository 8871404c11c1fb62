"""The sums of storages that are ever the most: of all nodes', the few that the peak needs.

No torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from srprof.estimating.script import Script

#: How often which size is there, by the sizes' indices.
Piece = tuple[tuple[int, int], ...]


def pieces(script: Script, sizes: Sequence[int], *, held: bool) -> list[Piece]:
    """What is there at each node that makes storages; each sum once.

    Args:
        sizes: index of each block's size. held: with what is only referenced, as eager has it.
    """
    changes: list[Counter[int]] = [Counter() for _ in range(script.nodes + 1)]
    for block, size in zip(script.blocks, sizes, strict=True):
        if block.counted:
            end = block.death if held else min(block.needed, block.death)
            changes[block.birth][size] += 1
            changes[min(end, script.nodes)][size] -= 1
    there: Counter[int] = Counter()
    found: dict[Piece, None] = {}
    for change in changes[:-1]:
        there.update(change)
        found[tuple(sorted((size, count) for size, count in there.items() if count))] = None
    return list(found)


def ever_most(found: Sequence[Piece], values: np.ndarray) -> list[Piece]:
    """The fewest pieces whose most is that of all of them at every size looked at.

    Args:
        values: rounded bytes of each size (rows) at each size of image (columns).
    """
    counts = np.zeros((len(found), len(values)))
    for row, piece in enumerate(found):
        for size, count in piece:
            counts[row, size] = count
    totals = counts @ values.astype(np.float64)
    reaches = totals == totals.max(axis=0)
    chosen: list[int] = []
    while reaches.shape[1]:
        best = int(reaches.sum(axis=1).argmax())
        chosen.append(best)
        reaches = reaches[:, ~reaches[best]]
    return [found[i] for i in sorted(chosen)]
