"""Which form pays on a device: forms are tried by what is predicted of the whole network in each.

Nothing is run but the recording of a call, as for `srprof analyze`. A form that takes longer, or
more memory, than the network as it is, is never chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from srprof.analysis import Analysis, analyze
from srprof.cost.profiles import Profile
from srprof.leaning.capture import Captured, Kwargs, stand_in
from srprof.leaning.filling import own_widths
from srprof.leaning.forming import FORMING, Form, formed
from srprof.leaning.levels import LEVELS, Objective
from srprof.leaning.module import Lean
from srprof.leaning.plan import Plan, flatten, planner
from srprof.leaning.rewriting import fusions
from srprof.placing import copy_model
from srprof.tracing.run import run_trace
from srprof.workload import Workload

#: Channels are filled up to multiples of these.
_MULTIPLES = (8, 16, 32, 64)
#: A width is filled to less than twice as many channels, or to so many.
_SMALL = 16
#: By so much a form must be better to be another.
_LEAST = 0.002
#: Calls above which each width is not tried by itself.
_MANY_CALLS = 600
#: Weight of what is not asked for.
_ASIDE = 0.02
#: The first GPUs that `torch.compile` makes kernels for.
_COMPILES = (7, 0)
#: What is tried the other way; steps only where one is a kernel.
_SWITCHES = ("whole", "compact", "biases", "steps", "layout")


@dataclass(frozen=True)
class Choice:
    """A form, the passes that make it in order, and calls before which channels had to end."""

    form: Form
    passes: tuple[str, ...]
    ended: tuple[str, ...] = ()


class Trials:
    """Plans of a network, and what is predicted of a call of each; each once.

    Args:
        network, captured, args, kwargs: as for `planner`.
        before: the analysis of the network as it is.
    """

    def __init__(
        self,
        workload: Workload,
        network: nn.Module,
        captured: Captured,
        args: Sequence[Any],
        kwargs: Kwargs,
        before: Analysis,
    ) -> None:
        self.workload, self.before = workload, before
        self.network, self.captured, self._call = network, captured, (args, kwargs)
        self._planners: dict[str, Callable[[tuple[str, ...]], Plan]] = {}
        self._scores: dict[tuple[str, tuple[str, ...]], tuple[float, float]] = {}

    @property
    def profile(self) -> Profile:
        """The device's."""
        assert self.before.profile is not None
        return self.before.profile

    def module(self, form: Form | None, passes: tuple[str, ...], level: str) -> Lean:
        """The network with a plan in this form."""
        key = repr(form)
        with self.workload.environment(), torch.no_grad():
            if key not in self._planners:
                args, kwargs = self._call
                self._planners[key] = planner(self.network, self.captured, args, kwargs, form)
            plan = self._planners[key](passes)
        module = Lean(self.network, level, passes, form)
        module.plans = [plan]
        return module

    def analysis(self, module: nn.Module, holders: bool = True) -> Analysis:
        """The analysis of another module in the call, which keeps what it has from earlier ones."""
        leaves, _ = flatten(*self._call)

        def build(device: str) -> nn.Module:
            twin = copy_model(module, device)
            if isinstance(twin, Lean):
                twin.keep([stand_in(leaf, device) for leaf in leaves])
            return twin

        trace = run_trace(replace(self.workload, build=build), holders=holders)
        return analyze(trace, profile=self.before.profile)

    def score(self, form: Form | None, passes: tuple[str, ...]) -> tuple[float, float]:
        """Time and peak, as shares of the network's as it is."""
        key = repr(form), passes
        if key not in self._scores:
            module = self.module(form, passes, "equivalent")
            self._scores[key] = shares(self.before, self.analysis(module, holders=False))
        return self._scores[key]


def shares(before: Analysis, after: Analysis) -> tuple[float, float]:
    """Predicted time and allocated peak of one analysis, as shares of another's."""
    times = [found.latency.seconds for found in (before, after) if found.latency is not None]
    peaks = [found.peaks["allocated"].nbytes for found in (before, after)]
    return times[1] / times[0] if times[0] else 1.0, peaks[1] / peaks[0]


def choose(trials: Trials, passes: tuple[str, ...], objective: Objective = "both") -> Choice:
    """The form that pays most of those that are tried, and the passes with which it does."""
    graph = trials.captured.graph
    whole = tuple(name for name in passes if name != "split-fusion")
    plain = tuple(name for name in whole if name != "schedule")

    def worth(form: Form | None, chosen: tuple[str, ...] = plain) -> float:
        return _worth(*trials.score(form, chosen), objective)

    best: Form = min(_first(trials), key=worth)
    switches = [n for n in _SWITCHES if n != "steps" or _compiles(trials.profile)]
    for other in _others(best, own_widths(graph) if _is_small(trials) else (), switches):
        tried = other(best)
        if tried != best and worth(tried) < worth(best) * (1 - _LEAST):
            best = tried
    splits = "split-fusion" in passes and bool(fusions(graph))
    if splits and worth(best, passes) < worth(best, whole) * (1 - _LEAST):
        whole = passes
    exact = LEVELS["exact"]
    others = [(best, whole), (Form(constants=True), exact), (Form(), whole), (Form(), exact)]
    best, whole = min(others, key=lambda one: round(worth(*one), 4))
    names = tuple(name for name in FORMING if best.has(name))
    return Choice(best, (*whole, *names), formed(graph, best, trials.captured.known).ended)


def _worth(time: float, peak: float, objective: Objective) -> float:
    """How good a form is; the less, the better."""
    if objective == "time":
        return float(time * peak**_ASIDE)
    if objective == "memory":
        return float(peak * time**_ASIDE)
    return time * peak * max(1.0, time, peak) ** 4  # neither is to be paid for by the other


def _first(trials: Trials) -> Iterator[Form]:
    """Forms to begin with."""
    plain = Form(constants=True, steps=_compiles(trials.profile))
    yield plain
    yield replace(plain, layout=True)
    widths = own_widths(trials.captured.graph)
    for multiple in _MULTIPLES:
        wider = {n: up for n in widths for up in [_up(n, multiple)] if up in _options(n)}
        for layout in (True, False):
            yield replace(plain, layout=layout, widths=wider, biases=True, whole=layout)


def _compiles(profile: Profile) -> bool:
    """Whether a step is one kernel there: a CPU, and an older GPU, runs its calls one by one."""
    return (profile.capability or (0, 0)) >= _COMPILES


def _others(
    best: Form, widths: Sequence[int], switches: Sequence[str]
) -> Iterator[Callable[[Form], Form]]:
    """What to try in a form that is the best so far, one after the other."""
    for width in sorted(widths, reverse=True):
        for option in _options(width):
            yield lambda form, n=width, to=option: form.wider(n, to)  # type: ignore[misc]  # bound now
    for name in switches:
        yield lambda form, name=name: replace(form, **{name: not getattr(form, name)})  # type: ignore[misc]  # bound now


def _options(width: int) -> tuple[int, ...]:
    """Channels that a width may be given, its own among them."""
    options = {width, *(_up(width, multiple) for multiple in _MULTIPLES)}
    return tuple(sorted(n for n in options if n < 2 * width or n <= _SMALL))


def _up(width: int, multiple: int) -> int:
    return -(-width // multiple) * multiple


def _is_small(trials: Trials) -> bool:
    return len(trials.before.trace.nodes) <= _MANY_CALLS


def without(form: Form, passes: Sequence[str]) -> Form:
    """A form with what these passes make of it alone."""
    empty: Mapping[str, Any] = {"widths": {}}
    off = {name: empty.get(name, False) for name in FORMING if name not in passes}
    return replace(form, **off)
