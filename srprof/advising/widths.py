"""What other widths of a network would take on a device, from a trace of each; nothing runs there.

A width is a hyper-parameter: an argument of the SPEC's factory that is a whole number. Which of
them are widths, traces say: with another value the same calls are made and the same results come,
and convolutions or linear layers have other channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from srprof.advising.record import Width, Widths
from srprof.cost.profiles import Profile
from srprof.errors import InputError, ModelError, SrprofError, user_raised
from srprof.failures import failure
from srprof.ops import row
from srprof.progress import Progress, silent
from srprof.ranges import parse_values
from srprof.records import Trace
from srprof.timeout import limited
from srprof.words import hint, one_line

if TYPE_CHECKING:
    from srprof.workload import Workload

OPTION = "--widths"
#: Smaller numbers are scales and counts more often than widths.
_LEAST = 8
#: Multiples that libraries fill channels up to, and people do.
_BELOW, _ABOVE = 16, (8, 16, 32)
_MEND = "name a factory that takes widths, as net.py:Net with def __init__(self, nf=48)"


class Trials:
    """Traces a network at other values of its hyper-parameters.

    Its code is imported once, and the run that is recorded already is that of the present values.
    """

    def __init__(self, workload: Workload, trace: Trace, trace_on: str, profile: Profile) -> None:
        self._workload = workload
        self._trace = trace
        self._trace_on = trace_on
        self._profile = profile
        self._known = workload.hyper_parameters()
        self._now = self._row(0, workload.spec, trace)

    def tried(
        self, asked: tuple[str, tuple[int, ...]] | None, progress: Progress = silent
    ) -> tuple[Widths, ...]:
        """The values that are asked for, as `read_widths` has them; else those around each width.

        Raises:
            InputError: the network has no such hyper-parameter.
            ModelError, InputError: as of the first, if the network can be built at none of them.
        """
        return tuple(self._around()) if asked is None else (self._table(*asked, progress),)

    def _table(self, name: str, values: Sequence[int], progress: Progress) -> Widths:
        present = self._value_of(name)
        rows, first = [self._present(present)], None
        others = sorted({*values} - {present})
        for done, value in enumerate(others):
            progress(f"widths of {self._workload.name}", done, len(others))
            try:
                rows.append(self._traced(name, value)[0])
            except SrprofError as error:
                first = first or error
                rows.append(Width(value, error=one_line(error)))
        found = _sorted(name, present, rows)
        if first is not None and len(found.built) == 1:
            raise first
        return found

    def _around(self) -> Iterator[Widths]:
        """Of each hyper-parameter that is a width, multiples of 8, 16 and 32 around it."""
        for name, present in self._known.items():
            if _is_whole(present) and present >= _LEAST:
                rows = self._nearest(name, present)
                if rows:
                    yield _sorted(name, present, [*rows, self._present(present)])

    def _nearest(self, name: str, present: int) -> list[Width]:
        """[] as soon as one shows that it is no width; what cannot be built shows nothing."""
        rows = []
        for value in nearest(present):
            try:
                found, trace = self._traced(name, value)
            except (InputError, ModelError):
                continue
            if not is_width(self._trace, trace):
                return []
            rows.append(found)
        return rows

    def _value_of(self, name: str) -> int:
        """The present value; an InputError if the network has no such width."""
        if not self._known:
            raise InputError(f"{OPTION}: {self._workload.spec} takes no arguments; {_MEND}")
        if name not in self._known:
            what = f"{self._workload.name} has no hyper-parameter {name!r}"
            raise InputError(f"{OPTION}: {what}; {hint(name, self._known)}")
        value = self._known[name]
        if not _is_whole(value):
            whole = ", ".join(name for name, value in self._known.items() if _is_whole(value))
            what = f"{name} is {value!r} here, and no whole number"
            raise InputError(f"{OPTION}: {what}; those that are: {whole or 'none'}")
        return int(value)

    def _traced(self, name: str, value: int) -> tuple[Width, Trace]:
        """A row and its trace; whatever the network raises is an error of srprof's."""
        from srprof.tracing.run import run_trace

        try:
            with limited(f"{self._workload.name} with {name}={value}"):
                workload = self._workload.with_hyper_parameter(name, value)
                trace = run_trace(workload, self._trace_on, holders=False)
                return self._row(value, workload.spec, trace), trace
        except user_raised() as raised:  # wherever it came from: one row, not the table
            raise failure(raised) from raised

    def _present(self, value: int) -> Width:
        """The row of the run that is there, for a hyper-parameter with this value."""
        return replace(self._now, value=value)

    def _row(self, value: int, spec: str, trace: Trace) -> Width:
        from srprof.analysis import analyze

        analysis = analyze(trace, profile=self._profile)
        latency, counts = analysis.latency, analysis.complexity
        assert latency is not None
        return Width(
            value,
            spec=spec,
            latency_ms=1e3 * latency.seconds,
            uncertainty_ms=1e3 * latency.uncertainty,
            allocated=analysis.simulation.peak_allocated,
            params=counts.parameters,
            flops=counts.flops_ntire,
            macs=counts.macs,
            same_size=trace.result_shape == self._trace.result_shape,
        )


def read_widths(text: str) -> tuple[str, tuple[int, ...]]:
    """`nf=32..80`: a hyper-parameter and its values; an InputError for all but whole numbers."""
    name, values = parse_values(text, OPTION)
    wrong = next((value for value in values if not _is_whole(value) or value < 1), None)
    if wrong is not None:
        mend = "write whole numbers of at least 1, nf=32..80 or nf=32..80:8"
        raise InputError(f"{OPTION} {text!r}: {wrong!r} is no width; {mend}")
    return name, values


def _sorted(name: str, present: int, rows: Sequence[Width]) -> Widths:
    return Widths(name, present, tuple(sorted(rows, key=lambda row: row.value)))


def nearest(width: int) -> tuple[int, ...]:
    """Widths to try beside one: the next whole numbers of vectors and tiles."""
    below = (width - 1) // _BELOW * _BELOW or _LEAST
    above = {(width // step + 1) * step for step in _ABOVE}
    return tuple(sorted({below, *above} - {width}))


def is_width(before: Trace, after: Trace) -> bool:
    """Whether what tells two traces apart is how many channels their layers have."""
    same = [node.op for node in before.nodes] == [node.op for node in after.nodes]
    if not same or before.result_shape != after.result_shape:
        return False
    return _channels(before) != _channels(after)


def _channels(trace: Trace) -> list[tuple[int, ...]]:
    """Of convolutions' maps and filters, and of the weights that matrices are multiplied by."""
    return [
        info.shape[:2]
        for node in trace.nodes
        if row(node.op).product is not None
        for info in node.inputs
        if len(info.shape) > 1
        and (node.op == "convolution" or trace.storages[info.storage].resident)
    ]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
