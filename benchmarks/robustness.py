"""Trace every network of spandrel, compare the meta device with the CPU, write the tables.

    python benchmarks/robustness.py                       # all; writes docs/robustness.md
    python benchmarks/robustness.py --only SwinIR -o -    # some, to the terminal

The networks are those of `tests/spandrel_zoo.py`. A network that fails has a row that says how.
Needs `pip install srprof[spandrel]`; one thread, some minutes.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

import srprof
from srprof import Analysis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import spandrel_zoo
from tests.spandrel_zoo import ENTRIES, NOT_RUN, Entry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
MIB = 2**20
#: Traces that take longer than this many milliseconds are named.
SLOW_MS = 1000.0


@dataclass(frozen=True)
class Figures:
    """What the tables need of one analysis; peaks in bytes.

    The analysis itself is let go: thousands of its objects in the process would slow down the
    traces that follow.
    """

    device: str
    calls: tuple[str, ...]
    eager: int
    planned: int
    held: int
    fallback: str
    notes: tuple[str, ...]
    uncounted: Counter[str]


@dataclass(frozen=True)
class Result:
    """What one network showed.

    Attributes:
        auto: of the trace with `trace_on="auto"`; None if it failed.
        cpu: of one real run, None if it failed; the same as `auto` if that ran on the CPU.
        cuda: on fake CUDA tensors, None where torch's cannot run it.
        trace_ms: time of the second trace in the process.
        error, cpu_error: what failed, "" if nothing did.
    """

    entry: Entry
    auto: Figures | None
    cpu: Figures | None
    trace_ms: float = 0.0
    error: str = ""
    cpu_error: str = ""
    cuda: Figures | None = None


def run(entry: Entry) -> Result:
    """Build one network, trace it where srprof wants, then on the CPU."""
    try:
        model = entry.build()
        srprof.trace(model, *entry.inputs)
        start = time.perf_counter()
        trace = srprof.trace(model, *entry.inputs)
        trace_ms = (time.perf_counter() - start) * 1000
        auto = figures(srprof.analyze(trace))
    except Exception as error:
        return Result(entry, None, None, error=_one_line(error))
    if auto.device == "cpu":
        return Result(entry, auto, auto, trace_ms)
    try:
        cuda = figures(srprof.analyze(model, *entry.inputs, trace_on="cuda-fake"))
    except srprof.ModelError:
        cuda = None
    try:
        cpu = figures(srprof.analyze(model, *entry.inputs, trace_on="cpu"))
    except Exception as error:
        return Result(entry, auto, None, trace_ms, cpu_error=_one_line(error), cuda=cuda)
    return Result(entry, auto, cpu, trace_ms, cuda=cuda)


def figures(analysis: Analysis) -> Figures:
    """Take the figures out of an analysis."""
    trace, memory = analysis.trace, analysis.memory
    return Figures(
        device=trace.device,
        calls=tuple(node.op for node in trace.nodes),
        eager=memory.eager.nbytes,
        planned=memory.planned.nbytes,
        held=analysis.peak_parts.held,
        fallback=trace.fallback,
        notes=trace.notes,
        uncounted=Counter(analysis.complexity.uncounted),
    )


def _one_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text.replace("|", "\\|")


# -- the page -----------------------------------------------------------------------------------

_TRACES_TEXT = """\
One row per network, at the shape of its input. *ms* is the second trace in the process (a trace
is two runs: one recorded, one to ask who holds what at the peak). Peaks are MiB of 2^20 bytes,
each storage rounded up to 512 bytes, weights included; *held* is the share of the eager peak that
no later node needs.
"""

_COMPARISON_TEXT = """\
Composite operators decompose by device and memory format, so a real CPU run can make other calls
than the meta run. The last two columns are the calls that one makes more often than the other;
two runs that make the same calls in another order are marked *order*. *fake CUDA* is the eager
peak on torch's fake tensors moved to a GPU that is not there, a dash where they cannot run the
network, and a star where the calls are not those of meta. Peaks in MiB as above.
"""

_COMPARISON_HEAD = (
    "network",
    "same calls",
    "meta nodes",
    "CPU nodes",
    "meta eager",
    "CPU eager",
    "fake CUDA",
    "only on meta",
    "only on CPU",
)


def page(results: Sequence[Result], command: str) -> str:
    """The whole page, Markdown."""
    parts = [
        "# Robustness: every architecture of spandrel\n",
        f"Written by `{command}`; do not edit. {_versions()}\n",
        _summary(results),
        "## Traces\n",
        _TRACES_TEXT,
        _table(
            ("network", "input", "nodes", "on", "ms", "eager", "planned", "held"),
            map(_trace_row, results),
        ),
        _variants(results),
        _fallbacks(results),
        _uncounted(results),
        _notes(results),
        "## The meta device against the CPU\n",
        _COMPARISON_TEXT,
        _table(
            _COMPARISON_HEAD,
            map(_comparison_row, results),
        ),
        _not_run(),
    ]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _versions() -> str:
    names = ("srprof", "torch", "torchvision", "spandrel")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    extension = "" if spandrel_zoo.extension_loads() else " (torchvision's extension does not load)"
    return (
        f"Python {platform.python_version()}, {packages}{extension}, {platform.machine()}, "
        f"{torch.get_num_threads()} thread."
    )


def _summary(results: Sequence[Result]) -> str:
    traced = [r.auto for r in results if r.auto is not None]
    on_meta = sum(figures.device == "meta" for figures in traced)
    slow = [r.entry.name for r in results if r.trace_ms > SLOW_MS]
    pairs = [(r.auto, r.cpu) for r in results if r.auto and r.cpu and r.auto is not r.cpu]
    same = sum(meta.calls == cpu.calls for meta, cpu in pairs)
    architectures = {r.entry.architecture for r in results}
    lines = [
        f"- {len(results)} networks of {len(architectures)} architectures",
        f"- traced on the meta device: {on_meta}; on the CPU: {len(traced) - on_meta}; "
        f"failed: {len(results) - len(traced)}; architectures without an entry: {len(NOT_RUN)}",
        f"- the same calls on meta and on the CPU: {same} of the {len(pairs)} traced on both",
    ]
    if slow:
        lines.append(f"- slower than {SLOW_MS:.0f} ms: {', '.join(slow)}")
    return "\n".join(lines) + "\n"


def _trace_row(result: Result) -> tuple[str, ...]:
    entry, found = result.entry, result.auto
    shapes = " + ".join("x".join(map(str, shape)) for shape in entry.inputs)
    if found is None:
        return (entry.name, shapes, "", f"failed: {result.error}", "", "", "", "")
    return (
        entry.name,
        shapes,
        str(len(found.calls)),
        found.device,
        f"{result.trace_ms:.0f}",
        _mib(found.eager),
        _mib(found.planned),
        f"{found.held / found.eager:.0%}",
    )


def _comparison_row(result: Result) -> tuple[str, ...]:
    name, meta, cpu = result.entry.name, result.auto, result.cpu
    if meta is None:
        return (name, "not traced", "", "", "", "", "", "", "")
    count, eager = str(len(meta.calls)), _mib(meta.eager)
    if meta is cpu:
        return (name, "CPU only", "", count, "", eager, "", "", "")
    if cpu is None:
        failed = f"CPU failed: {result.cpu_error}"
        return (name, failed, count, "", eager, "", _fake(result), "", "")
    only_meta = Counter(meta.calls) - Counter(cpu.calls)
    only_cpu = Counter(cpu.calls) - Counter(meta.calls)
    same = "yes" if meta.calls == cpu.calls else "no" if only_meta or only_cpu else "order"
    return (
        name,
        same,
        count,
        str(len(cpu.calls)),
        eager,
        _mib(cpu.eager),
        _fake(result),
        _counted(only_meta),
        _counted(only_cpu),
    )


def _fake(result: Result) -> str:
    """Eager peak on fake CUDA tensors."""
    if result.cuda is None or result.auto is None:
        return "-"
    return _mib(result.cuda.eager) + ("" if result.cuda.calls == result.auto.calls else " *")


def _mib(nbytes: int) -> str:
    return f"{nbytes / MIB:.2f}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{op} x{count}" for op, count in counts.most_common())


def _variants(results: Sequence[Result]) -> str:
    rows = [f"- {r.entry.name}: {r.entry.about}" for r in results if r.entry.about]
    return _section("Cut to the size of a test:", rows)


def _fallbacks(results: Sequence[Result]) -> str:
    rows = [
        f"- {r.entry.name}: {r.entry.fallback or 'not expected'}. srprof says: `{r.auto.fallback}`"
        for r in results
        if r.auto is not None and r.auto.fallback
    ]
    return _section("Traced on the CPU, because the meta device cannot:", rows)


def _uncounted(results: Sequence[Result]) -> str:
    rows = [
        f"- {r.entry.name}: {_counted(r.auto.uncounted)}"
        for r in results
        if r.auto is not None and r.auto.uncounted
    ]
    return _section("Operators without a rule for multiply-accumulates:", rows)


def _notes(results: Sequence[Result]) -> str:
    rows = [
        f"- {r.entry.name}: {note}" for r in results if r.auto is not None for note in r.auto.notes
    ]
    return _section("Notes that srprof gives with the trace:", rows)


def _not_run() -> str:
    rows = [f"- {name}: {reason}" for name, reason in sorted(NOT_RUN.items())]
    rows += [
        f"- {name}: not in the table yet" for name in sorted(spandrel_zoo.unknown_architectures())
    ]
    return _section("## Architectures without an entry\n", rows or ["None."])


def _section(title: str, rows: Sequence[str]) -> str:
    return "\n".join((title, "", *rows, "")).replace("\n\n\n", "\n\n") if rows else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the networks; 0 if every one was traced, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="architectures or networks")
    parser.add_argument("-o", "--output", default=str(PAGE))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    results = []
    for entry in ENTRIES:
        if not options.only or {entry.architecture, entry.name} & set(options.only):
            results.append(run(entry))
            print(f"{len(results)} {entry.name} {results[-1].trace_ms:.0f} ms", file=sys.stderr)
    text = page(results, " ".join(["python benchmarks/robustness.py", *(argv or sys.argv[1:])]))
    if options.output == "-":
        print(text)
    else:
        Path(options.output).write_text(text, encoding="utf-8")
    return int(any(r.auto is None for r in results))


if __name__ == "__main__":
    sys.exit(main())
