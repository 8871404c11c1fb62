"""The search: edits are added as long as the peak falls, and those that turn out needless dropped.

Every step is a replay of the record with all edits that were chosen, so a saving that is stated is
that of the edits before it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from srprof.advising.candidate import STAGES, Candidate, Suggestion
from srprof.advising.replay import Move, Replay
from srprof.progress import Progress, silent
from srprof.records import Trace

#: Bytes at each node of a record.
Levels = Callable[[Trace], Sequence[int]]
#: Edits that may lower the level of the current record's node.
Propose = Callable[[Replay, int], Iterable[Candidate]]

#: Combinations of edits that are tried to find the fewest for a budget.
_MOST_COMBINATIONS = 1500


class Outcome(NamedTuple):
    """The peak of a record, how many nodes reach it, the first of them (-1 without nodes)."""

    nbytes: int
    nodes: int
    node: int
    replay: Replay


@dataclass
class Search:
    """The records that edits give, each made once.

    Attributes:
        base: the run as it was recorded.
        levels: what is to be low, by the nodes' places, whatever their index.
        stopped_at: where `find` found nothing more.
        progress: called with how many edits were found and how many combinations tried.
    """

    base: Replay
    levels: Levels
    stopped_at: Outcome | None = None
    progress: Progress = silent
    _known: dict[tuple[Candidate, ...], Replay | None] = field(default_factory=dict)
    _outcomes: dict[frozenset[Candidate], Outcome | None] = field(default_factory=dict)

    def replay(self, chosen: Sequence[Candidate]) -> Replay | None:
        """The record with these edits, None if they are not legal together."""
        ordered = sorted(chosen, key=lambda candidate: STAGES[candidate.kind])
        return None if _overlap(chosen) else self._made(tuple(ordered))

    def _made(self, ordered: tuple[Candidate, ...]) -> Replay | None:
        if not ordered:
            return self.base
        if ordered not in self._known:
            before = self._made(ordered[:-1])
            self._known[ordered] = None if before is None else ordered[-1].edit.apply(before)
        return self._known[ordered]

    def outcome(self, chosen: Sequence[Candidate]) -> Outcome | None:
        """The peak with these edits, None if they are not legal together."""
        key = frozenset(chosen)
        if key not in self._outcomes:
            replay = self.replay(chosen)
            self.progress("combinations of edits tried", len(self._outcomes), len(self._outcomes))
            self._outcomes[key] = None if replay is None else self._measured(replay)
        return self._outcomes[key]

    def _measured(self, replay: Replay) -> Outcome:
        levels = self.levels(replay.trace)
        most = max(levels, default=0)
        first = next((i for i, level in enumerate(levels) if level == most), -1)
        return Outcome(most, sum(level == most for level in levels), first, replay)

    def find(self, propose: Propose) -> list[Candidate]:
        """Edits, chosen one by one, each the one that lowers the peak the most then.

        Where none does, two together may: one that changes where the peak is, and one there.
        """
        chosen: list[Candidate] = []
        while True:
            now = self.outcome(chosen)
            if now is None or now.node < 0:
                return chosen
            found, neutral = self._best(chosen, [], now, propose(now.replay, now.node))
            for first in () if found else neutral:
                after = self.outcome([*chosen, first])
                if after is None:
                    continue
                pair, _ = self._best(chosen, [first], now, propose(after.replay, after.node))
                if pair is not None and (found is None or pair[0] < found[0]):
                    found = pair
            if found is None:
                self.stopped_at = now
                return self._in_turn(chosen, now.nbytes) or []
            chosen += found[1]

    def _best(
        self,
        chosen: Sequence[Candidate],
        first: Sequence[Candidate],
        now: Outcome,
        proposed: Iterable[Candidate],
    ) -> tuple[tuple[tuple[int, ...], list[Candidate]] | None, list[Candidate]]:
        """The proposed edit after which the peak is lowest, and those that leave its height.

        None if it is not lower than now. `first` goes along with each.
        """
        best: tuple[tuple[int, ...], list[Candidate]] | None = None
        neutral = []
        for candidate in proposed:
            after = self.outcome([*chosen, *first, candidate])
            if after is None or after.nbytes > now.nbytes:
                continue
            if after[:2] >= now[:2]:
                neutral.append(candidate)
                continue
            key = (*after[:2], STAGES[candidate.kind], candidate.line)
            if best is None or key < best[0]:
                best = key, [*first, candidate]
        return best, neutral

    def in_order(self, chosen: Sequence[Candidate]) -> list[Suggestion]:
        """The edits by what each saves when those before it are made, the largest first."""
        start = self.outcome([])
        assert start is not None
        peak, left = start.nbytes, list(chosen)
        done: list[Candidate] = []
        steps: list[Suggestion] = []
        while left:
            outcomes = [self.outcome([*done, candidate]) for candidate in left]
            possible = [(o[:2], i) for i, o in enumerate(outcomes) if o is not None]
            at = min(possible)[1] if possible else 0
            after, candidate = outcomes[at], left.pop(at)
            done.append(candidate)
            lower = peak if after is None else after.nbytes
            steps.append(Suggestion(candidate, peak - lower, lower))
            peak = lower
        return steps

    def fewest(self, chosen: Sequence[Candidate], budget: int) -> list[Candidate] | None:
        """The fewest of the edits whose peak is within a budget; None if even all are not."""
        counts = range(len(chosen) + 1)
        choices = (some for count in counts for some in combinations(chosen, count))
        for tried, some in enumerate(choices):
            if tried == _MOST_COMBINATIONS:
                return self._in_turn(chosen, budget)
            if self._reaches(some, budget):
                return list(some)
        return None

    def _reaches(self, chosen: Sequence[Candidate], budget: int) -> bool:
        """Whether the peak with these edits is within a budget."""
        outcome = self.outcome(chosen)
        return outcome is not None and outcome.nbytes <= budget

    def _in_turn(self, chosen: Sequence[Candidate], budget: int) -> list[Candidate] | None:
        """As many of the edits, the most saving first, as the budget needs; None if all do not do.

        Without those that the rest reach the budget without.
        """
        steps = self.in_order(chosen)
        needed = next((n for n, step in enumerate(steps, 1) if step.peak_after <= budget), None)
        if needed is None:
            return None
        kept = [step.candidate for step in steps[:needed]]
        for candidate in reversed(kept):
            rest = [c for c in kept if c is not candidate]
            if self._reaches(rest, budget):
                kept = rest
        return kept


def _overlap(chosen: Sequence[Candidate]) -> bool:
    """Whether two moves have a statement in common, so that no order of them is the right one."""
    places = [
        (candidate.file, line)
        for candidate in chosen
        if isinstance(candidate.edit, Move)
        for line in {s.line for s in (candidate.edit.moved, *candidate.edit.crossed)}
    ]
    return len(set(places)) < len(places)
