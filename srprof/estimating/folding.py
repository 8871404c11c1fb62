"""A program of blocks that come and go, made short: what repeats itself is there twice at most.

A network's blocks follow each other, and the allocator's state behind the second is that behind
the last. Whether that is so is not argued but tried: a repetition goes only where the peaks at all
sizes that are looked at stay what they were. Pure; no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: A step: the index of a size that comes, -n for the nth last block that goes, None where the cache
#: is given back.
Program = list[int | None]
#: Whether a program's peaks are the right ones.
Right = Callable[[Program], bool]

#: What a step that gives the cache back is compared as.
_RELEASE = 2**40
#: The most repetitions that stay, where fewer do not do.
_STAY = 3
#: The share of a program that a cut must be worth, for each is tried at many sizes.
_WORTH = 1 / 100


def folded(program: Program, right: Right) -> Program:
    """The program without repetitions that change nothing."""
    period = 1
    while period <= len(program) // 2:
        shorter = _without(program, period, right)
        program, period = (program, period + 1) if shorter is None else (shorter, period)
    return program


def trimmed(program: Program, right: Right) -> Program:
    """The program up to the last step that a peak needs."""
    low, high = 0, len(program)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if right(program[:middle]) else (middle, high)
    return program[:high]


def _without(program: Program, period: int, right: Right) -> Program | None:
    """The program with one row of repetitions of this length cut; None if none can be."""
    steps = np.array([_RELEASE if step is None else step for step in program], dtype=np.int64)
    equal = np.concatenate(([0], (steps[period:] == steps[:-period]).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(equal))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        rows = (int(end) - int(start)) // period + 1
        for stay in range(1, min(_STAY, rows - 1) + 1):
            if (rows - stay) * period < _WORTH * len(program):
                break
            first = int(start) + stay * period
            shorter = cut(program, first, int(start) + rows * period)
            if shorter is not None and right(shorter):
                return shorter
    return None


def cut(program: Program, first: int, end: int) -> Program | None:
    """The program without these steps; None if they leave behind more, or less, than they found."""
    targets, allocations = _targets(program)
    inside = [step for step in program[first:end] if step is not None]
    made = sorted(step for step in inside if step >= 0)
    gone = sorted(
        _size_of(program, allocations, targets[i])
        for i in range(first, end)
        if (step := program[i]) is not None and step < 0
    )
    if made != gone:
        return None
    before = sum(1 for i in allocations if i < first)
    deleted = len(made)
    shorter: Program = program[:first]
    for i in range(end, len(program)):
        step = program[i]
        if step is not None and step < 0 and targets[i] < before:
            step += deleted
            if step >= 0:
                return None
        shorter.append(step)
    return shorter if _possible(shorter) else None


def _targets(program: Program) -> tuple[dict[int, int], list[int]]:
    """By step that lets go, which allocation it is of; and the steps that allocate."""
    targets: dict[int, int] = {}
    allocations: list[int] = []
    for i, step in enumerate(program):
        if step is None:
            continue
        if step >= 0:
            allocations.append(i)
        else:
            targets[i] = len(allocations) + step
    return targets, allocations


def _size_of(program: Program, allocations: Sequence[int], target: int) -> int:
    size = program[allocations[target]]
    assert size is not None
    return size


def _possible(program: Program) -> bool:
    """Whether each block goes once at most, and came before."""
    targets, _ = _targets(program)
    found = list(targets.values())
    return len(set(found)) == len(found) and all(target >= 0 for target in found)
