"""Run the checks, and hold what they give against limits and the baseline.

Each model is traced once. What is decided (`judge`) is a pure function of figures, so that it is
tested without a model; torch is loaded by `observe` only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from srprof import figures
from srprof._version import __version__
from srprof.analysis.record import AnalysisRecord, NodeRecord
from srprof.codec import pick
from srprof.compare.diff import Diff, difference, explain_peak, explain_tensor, sketch
from srprof.errors import InputError, ModelError, user_raised
from srprof.failures import failure
from srprof.gate import baseline as baselines
from srprof.gate.baseline import Baseline, Entry, Excerpt, described
from srprof.gate.changes import Changes, NoChanges, said
from srprof.gate.config import Check, Config, Settings
from srprof.operators.known import using_ops
from srprof.paths import place, working_in
from srprof.quantities import Growth, Kind, format_quantity
from srprof.timeout import limited
from srprof.words import mib_size, signed_size

UPDATE = "run `srprof check --update` and commit the baseline"


def depends() -> Mapping[str, frozenset[str]]:
    """What else a metric depends on: a baseline that differs in it is not compared in these.

    Counts come from the layers that are called, and not from the ops that torch makes of them.
    """
    every = frozenset(figures.names())
    peaks = frozenset(figures.peak_names())
    of_ops = peaks | {"macs", "fvcore_flops", "latency_ms"}
    of_rules = every - {"params", "net"}
    of_allocator = frozenset(peak.name for peak in figures.peaks() if peak.least is not None)
    return {
        "torch": of_ops,
        "srprof": of_rules,
        "CUBLAS_WORKSPACE_CONFIG": of_allocator,
        **dict.fromkeys(("traced_on", "trace_on", "channels_last"), of_ops),
        "dtype": peaks | {"net", "latency_ms"},
        "inputs": of_rules,
        **dict.fromkeys(("protocol", "sizes", "allocator"), of_allocator),
        "profile": frozenset({"latency_ms"}),
        "weights": frozenset(),
        "model": every,
    }


#: Sentences of each kind in an explanation.
_MOST = 6


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of a check in its smallest unit; `compared` if the baseline's value may be."""

    metric: str
    baseline: int | None
    now: int
    limit: int | None = None
    allowed: int = 0
    compared: bool = True

    @property
    def kind(self) -> Kind:
        """What it counts."""
        return figures.find(self.metric).kind

    @property
    def change(self) -> int | None:
        """Now less the baseline; None if they are not compared."""
        return self.now - self.baseline if self.compared and self.baseline is not None else None

    @property
    def over(self) -> bool:
        """Whether it is beyond its limit."""
        return self.limit is not None and self.now > self.limit

    @property
    def grew(self) -> bool:
        """Whether it grew by more than is allowed."""
        return self.change is not None and self.change > self.allowed

    @property
    def shrank(self) -> bool:
        """Whether it went down by more than the tolerance."""
        return self.change is not None and self.change < -self.allowed

    @property
    def fails(self) -> bool:
        """Whether the check fails for it."""
        return self.over or self.grew

    @property
    def verdict(self) -> str:
        """In words."""
        if self.fails:
            return " and ".join(("over the limit",) * self.over + ("grew",) * self.grew)
        if not self.compared:
            return "not compared"
        return "smaller" if self.shrank else "ok"


@dataclass(frozen=True)
class Result:
    """What became of a check.

    Attributes:
        rows: its metrics, in the order of `srprof.figures`.
        problems: why it fails as a whole: the model does not run, or has no entry.
        left_out: in what the baseline is of another environment, and what that leaves out.
        explanation: why the figures changed, or what makes up a peak that is over its limit.
        file, line: the place in the source to point at; "" and 0 if none is known.
        partial: what was left out is a warning only.
        released: what a baseline of another patch release of torch leaves out: a warning always,
            as no line of the user's made it.
        notes: what of the run is not seen.
    """

    name: str
    rows: tuple[Row, ...] = ()
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    partial: bool = False
    notes: tuple[str, ...] = ()
    released: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the gate is closed for it."""
        left_out = bool(self.left_out) and not self.partial
        return bool(self.problems) or left_out or any(row.fails for row in self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not close the gate, and should be known."""
        return (*self.released, *(self.left_out if self.partial else ()))

    @property
    def shrank(self) -> bool:
        """Whether it improved, so that the baseline should be made anew."""
        return any(row.shrank for row in self.rows)

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence for each thing that fails."""
        rows = tuple(describe(row) for row in self.rows if row.fails)
        return (*self.problems, *(() if self.partial else self.left_out), *rows)


@dataclass(frozen=True)
class Report:
    """All checks of a configuration, and entries of the baseline that no check has.

    `updated` says what became of the baseline, and `accepted` in what it differs from the one
    before, a line for each difference.
    """

    results: tuple[Result, ...]
    gone: tuple[str, ...] = ()
    updated: str = ""
    accepted: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the gate is closed."""
        return bool(self.gone) or any(result.failed for result in self.results)

    @property
    def gone_reasons(self) -> tuple[str, ...]:
        """One sentence for each entry that no check has."""
        what = f"is in the baseline and no longer checked: {UPDATE} if that is meant"
        return tuple(f"{name} {what}" for name in self.gone)


