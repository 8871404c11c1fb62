"""Measurements without measuring: statistics, the record and its file, what is not I/O."""

from __future__ import annotations

import io
import json
import random
import statistics
import sys
from dataclasses import replace
from math import floor, log10
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import srprof
from srprof.errors import InputError
from srprof.inputs import TensorSpec
from srprof.measuring import contention
from srprof.measuring.contention import Contention
from srprof.measuring.metering import first_difference, levels
from srprof.measuring.nvml import throttles
from srprof.measuring.record import (
    Bytes,
    Device,
    DeviceState,
    Fingerprint,
    Flags,
    Latency,
    Measurement,
    Memory,
    NodeFacts,
    OpWorkspace,
    RunPeaks,
    Versions,
    fingerprint,
    from_json,
    load,
    workspace_by_op,
)
from srprof.measuring.run import largest_image, largest_that_fits
from srprof.measuring.statistics import (
    DOUBTS,
    last_place,
    median_interval,
    quantile,
    summarize,
)
from srprof.progress import TerminalProgress

GOLDEN = Path(__file__).parents[1] / "golden"
OLD_RECORD = GOLDEN / "measurement_schema_1.json"

FLAGS = Flags(
    tf32_matmul=False,
    tf32_cudnn=None,
    cudnn_enabled=True,
    cudnn_benchmark=False,
    cudnn_deterministic=False,
    deterministic_algorithms=False,
    matmul_precision="highest",
    threads=2,
    allocator="native",
    environment={"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:128"},
)


def node(index: int, op: str = "convolution", workspace: int = 0, **more: Any) -> NodeFacts:
    """A node that makes 100 bytes and takes some scratch."""
    allocated = Bytes(1000, 1100, 1100 + workspace)
    facts = NodeFacts(index, op, "body.0", "net.py", 12, (1, 4, 8, 8), 100, allocated)
    return replace(facts, **more)


def latency(samples: tuple[float, ...] = (1.0, 2.0, 3.0), **more: Any) -> Latency:
    made = Latency("strict", "cuda event", 10, True, FLAGS, samples)
    return replace(made, **more)


def measurement(**more: Any) -> Measurement:
    made = Measurement(
        name="Net",
        spec="net.py:Net(nf=4)",
        fingerprint=Fingerprint("ab", "cd"),
        inputs=(TensorSpec("input", (1, 3, 8, 8), "float32"),),
        dtype="float32",
        layout="contiguous",
        taken="2026-01-02T03:04:05+00:00",
        device=Device("cuda", "GPU", "9.0", 2**37, "580.1"),
        versions=Versions("0.1.0", "3.12.3", "2.11.0", "13.0", "91002"),
        flags=FLAGS,
        memory=Memory(448, 768, 1216, 1200, RunPeaks(9152, 2**21), RunPeaks(9000)),
        nodes=(node(0, requested=Bytes(990, 1090, 1150)), node(1, "relu")),
        latency=latency(
            before=DeviceState(1980, 1980, 3201, 41, 123.4, ("software power cap",)),
            after=DeviceState(),
            energy_j=2.5,
        ),
        deterministic=True,
        notes=("one", "two"),
    )
    return replace(made, **more)


# -- statistics -----------------------------------------------------------------------------------


# the same by numpy's median, mean and percentile, and by the 8th and 18th of the sorted samples
OF_THE_SEED = ["11.988064", "12.003065", "11.833912", "12.075714", "11.850160", "12.071792"]


def test_a_summary_in_exact_numbers():
    """25 timings of 12 ms with 2 % of noise, from a seed."""
    noise = random.Random(4)
    summary = summarize([12 * noise.lognormvariate(0, 0.02) for _ in range(25)])
    assert summary.count == 25
    assert summary.interval is not None
    found = (summary.median, summary.mean, summary.q1, summary.q3, *summary.interval)
    assert [f"{value:.6f}" for value in found] == OF_THE_SEED
    assert summary.figures == 3  # 0.22 wide
    assert summary.doubts == ()
    assert summary.written(summary.median) == "12.0"


@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=40))
def test_quartiles_are_those_of_the_standard_library(samples: list[float]):
    summary = summarize(samples)
    expected = statistics.quantiles(samples, n=4, method="inclusive")
    assert [summary.q1, summary.median, summary.q3] == pytest.approx(expected)
    assert summary.mean == pytest.approx(statistics.fmean(samples))
    assert summary.iqr == summary.q3 - summary.q1


