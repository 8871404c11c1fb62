"""The largest flow through a network of pipes, which is its smallest cut (Dinic 1970)."""

from __future__ import annotations

from collections import deque
from itertools import pairwise


class Pipes:
    """Nodes are numbers; between two of them there is room for so much."""

    def __init__(self) -> None:
        self._room: dict[int, dict[int, int]] = {}

    def add(self, start: int, end: int, room: int) -> None:
        """Lay a pipe, beside those that are there."""
        there = self._room.setdefault(start, {})
        there[end] = there.get(end, 0) + room
        self._room.setdefault(end, {}).setdefault(start, 0)

    def flow(self, source: int, sink: int) -> int:
        """The most that flows from the source to the sink; the pipes are left with what remains."""
        total = 0
        if source in self._room and sink in self._room:
            while sink in (levels := self._levels(source, sink)):
                total += self._fill(source, sink, levels)
        return total

    def _levels(self, source: int, sink: int) -> dict[int, int]:
        """How many pipes with room lie between the source and each node that is reached."""
        levels, ahead = {source: 0}, deque([source])
        while ahead and sink not in levels:
            node = ahead.popleft()
            for following, room in self._room[node].items():
                if room and following not in levels:
                    levels[following] = levels[node] + 1
                    ahead.append(following)
        return levels

    def _fill(self, source: int, sink: int, levels: dict[int, int]) -> int:
        """Send what fits through the shortest ways, until none of them is left."""
        total, way = 0, [source]
        left = {node: list(self._room[node]) for node in levels}  # pipes not yet given up
        while way:
            if way[-1] == sink:
                sent = min(self._room[start][end] for start, end in pairwise(way))
                total += sent
                for start, end in pairwise(way):
                    self._room[start][end] -= sent
                    self._room[end][start] += sent
                way = [source]
                continue
            node, pipes = way[-1], left[way[-1]]
            while pipes and not (
                self._room[node][pipes[-1]] and levels.get(pipes[-1]) == levels[node] + 1
            ):
                pipes.pop()
            if pipes:
                way.append(pipes[-1])
                continue
            way.pop()
            if way:
                left[way[-1]].pop()
        return total
