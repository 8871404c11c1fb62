"""One network of a repository, predicted in a process of its own.

Modules of two networks may be called the same, an import may crash, a call may not end: none of
that may end an audit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from srprof import apart
from srprof.auditing.record import Construction, Predicted, Taken
from srprof.call import Call
from srprof.codec import JsonObject, decode, encode
from srprof.errors import ModelError, user_raised
from srprof.failures import failure
from srprof.memory.cudnn import POINTWISE, TENSOR_CORES
from srprof.memory.workspace import NO_TABLE
from srprof.paths import below
from srprof.protocol import read_sizes
from srprof.timeout import limited, timeout
from srprof.words import one_line

if TYPE_CHECKING:
    from srprof.analysis import Analysis
    from srprof.records import Program
    from srprof.workload import Workload

#: What may hold on a GPU that nobody named: profile and workspace of `srprof.analyze`.
#: On Hopper and later cuBLAS keeps 32 MiB, before it 8.125.
RULES: Mapping[str, tuple[str | None, str]] = {
    TENSOR_CORES: (None, TENSOR_CORES),
    POINTWISE: (None, POINTWISE),
    "hopper": ("h100", NO_TABLE),
}
#: Seconds that the process has to answer after its network's time is over.
_GRACE = 30.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one network.

    Attributes:
        repository: folder; script: from there, the file with `select_model`; number: for that.
        flops: the figure that counts. counts, runtime: heights and widths of images. memory: shape
            of the largest.
        profile: of the runtime and of the scratch. workspace: as `srprof.analyze` takes it.
        listed: run a list of images before the largest, as the challenge's script does.
        elsewhere: further profiles of the memory. rules: of `RULES`, for a GPU that nobody named.
        seconds: that the network's code may take; None is no limit.
    """

    repository: str
    script: str
    number: int
    flops: str
    counts: tuple[int, int]
    memory: tuple[int, ...]
    runtime: tuple[int, int]
    profile: str | None
    workspace: str | None = None
    listed: bool = False
    elsewhere: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    seconds: float | None = None


def ask(question: Question) -> Predicted:
    """The answer of a process of its own; a ModelError, in a line, says why there is none."""
    wait = None if question.seconds is None else 2 * question.seconds + _GRACE
    return decode(Predicted, apart.ask(__name__, asdict(question), wait, Path(question.repository)))


def predict(question: Question) -> Predicted:
    """The figures of a network, in this process; raises whatever stands in the way."""
    from srprof.analysis import Analysis, analyze
    from srprof.analysis.run import runs_at
    from srprof.challenge.script import is_tiled
    from srprof.tracing.run import run_trace
    from srprof.workload import resolve

    spec = f"srprof.challenge.script:network('.', {question.number}, {question.script!r})"
    gpu = partial(analyze, profile=question.profile, workspace=question.workspace)
    with limited(f"network {question.number}"):
        workload = resolve(Call(spec, (question.memory,)))
        largest = run_trace(workload, holders=False)
        runs = runs_at(workload, (question.counts, question.runtime))
        counted, timed = runs[question.counts], runs[question.runtime]
        program = gpu(largest)
        # tiles are as large whatever the image is, so that a list of these tells no more
        over_list = question.listed and not is_tiled(largest)
        listed = _list_and(workload) if over_list else None
    bare = analyze(largest, profile=question.profile, workspace="none")
    known = question.profile is not None and question.workspace != "none"
    rules = {rule: RULES[rule] for rule in question.rules}
    by_rule = {r: analyze(largest, profile=p, workspace=w) for r, (p, w) in rules.items()}
    others = {name: analyze(largest, profile=name) for name in question.elsewhere}
    notes = dict.fromkeys((*counted.notes, *timed.notes, *largest.notes))
    counts = Analysis(counted)
    return Predicted(
        params=counted.parameters,
        flops=counts.value(question.flops),
        activations=counts.value("activations"),
        convs=counts.value("convs"),
        requested=bare.cold.peak_requested,
        allocated=bare.cold.peak_allocated,
        scratch=program.cold.peak_allocated if known else None,
        listed=_over_list(program, listed),
        by_rule={rule: _taken(analysis, listed) for rule, analysis in by_rule.items()},
        construction=_construction(bare),
        runtime_ms=gpu(timed).value("latency_ms"),
        autocast=any(map(_casts, notes)),
        tiled=is_tiled(largest),
        uncounted=dict(counts.complexity.uncounted),
        elsewhere={name: other.cold.peak_allocated for name, other in others.items()},
        notes=tuple(map(one_line, notes)),
    )


def _list_and(workload: Workload) -> Program:
    """One instance over a list of images: one of each size of DIV2K's, and then the largest.

    In the order in which the list has them first: what comes again finds the blocks that it left.
    """
    from srprof.analysis.run import at_size
    from srprof.tracing.run import run_program

    calls = [at_size(workload, size) for size in dict.fromkeys(read_sizes(None))]
    return run_program([*calls, workload])


def _over_list(largest: Analysis, listed: Program | None) -> int | None:
    """Bytes of the images' peak where a list of them ran; None if none did."""
    if listed is None:
        return None
    return replace(largest, program=listed).simulation.peak_allocated


def _taken(largest: Analysis, listed: Program | None) -> Taken:
    """What the largest image takes, alone and after a list of images."""
    cold = largest.cold
    return Taken(cold.peak_requested, cold.peak_allocated, _over_list(largest, listed))


def _casts(note: str) -> bool:
    from srprof.tracing.autocast import NOTE

    return note == NOTE


def _construction(analysis: Analysis) -> Construction | None:
    """What the constructor does on the device, with files as the repository names them."""
    allocator = analysis.record.memory.allocator
    if allocator.construction is None:
        return None
    constructor = allocator.constructor
    passes = () if constructor is None else constructor.passes
    named = (replace(one, file=below(os.getcwd(), one.file) or one.file) for one in passes)
    return Construction(allocator.construction, tuple(named))


def _respond(asked: JsonObject) -> JsonObject:
    """To the process's question."""
    question = decode(Question, asked)
    try:
        with timeout(question.seconds):
            found: JsonObject = encode(predict(question))
            return found
    except user_raised() as raised:
        text = one_line(failure(raised))
        raise ModelError(_without_spec(text, question)) from raised


def _without_spec(text: str, question: Question) -> str:
    """A failure without the SPEC, which nobody wrote, and with paths from the repository."""
    here = str(Path(question.repository).resolve()) + os.sep
    head, found, rest = text.partition(": ")
    return (rest if found and head.startswith("srprof.challenge.") else text).replace(here, "")


if __name__ == "__main__":
    apart.serve(_respond)