def test_one_sample_is_its_own_summary():
    summary = summarize([7.5])
    assert (summary.median, summary.mean, summary.q1, summary.q3) == (7.5,) * 4
    assert summary.interval is None and summary.figures is None
    assert summary.doubts == ("few samples",)


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [0.0], [-1.0], [float("inf")]])
def test_what_is_no_timing_is_refused(samples: list[float]):
    with pytest.raises(ValueError, match="positive numbers"):
        summarize(samples)


@pytest.mark.parametrize(
    "count, ranks",  # from the tables of the sign test: 95 % interval of the median
    [(5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15)), (25, (8, 18)),
     (50, (18, 33)), (100, (40, 61))],
)  # fmt: skip
def test_ranks_of_the_interval(count: int, ranks: tuple[int, int] | None):
    assert median_interval([float(i) for i in range(1, count + 1)]) == ranks


def test_the_interval_holds_the_median_as_often_as_it_says():
    """Whatever the distribution: here a skewed one, whose median is known."""
    source = random.Random(1)
    inside = 0
    for _ in range(2000):
        found = median_interval(sorted(source.expovariate(1) for _ in range(20)))
        assert found is not None
        inside += found[0] <= 0.6931471805599453 <= found[1]  # ln 2
    assert 0.95 <= inside / 2000 <= 0.98  # 0.9586 exactly, and a standard error of 0.0045


@pytest.mark.parametrize(
    "value, interval, lowest, place",
    [
        (12.34, (12.3, 12.4), 12.3, -1),  # a tenth wide
        (12.34, (12.29, 12.40), 12.29, -1),
        (12.34, (11.0, 14.0), 11.0, 0),
        (14.2, (11.0, 26.0), 11.0, 1),
        (14.2, (9.0, 26.0), 9.0, 0),  # 9 would be 10 to tens, and 4 none
        (12.34, (1.0, 90.0), 0.5, -1),
        (987.0, (986.0, 987.0), 986.0, 0),
        (0.00123, (0.00123, 0.00123), 0.00123, -8),  # six figures
        (5.0, (4.999999999, 5.000000001), 4.999999999, -5),
        (7.5, None, 7.5, -2),
        (1234.5, None, 1000.0, 1),
    ],
)
def test_the_last_place(
    value: float, interval: tuple[float, float] | None, lowest: float, place: int
):
    assert last_place(value, interval, lowest) == place


@pytest.mark.parametrize(
    "samples, written",
    [
        ([9.7, 10.3], ["9.8", "10.0", "10.2"]),  # three figures of 10.0 are tenths
        ([12000.0, 16000.0], ["13000", "14000", "15000"]),
        ([0.5], ["0.500", "0.500", "0.500"]),
        ([7.5, 9.0, 11.9, 14.2, 24.0, 24.0, 26.0], ["10", "14", "24"]),  # was "10", from 11.9 on
        ([8000.0, 12000.0, 14200.0, 24000.0, 24000.0, 26000.0], ["13000", "19000", "24000"]),
    ],
)
def test_quartiles_and_median_are_written_to_one_place(samples: list[float], written: list[str]):
    found = summarize(samples)
    assert [found.written(value) for value in (found.q1, found.median, found.q3)] == written


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=60))
def test_what_is_written_is_as_true_as_what_was_measured(samples: list[float]):
    """Read again, the median is within its quartiles and its interval, and none of them is zero."""
    found = summarize(samples)
    low, high = found.interval or (found.median, found.median)
    read = [float(found.written(value)) for value in (found.q1, found.median, found.q3, low, high)]
    q1, median, q3, low, high = read
    assert q1 <= median <= q3
    assert low <= median <= high
    assert min(*read, float(found.written(found.mean))) > 0
    if found.interval and found.interval[0] < found.interval[1]:
        width = found.interval[1] - found.interval[0]
        finest = 10 ** floor(log10(found.median) - 5)  # of a timer
        assert abs(median - found.median) <= max(width, finest) / 2 * 1.001


@given(st.lists(st.floats(10, 1e5), min_size=6, max_size=60), st.floats(1e-3, 1e3))
def test_figures_are_those_of_what_is_written(samples: list[float], unit: float):
    found = summarize([unit * sample for sample in samples])
    assert found.figures is not None
    rounded = float(f"{found.median:.{found.figures - 1}e}")
    assert float(found.written(found.median)) == pytest.approx(rounded)


def test_a_wide_spread_is_named():
    assert summarize([10.0] * 6 + [12.0] * 6).doubts == ("wide spread",)
    assert summarize([10.0] * 6 + [10.9] * 6).doubts == ()
    assert set(summarize([1.0, 9.0]).doubts) == set(DOUBTS)