def describe(row: Row) -> str:
    """`eager peak grew by +49.61 MiB, from 788.13 MiB to 837.74 MiB (1.00 MiB is allowed)`."""

    def text(value: int, sign: bool = False) -> str:
        return format_quantity(value, row.kind, sign)

    now, parts = text(row.now), []
    if row.over and row.limit is not None:
        over = text(row.now - row.limit)
        parts.append(f"is {now}, over its limit of {text(row.limit)} by {over}")
    if row.change and row.baseline is not None and not (row.over and not row.grew):
        word = "grew" if row.change > 0 else "went down"
        allowed = f" ({text(row.allowed)} is allowed)" if row.grew and row.allowed else ""
        by = text(row.change, True)
        parts.append(f"{word} by {by}, from {text(row.baseline)} to {now}{allowed}")
    return f"{figures.find(row.metric).title} {' and '.join(parts) or 'is ' + now}"


# -- running --------------------------------------------------------------------------------------


def check(config: Config, partial: bool = False) -> Report:
    """Run every check and judge it; a model that does not run is a failed check.

    If `partial`, what a baseline of another environment leaves out is no failure. An InputError if
    the baseline that there is to be is missing or damaged.
    """
    baseline = None if config.baseline is None else baselines.load(config.baseline)
    observed, changed = observe_all(config), Changes(config.folder, config.baseline)
    results = []
    for check, seen in zip(config.checks, observed, strict=True):
        if isinstance(seen, Result):
            results.append(seen)
            continue
        result = judge(check, seen, baseline, versions(seen), changed)
        results.append(replace(result, partial=partial))
    names = {check.name for check in config.checks}
    gone = sorted(set(baseline.entries) - names) if baseline is not None else ()
    return Report(tuple(results), tuple(gone))


def update(config: Config) -> Report:
    """Write the baseline anew, unless a model does not run; an InputError if there is none.

    The report says what is accepted by it: what is not as in the baseline before, old and new.
    """
    if config.baseline is None:
        raise InputError(f"{config.file.name} says baseline = false: there is none to update")
    if not config.baseline.parent.is_dir():
        raise InputError(f"there is no folder {str(config.baseline.parent)!r}; make it first")
    observed = observe_all(config)
    failed = tuple(seen for seen in observed if isinstance(seen, Result))
    if failed:
        return Report(failed, updated=f"{config.baseline.name} is as it was")
    root, entries, results = str(config.folder), {}, []
    for check, seen in zip(config.checks, observed, strict=True):
        assert isinstance(seen, AnalysisRecord)
        trace = baselines.excerpt(seen, root)
        entries[check.name] = Entry(described(check.settings), metrics_of(seen), trace)
        results.append(judge(check, seen, None, {}))
        environment = versions(seen)
    new, old = Baseline(environment, entries), _earlier(config.baseline)
    accepted = tuple(_accepted(old, new, _whys(config, observed, old)))
    baselines.write(new, config.baseline)
    updated = f"{config.baseline.name} has {len(entries)} entries now"
    return Report(tuple(results), updated=updated, accepted=accepted)


def _earlier(path: Path) -> Baseline | str:
    """The baseline before; "" if there is none, and why where it cannot be read."""
    if not path.exists():
        return ""
    try:
        return baselines.load(path)
    except InputError as error:
        return str(error).partition(";")[0]


def _whys(
    config: Config, observed: Sequence[AnalysisRecord | Result], old: Baseline | str
) -> dict[str, tuple[str, ...]]:
    """Why the figures of each check are not as in the baseline before, by its name."""
    if isinstance(old, str):
        return {}
    changed = Changes(config.folder, config.baseline)
    strict = [replace(check, growth={}, limits={}) for check in config.checks]
    return {
        check.name: judge(check, seen, old, versions(seen), changed).explanation
        for check, seen in zip(strict, observed, strict=True)
        if isinstance(seen, AnalysisRecord)
    }


