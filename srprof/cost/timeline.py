"""What the device waits for its host: the host runs ahead, until it needs a result.

On a device with a `gap` kernels follow each other at it while the host is ahead, so that a network
takes the longer of what the device needs and what the host needs to launch it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from srprof.cost.node import NodeEstimate
from srprof.cost.profiles import Profile


def waiting(nodes: Sequence[NodeEstimate], profile: Profile) -> Sequence[NodeEstimate]:
    """The nodes with what the device waits for the host, at those that the host is busy with."""
    steps = [(node.seconds, node.host, node.cost.drains) for node in nodes]
    return [
        replace(node, overhead=node.overhead + wait, wait=wait) if wait else node
        for node, wait in zip(nodes, waits(steps, profile), strict=True)
    ]


def waits(steps: Sequence[tuple[float, float, bool]], profile: Profile) -> list[float]:
    """What the device waits at each node: of its seconds, its host's, and whether that then waits.

    The host launches ahead of the device, and catches up where it needs a result.
    """
    waited = [0.0] * len(steps)
    if profile.gap is None:
        return waited
    busy: deque[tuple[int, float]] = deque()  # what the host did since the device last waited
    host = device = 0.0
    for index, (seconds, launching, drains) in enumerate(steps):
        host += launching
        busy.append((index, host))
        if seconds:
            begins = max(host, device)
            _share_out(waited, busy, device, begins)
            device = begins + seconds
        if drains:
            host = max(host, device)
            busy.clear()
    _share_out(waited, busy, device, host)
    return waited


def _share_out(
    waited: list[float], busy: deque[tuple[int, float]], idle: float, until: float
) -> None:
    """Give the time in which the device was idle to the nodes that the host was busy with."""
    while busy:
        index, end = busy.popleft()
        if end > idle:
            waited[index] += min(end, until) - idle
            idle = min(end, until)
