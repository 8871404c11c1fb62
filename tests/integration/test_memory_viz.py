"""`--format memory-viz`: what PyTorch's own tools read of it, and that it sums to the peaks."""

from __future__ import annotations

import pickle
import re
import sys
from itertools import accumulate

import pytest
from torch.cuda import _memory_viz

import srprof
from srprof.cli import main
from srprof.paths import short_path
from srprof.render.exports import export
from srprof.render.exports.memory_viz import snapshot

SIGNS = {"alloc": 1, "free_completed": -1}
SEGMENTS = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}


def running(snap, signs):
    """Bytes after each event."""
    entries = snap["device_traces"][0]
    return list(accumulate(signs.get(e["action"], 0) * e["size"] for e in entries))


@pytest.fixture(scope="module", params=[None, "expandable_segments:True", "max_split_size_mb:21"])
def analysis(request):
    return srprof.analyze("e_rfdn", "64x64", allocator=request.param)


def test_events_sum_to_the_peaks(analysis):
    snap, simulation = snapshot(analysis), analysis.simulation
    assert max(running(snap, SIGNS)) == simulation.peak_requested
    assert max(running(snap, SEGMENTS)) == simulation.peak_reserved


def test_the_peak_of_events_is_in_the_node_of_the_peak(analysis):
    snap = snapshot(analysis)
    totals = running(snap, SIGNS)
    event = snap["device_traces"][0][totals.index(max(totals))]
    call, line = event["frames"]
    assert call["line"] == analysis.requested.eager.node
    node = analysis.trace.nodes[call["line"]]
    assert call == {"filename": node.module, "line": node.index, "name": f"aten::{node.op}"}
    assert (line["filename"], line["line"]) == (short_path(node.file), node.line)


def test_what_is_left_is_the_network(analysis):
    snap = snapshot(analysis)
    blocks = [b for s in snap["segments"] for b in s["blocks"] if b["state"] == "active_allocated"]
    assert sum(b["requested_size"] for b in blocks) == analysis.requested.net
    assert running(snap, SIGNS)[-1] == analysis.requested.net
    assert sum(s["total_size"] for s in snap["segments"]) == running(snap, SEGMENTS)[-1]
    for segment in snap["segments"]:
        assert sum(b["size"] for b in segment["blocks"]) == segment["total_size"]


def test_torch_draws_it(analysis):
    snap = pickle.loads(export(analysis, "memory-viz"))
    page = _memory_viz.trace_plot(snap)
    assert "Active Memory Timeline" in page and len(page) > 10_000
    summary = _memory_viz.segsum(snap)  # raises where blocks and segments do not add up
    assert f"segments: {len(snap['segments'])}\n" in summary
    told = _memory_viz.trace(snap)
    assert re.search(rf"^{len(snap['device_traces'][0])} entries$", told, re.MULTILINE)


def test_several_images_are_told_one_after_the_other():
    analysis = srprof.analyze("fmen_s", "32x32", protocol="ntire", sizes=[(24, 40), (40, 24)])
    snap = snapshot(analysis)
    assert max(running(snap, SIGNS)) == analysis.simulation.peak_requested
    assert max(running(snap, SEGMENTS)) == analysis.simulation.peak_reserved


def test_the_file_is_whole_and_a_terminal_gets_no_bytes(tmp_path, capsys, monkeypatch):
    path = tmp_path / "memory.pickle"
    command = ["analyze", "fmen_s", "--input", "32x32", "--format", "memory-viz"]
    assert main([*command, "-o", str(path)]) == 0
    assert pickle.loads(path.read_bytes())["device_traces"]
    assert [p.name for p in tmp_path.iterdir()] == ["memory.pickle"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(command) == 2
    assert "give -o FILE" in capsys.readouterr().err


def test_a_pipe_gets_the_bytes(capsysbinary):
    assert main(["analyze", "fmen_s", "--input", "32x32", "--format", "memory-viz"]) == 0
    assert pickle.loads(capsysbinary.readouterr().out)["segments"]