def _accepted(
    old: Baseline | str, new: Baseline, whys: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """In what a baseline differs from the one before, a line for each, and why."""
    if isinstance(old, str):
        if old:
            yield f"what was there is not known: {old}"
        return
    yield from _values("", old.environment, new.environment)
    for name in sorted({*old.entries, *new.entries}):
        was, now = old.entries.get(name), new.entries.get(name)
        if now is None:
            yield f"{name}: no longer checked"
        elif was is None:
            yield f"{name}: new"
        else:
            yield from _values(f"{name}: ", was.settings, now.settings)
            yield from _figures(f"{name}: ", was.metrics, now.metrics)
            yield from (f"{name}: because {why}" for why in whys.get(name, ()))


def _values(head: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{head}{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}"


def _figures(head: str, old: Mapping[str, int], new: Mapping[str, int]) -> Iterator[str]:
    for name in (*new, *sorted(old.keys() - new)):
        was, now = old.get(name), new.get(name)
        if was != now:
            figure = figures.known(name)
            change = "" if was is None or now is None else f" ({_figure(name, now - was, True)})"
            title = name if figure is None else figure.title
            yield f"{head}{title}: {_figure(name, was)} -> {_figure(name, now)}{change}"


def _figure(name: str, value: int | None, sign: bool = False) -> str:
    figure = figures.known(name)
    if value is None or figure is None:  # one of an older srprof
        return "not known" if value is None else str(value)
    return format_quantity(value, figure.kind, sign)


def versions(record: AnalysisRecord) -> dict[str, str]:
    """The versions and variables that figures depend on; torch's without its build."""
    cublas = os.environ.get("CUBLAS_WORKSPACE_CONFIG", "")
    own = {"srprof": __version__, "torch": record.torch.partition("+")[0]}
    return {**own, **({"CUBLAS_WORKSPACE_CONFIG": cublas} if cublas else {})}


def observe_all(config: Config) -> list[AnalysisRecord | Result]:
    """What every check's model gives now, in order, or the check's failed result."""
    traced: dict[Settings, Any] = {}
    observed: list[AnalysisRecord | Result] = []
    with working_in(str(config.folder)), using_ops(*config.ops):
        for check in config.checks:
            try:
                with limited(check.name):
                    observed.append(observe(check.settings, traced))
            except user_raised() as raised:
                error = failure(raised)
                file, line = (error.file, error.line) if isinstance(error, ModelError) else ("", 0)
                text = f"the model does not run: {error}"
                observed.append(Result(check.name, problems=(text,), file=file, line=line))
    return observed


def observe(settings: Settings, traced: dict[Settings, Any]) -> AnalysisRecord:
    """Trace a model, unless it was already for another profile; raises as `analyze` does."""
    from srprof.analysis import analyze

    key = replace(settings, profile=None)
    if key not in traced:
        traced[key] = analyze(settings.call, **pick(settings, "protocol sizes allocator"))
    analysis = traced[key]
    record: AnalysisRecord = analysis.record
    if settings.profile is not None:
        from srprof.analysis.compute import latency_record
        from srprof.cost.estimate import estimate
        from srprof.cost.profiles import load_profile

        latency = latency_record(estimate(analysis.trace, load_profile(settings.profile)))
        record = replace(record, latency=latency)
    return record


def metrics_of(record: AnalysisRecord) -> dict[str, int]:
    """The figures that are known, in the smallest unit of each: bytes, counts, nanoseconds."""
    unknown = {name for part in record.unseen for name in part.figures}
    known = ((f, f.of(record)) for f in figures.FIGURES if f.name not in unknown)
    factors = {"time": 1e6}
    return {f.name: round(v * factors.get(f.kind, 1)) for f, v in known if v is not None}


# -- judging --------------------------------------------------------------------------------------


def judge(
    check: Check,
    record: AnalysisRecord,
    baseline: Baseline | None,
    environment: Mapping[str, str],
    changed: Changes | None = None,
) -> Result:
    """Hold what a check's model gives against the check's limits and the baseline's entry.

    The explanation begins with the lines that `changed`.
    """
    metrics = metrics_of(record)
    entry = baseline.entries.get(check.name) if baseline is not None else None
    problems: tuple[str, ...] = ()
    differing: dict[str, tuple[str, str]] = {}
    if baseline is not None and entry is None:
        problems = (f"it has no entry in the baseline: {UPDATE}",)
    if baseline is not None and entry is not None:
        differing = differences(check.settings, record, entry, baseline.environment, environment)
    apart = {name for key in differing for name in depends().get(key, figures.names())}
    names = [n for n in check.metrics if n in metrics]
    released = {k: v for k, v in differing.items() if k == "torch" and _patch_only(*v)}
    others = {k: v for k, v in differing.items() if k not in released}
    recorded = {} if entry is None else entry.metrics
    rows = tuple(
        Row(
            metric=name,
            baseline=recorded.get(name) if name in check.metrics else None,
            now=value,
            limit=check.limits.get(name),
            allowed=check.growth.get(name, Growth()).allowed(recorded.get(name, 0)),
            compared=name not in apart,
        )
        for name, value in metrics.items()
        if name in check.metrics or name in check.limits
    )
    problems += tuple(_unsaid(check, record, {**recorded, **check.limits}.keys() - metrics))
    notes = tuple(part.text for part in record.unseen)
    result = Result(
        check.name,
        rows,
        problems,
        tuple(_left_out(others, names)),
        notes=notes,
        released=tuple(_left_out(released, names)),
    )
    before = None if entry is None or baseline is None else (entry, baseline.environment)
    return _explained(result, record, before, changed or NoChanges())


def _unsaid(check: Check, record: AnalysisRecord, missing: Set[str]) -> Iterator[str]:
    """A sentence for each figure that is limited or recorded and cannot be said of this run."""
    for part in record.unseen:
        names = [
            n for n in part.figures if n in missing and (n in check.metrics or n in check.limits)
        ]
        if names:
            titles = ", ".join(figures.find(name).title for name in names)
            yield f"{titles} cannot be checked: {part.text}"


def differences(
    settings: Settings,
    record: AnalysisRecord,
    entry: Entry,
    before: Mapping[str, str],
    now: Mapping[str, str],
) -> dict[str, tuple[str, str]]:
    """What a baseline's entry was made with otherwise than now: its value and ours."""
    was = {**entry.settings, **before, "traced_on": entry.trace.traced_on}
    ours = {**described(settings), **now, "traced_on": record.traced_on}
    keys = [key for key in depends() if was.get(key) != ours.get(key)]
    keys += sorted(k for k in was if k not in depends() and was[k] != ours.get(k))
    return {key: (_shown(was.get(key)), _shown(ours.get(key))) for key in keys}


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "the default" if value is None else str(value)


def _patch_only(was: str, now: str) -> bool:
    """Whether two versions of torch differ in their last number alone: 2.13.0 and 2.13.1."""
    first, second = was.split("."), now.split(".")
    return len(first) == len(second) == 3 and first[:2] == second[:2]


def _left_out(differing: Mapping[str, tuple[str, str]], metrics: Iterable[str]) -> Iterable[str]:
    for key, (was, ours) in differing.items():
        lost = [name for name in metrics if name in depends().get(key, figures.names())]
        if lost:
            what = f"the baseline is of another {key} ({was}, now {ours})"
            mend = f"{UPDATE}, or check with {key} as it was"
            yield f"{what}, so these were not compared: {', '.join(lost)}; {mend}"


# -- explaining -----------------------------------------------------------------------------------


def _explained(
    result: Result,
    record: AnalysisRecord,
    before: tuple[Entry, Mapping[str, str]] | None,
    edits: Changes,
) -> Result:
    """The result with why its figures changed and where to look."""
    changed = [row.metric for row in result.rows if row.fails or row.shrank]
    if not changed:
        return result
    lines: list[str] = []
    places: list[tuple[str, int]] = []
    moved = [row for row in result.rows if row.grew or row.shrank]
    if before is not None and moved:
        changes = difference(baselines.sketch(*before), sketch(record))
        peaks = [row.metric for row in moved if row.metric in figures.peak_names()]
        if peaks:
            lines += explain_peaks(changes, peaks, edits)
            live = [t.live for t in changes.tensors if t.difference > 0]
            places += [(tensor.file, tensor.line) for tensor in live]
        if any(row.metric not in (*figures.peak_names(), "net") for row in moved):
            steps = explain_steps(before[0].trace, record)
            steps.sort(key=lambda step: step[1:] not in edits)
            lines += [text for text, _, _ in steps]
            places += [(file, line) for _, file, line in steps]
        after = (changes.peak(name).after for name in peaks)
        places += [(node.file, node.line) for node in after if node is not None]
    over = [row.metric for row in result.rows if row.over and row.metric in figures.peak_names()]
    if over and not lines:
        lines += explain_now(record, over[0])
        places += [(held.file, held.line) for held in record.memory.held_at_peak]
        node = _peak_node(record, over[0])
        places += [(node.file, node.line)] if node else []
    places = [(f, n) for f, n in places if f and n]
    files = [file for file, _ in places] + [node.file for node in record.nodes if node.file]
    edited = edits.first(places, files)
    lines = [*([said(edited)] if edited else []), *lines]
    places = [*edited, *places]
    file, line = next(iter(places), ("", 0))
    return replace(result, explanation=tuple(lines), file=file, line=line)


def explain_peaks(
    changes: Diff, metrics: Sequence[str], changed: Changes | None = None
) -> list[str]:
    """How peaks changed, and what came to the eager peak and went from it.

    Tensors of lines that `changed` stand before those of lines that only repeat it.
    """
    others = [name for name in metrics if name != "eager" and changes.peak(name).moved]
    lines = [explain_peak(changes.peak(name)) for name in ("eager", *others)]
    if changes.net.difference:
        lines.append(f"parameters and buffers: {signed_size(changes.net.difference)}")
    known = changed or NoChanges()
    tensors = sorted(changes.tensors, key=lambda c: (c.live.file, c.live.line) not in known)
    return [*lines, *_first([explain_tensor(change) for change in tensors], "tensors")]


def explain_steps(excerpt: Excerpt, record: AnalysisRecord) -> list[tuple[str, str, int]]:
    """Steps that came and went, and large ones that cost otherwise: a sentence, its file, line."""
    nodes = record.nodes
    after = [baselines.digest(baselines.step(node)) for node in nodes]
    matcher = SequenceMatcher(None, excerpt.digests, after, autojunk=False)
    came: list[NodeRecord] = []
    went = 0
    same: dict[int, NodeRecord] = {}
    for tag, start, stop, start_after, stop_after in matcher.get_opcodes():
        if tag == "equal":
            same.update(zip(range(start, stop), nodes[start_after:stop_after], strict=True))
        else:
            came += nodes[start_after:stop_after]
            went += stop - start
    came.sort(key=lambda node: -(node.macs or 0))
    lines = [(f"new: {_node(node)}", node.file, node.line) for node in came[:_MOST]]
    if len(came) > _MOST:
        lines.append((f"and {len(came) - _MOST} more new steps", "", 0))
    if went:
        lines.append((f"{went} steps of the baseline are no longer there", "", 0))
    for row in excerpt.nodes:
        node = same.get(row.index)
        if node is not None and node.macs != row.macs:
            lines.append((f"{_node(node)}, was {row.macs or 0:,}", node.file, node.line))
    return lines


def _node(node: NodeRecord) -> str:
    at, macs = place(node.file, node.line), f"{node.macs:,} MACs" if node.macs else ""
    return ", ".join(filter(None, (f"node {node.index} {node.step}", at, macs)))


def explain_now(record: AnalysisRecord, peak: str) -> list[str]:
    """Where a peak is, what is held at the eager one, and what letting that go would save."""
    node = _peak_node(record, peak)
    lines = [f"the peak is at {_node(node)}"] if node else []
    sentences = [
        f"`{held.variable}` in {held.function}, line {held.line}, is held at the peak "
        f"though nothing needs it any more, {mib_size(held.bytes)}"
        for held in record.memory.held_at_peak
    ]
    lines += _first(sentences, "variables")
    best = max(record.memory.releases, key=lambda release: release.saving, default=None)
    if best is not None and best.saving > 0:
        saved = mib_size(best.saving)
        lines.append(f"releasing `{best.variable}` after its last use would save {saved}")
    return lines


def _peak_node(record: AnalysisRecord, peak: str) -> NodeRecord | None:
    return record.node(record.memory.peak_node.get(peak))


def _first(lines: Sequence[str], noun: str) -> list[str]:
    rest = len(lines) - _MOST
    return [*lines[:_MOST], *([f"and {rest} more {noun}"] if rest > 0 else [])]


def check_model(
    model: Any, inputs: Sequence[Any], memory: str, limit: int, **options: Any
) -> tuple[Row, tuple[str, ...]]:
    """A model's peak against a limit in bytes, with the explanation if it is over."""
    peak = figures.find_peak(memory)
    from srprof.analysis import analyze

    record = analyze(model, *inputs, **options).record
    row = Row(peak.name, None, record.memory.peak[peak.name], limit)
    return row, tuple(explain_now(record, peak.name)) if row.over else ()