def test_a_busy_machine_is_named():
    """By how long the passes waited, whatever their times look like."""
    quiet, busy = latency((1.0,) * 6, waited=0.01), latency((1.0,) * 6, waited=0.34)
    assert quiet.doubts == latency((1.0,) * 6, waited=None).doubts == {}
    assert list(busy.doubts) == ["busy machine"]
    assert "for 34% of the time" in busy.doubts["busy machine"]
    wide = latency((1.0, 2.0) * 6, waited=0.2)
    assert list(wide.doubts) == ["wide spread", "busy machine"]
    shown = str(measurement(latency=busy))
    assert "busy machine: for 34% of the time" in shown
    assert from_json(measurement(latency=busy).to_json()).latency == busy


def test_the_thread_that_waited_most_counts():
    """Two seconds went by, in which one thread waited for 0.5 s and another, new, for 1 s."""
    waits = iter([{"1": 3.0, "2": 9.0}, {"1": 3.5, "3": 1.0}])
    assert Contention(lambda: next(waits), iter([10.0, 12.0]).__next__).share() == 0.5


def test_a_system_that_does_not_count_waits():
    assert Contention(dict, iter([10.0, 12.0]).__next__).share() is None


def test_waits_are_read_for_each_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a thread that has ended, or that the kernel says nothing of, nothing is known."""
    for thread, text in {"7": "43881220 154448364 28\n", "8": "0\n", "9": ""}.items():
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(text)
    monkeypatch.setattr(contention, "_TASKS", tmp_path)
    assert contention.waits() == {"7": pytest.approx(0.154448364)}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts them")
def test_this_system_says_how_long_it_waited():
    share = Contention().share()
    assert contention.waits() and share is not None and 0 <= share <= 1


def test_quantile_of_two():
    assert [quantile([1.0, 3.0], share) for share in (0, 0.5, 1)] == [1.0, 2.0, 3.0]


def test_each_protocol_has_its_own_figure():
    samples = (1.0, 1.0, 4.0)
    assert latency(samples, protocol="strict").value_ms == 1.0
    assert latency(samples, protocol="ntire").value_ms == 2.0


# -- facts of a node ------------------------------------------------------------------------------


def test_workspace_and_what_is_retained():
    conv = node(0, allocated=Bytes(1024, 3072, 4096), outputs=100)
    assert (conv.workspace, conv.retained) == (2972, 1948)
    exact = replace(conv, requested=Bytes(1000, 1350, 1500))  # 250 of the 350 are the library's
    assert (exact.workspace, exact.retained) == (400, 250)


def test_workspace_by_op():
    nodes = [node(0, workspace=5), node(1, workspace=9), node(2, "relu"), node(3, "mm", 20),
             node(4, workspace=9)]  # fmt: skip
    assert workspace_by_op(nodes) == (
        OpWorkspace("mm", 1, 20, 3),
        OpWorkspace("convolution", 3, 9, 1),
    )


def test_levels_within_nested_spans():
    changes = [(10, 100), (20, 50), (30, -50), (40, 7), (50, -107)]
    assert levels(changes, [(0, 60), (15, 35), (20, 30), (30, 45)]) == [
        Bytes(0, 0, 150),
        Bytes(100, 100, 150),
        Bytes(150, 100, 150),  # what changes at the very begin came before
        Bytes(100, 107, 107),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(-9, 9)), max_size=30),
    st.integers(-1, 51),
    st.integers(0, 20),
)
def test_levels_are_the_sums(changes: list[tuple[int, int]], begin: int, length: int):
    def live(until: int) -> int:
        return sum(nbytes for time, nbytes in changes if time <= until)

    (found,) = levels(changes, [(begin, begin + length)])
    assert (found.before, found.after) == (live(begin), live(begin + length))
    assert found.peak >= max(live(time) for time in range(begin, begin + length + 1))


# -- the record -----------------------------------------------------------------------------------


def test_round_trip():
    made = measurement()
    assert from_json(made.to_json()) == made
    assert json.loads(made.to_json()) == made.to_dict()
    assert made.to_dict()["schema"] == 1


def test_round_trip_of_a_partial_record():
    made = measurement(
        latency=None, nodes=(), deterministic=None, complete=False, notes=(),
        memory=Memory(1, 2, 3), device=Device("cpu", "CPU"), flags=replace(FLAGS, environment={}),
    )  # fmt: skip
    assert from_json(made.to_json()) == made
    assert made.to_dict()["memory"]["cold"] is None


def test_what_follows_from_the_fields_is_in_the_object():
    record = measurement(nodes=(node(0, workspace=60), node(1))).to_dict()
    assert [row["workspace"] for row in record["nodes"]] == [60, 0]
    assert record["latency"]["value_ms"] == 2.0
    assert record["latency"]["samples_ms"] == [1.0, 2.0, 3.0]
    assert record["latency"]["summary"]["iqr"] == 1.0


def test_a_record_of_an_older_version_is_read():
    """With keys that this one does not know, and without those that have come since."""
    old = load(OLD_RECORD)
    assert (old.name, old.device.kind, old.fingerprint.network) == (
        "Sequential", "cpu", "bd8a74c9baa182a1",
    )  # fmt: skip
    assert [(n.op, n.workspace) for n in old.nodes] == [("convolution", 6912), ("pixel_shuffle", 0)]
    assert old.memory.cold == RunPeaks(9152, None)
    assert old.latency is not None and len(old.latency.samples_ms) == 6
    assert (old.complete, old.deterministic, old.notes) == (True, None, ())
    assert from_json(old.to_json()) == old


def broken(**changes: Any) -> str:
    """The JSON of a record with some values replaced; a dotted key goes down."""
    record = measurement().to_dict()
    for key, value in changes.items():
        *path, last = key.split("__")
        place: Any = record
        for step in path:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value
    return json.dumps(record)


def without(*path: str) -> str:
    record = measurement().to_dict()
    place: Any = record
    for step in path[:-1]:
        place = place[int(step) if step.isdigit() else step]
    del place[path[-1]]
    return json.dumps(record)


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "is not whole JSON"),
        ("{", "is not whole JSON"),
        (measurement().to_json()[:-200], "is not whole JSON"),
        ("[" * 100_000, "is not whole JSON"),
        ("[]", "is no measurement"),
        ("3", "is no measurement"),
        ('{"schema": 1, "nodes": []}', "is no measurement"),
        (broken(kind="srprof analysis"), "is no measurement"),
        (broken(schema=2), "has schema 2, and this srprof reads up to 1: update srprof"),
        (broken(schema="1"), "schema is '1', not 1"),
        (broken(schema=0), "schema is 0, not 1"),
        (broken(schema=True), "schema is True, not 1"),
        (without("schema"), "schema is None, not 1"),
        (without("memory"), "memory is missing"),
        (without("nodes", "1", "outputs"), r"nodes\[1\].outputs is missing"),
        (broken(nodes__0__allocated__peak="9"), r"nodes\[0\].allocated.peak is '9', not a whole"),
        (broken(nodes__0__allocated__peak=1.5), "is 1.5, not a whole number"),
        (broken(nodes__0__line=True), r"nodes\[0\].line is True, not a whole number"),
        (broken(nodes__0__shape=4), r"nodes\[0\].shape is 4, not a list"),
        (broken(nodes__1__index=5), "not numbered in order"),
        (broken(memory=[]), r"memory is \[\], not an object"),
        (broken(latency__samples_ms=[]), "positive numbers, at least one"),
        (broken(latency__samples_ms=[-1.0]), "positive numbers"),
        (broken(latency__samples_ms=[10**400]), r"samples_ms\[0\] is beyond 10\^30, not a number"),
        (broken(latency__samples_ms=[float("nan")]), "NaN is no number"),
        (broken(latency__protocol="fast"), "is 'fast', not one of ntire, strict"),
        (broken(flags__environment=[]), "flags.environment is .., not an object"),
        (broken(flags__environment={"A": 1}), "flags.environment.A is 1, not text"),
        (broken(complete=1), "complete is 1, not true or false"),
        (broken(name=None), "name is None, not text"),
        (broken(layout="nchw"), "layout is 'nchw', not one of contiguous, channels_last"),
    ],
)
def test_a_damaged_record_is_said_to_be(text: str, says: str):
    with pytest.raises(InputError, match=says) as caught:
        from_json(text, "old.json")
    message = str(caught.value)
    assert message.startswith("old.json ")
    assert "\n" not in message and len(message) < 300
    assert "; " in message or ": update" in message  # how to mend it


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner),
    max_leaves=5,
)


@given(json_values, st.sampled_from(["nodes", "memory", "flags", "latency", "inputs", "taken"]))
def test_whatever_a_field_holds_is_read_or_refused(value: Any, key: str):
    text = broken(**{key: value})
    try:
        from_json(text)
    except InputError as error:
        assert "is damaged" in str(error)


def test_a_record_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load(tmp_path / "missing.json")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match=r"image\.png is no text in UTF-8; name a record"):
        load(tmp_path / "image.png")


# -- of which network -----------------------------------------------------------------------------


def test_a_fingerprint_is_of_the_network_and_its_calls():
    """The same from meta and CPU, whatever the weights; another width, another network."""
    meta, cpu = (srprof.trace("e_rfdn", "32x32", trace_on=on) for on in ("meta", "cpu"))
    ours = fingerprint(meta.externals, meta.nodes)
    assert ours == fingerprint(cpu.externals, cpu.nodes)
    larger = srprof.trace("e_rfdn", "48x32")
    theirs = fingerprint(larger.externals, larger.nodes)
    assert theirs.network == ours.network and theirs.calls != ours.calls
    narrow = srprof.trace("e_rfdn(nf=40)", "32x32")
    assert fingerprint(narrow.externals, narrow.nodes).network != ours.network


def test_a_record_of_another_network_or_input_is_recognised():
    trace = srprof.trace("fmen_s", (1, 3, 8, 8))
    same = measurement(fingerprint=fingerprint(trace.externals, trace.nodes))
    same.require_same_network(trace)
    with pytest.raises(InputError, match="is another network"):
        measurement().require_same_network(trace)
    larger = srprof.trace("fmen_s", (1, 3, 16, 8))
    with pytest.raises(InputError, match="at 1x3x8x8 float32, not at 1x3x16x8 float32"):
        same.require_same_network(larger)
    half = srprof.trace("fmen_s", (1, 3, 8, 8), dtype="float16")
    with pytest.raises(InputError, match="not at 1x3x8x8 float16"):
        same.require_same_network(half)


def test_where_two_runs_part():
    nodes = srprof.trace("e_rfdn", (1, 3, 32, 32)).nodes
    larger = srprof.trace("e_rfdn", (1, 3, 32, 36)).nodes
    assert first_difference(nodes, nodes) is None
    difference = first_difference(nodes, larger)
    assert difference is not None
    assert difference.startswith("at node 0 one run called convolution to 1x50x32x32 in fea_conv")
    assert "another convolution to 1x50x32x36" in difference
    shorter = first_difference(nodes[:3], nodes)
    assert shorter is not None and shorter.startswith("one run ended after 3 calls, and another")
    assert first_difference(nodes, nodes[:3]) == shorter


# -- the largest input ----------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(1, 60))
def test_the_largest_size_that_fits(limit: int, below: int):
    asked = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= limit

    assert largest_that_fits(fits, below) == (min(limit, below - 1) or None)
    assert all(1 <= size < below for size in asked)
    assert len(asked) <= below.bit_length()


def test_the_largest_image_keeps_its_proportions():
    def fits(shape: tuple[int, ...]) -> bool:
        return shape[2] * shape[3] <= 300 * 600

    spec = TensorSpec("input", (2, 3, 1000, 2000), "float32")
    assert largest_image([spec], fits) == (2, 3, 288, 576)
    assert largest_image([spec], lambda shape: False) is None
    assert largest_image([spec, spec], fits) is None
    assert largest_image([object()], fits) is None


# -- for a person ---------------------------------------------------------------------------------


def test_text(golden):
    made = measurement(
        nodes=(node(0, workspace=2**21), node(1, "relu", 0)),
        memory=Memory(2**20, 2**19, 2**21, None, RunPeaks(2**23, 2**24), None),
        latency=latency(
            (10.0, 10.1, 10.2, 10.3, 10.4, 10.5),
            before=DeviceState(1980, None, 3201, 41, 123.4, ("software power cap",)),
            energy_j=2.5,
        ),
        complete=False,
    )
    golden(f"{made}\n", "measurement.txt")
    assert "<td" in made._repr_html_() and "8.00" in made._repr_html_()


def test_repr():
    assert repr(measurement()) == "<Measurement of Net on GPU: 0.01 MiB, 2 ms>"
    assert repr(measurement(memory=Memory(1, 2, 3), latency=None)) == (
        "<Measurement of Net on GPU: peak unknown, not timed>"
    )


def test_reasons_for_low_clocks():
    assert throttles(0) == throttles(1) == ()  # idle is no reason
    assert throttles(0x4 | 0x8) == ("software power cap", "hardware slowdown")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_a_terminal_and_leaves_nothing_there():
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        with TerminalProgress(stream) as progress:
            progress("latency", 3, 100)
    assert "srprof: latency 3/100" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert "\n" not in terminal.getvalue()
    assert pipe.getvalue() == ""


def test_progress_is_erased_when_the_run_raises():
    terminal = Terminal()
    with pytest.raises(KeyError), TerminalProgress(terminal) as progress:
        progress("latency", 3, 100)
        raise KeyError
    assert terminal.getvalue().endswith("\r\x1b[K")
