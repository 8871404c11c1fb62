"""The pickle of `torch.cuda.memory._dump_snapshot`, predicted without a GPU.

pytorch.org/memory_viz and `python -m torch.cuda._memory_viz trace_plot` read it. It holds every
event of the simulated allocator, with two frames each: `module:node:aten::op`, and the user's line.
As in torch's snapshots, the size of a block is what was requested, and that of a segment what is
reserved. No time is known of an event: each comes a microsecond after the one before.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, TypedDict

from srprof.memory.allocator import SegmentInfo
from srprof.memory.simulation import Event
from srprof.paths import short_path
from srprof.words import printable

if TYPE_CHECKING:
    from srprof.analysis import Analysis


class Frame(TypedDict):
    """Where an event happened, as the viewer writes it: `filename:line:name`."""

    filename: str
    line: int
    name: str


def memory_viz(analysis: Analysis) -> bytes:
    """For PyTorch's memory viewer."""
    # the protocol of torch's own dumps up to Python 3.13, which the viewer's reader knows
    return pickle.dumps(snapshot(analysis), protocol=4)


def snapshot(analysis: Analysis) -> dict[str, object]:
    """The object that the pickle holds."""
    events: list[Event] = []
    simulation = analysis.observe_allocator(events.append)
    entries: list[dict[str, object]] = []
    made: dict[int, list[Frame]] = {}  # by address, what the block there was made by
    for time, event in enumerate(events):
        frames = _frames(event, analysis)
        what = {"action": event.action, "addr": event.address, "size": event.nbytes}
        entries.append({**what, "stream": 0, "time_us": time, "frames": frames})
        if event.action == "alloc":
            made[event.address] = frames
    expandable = analysis.allocator.expandable_segments
    return {
        "segments": [_segment(s, made, expandable) for s in simulation.segments],
        "device_traces": [entries],
        "allocator_settings": {"expandable_segments": expandable},
    }


def _frames(event: Event, analysis: Analysis) -> list[Frame]:
    """Where an event happened, the innermost frame first."""
    if event.node is None:
        image = event.image
        when = "loading the network" if image is None else f"before or after image {image}"
        return [{"filename": "", "line": 0, "name": when}]
    trace = analysis.construction if event.image is None else analysis.runs[event.image]
    assert trace is not None
    node = trace.nodes[event.node]
    frames = [Frame(filename=printable(node.module), line=node.index, name=f"aten::{node.op}")]
    if node.file:
        file = printable(short_path(node.file))
        frames.append(Frame(filename=file, line=node.line, name=printable(node.function)))
    return frames


def _segment(
    segment: SegmentInfo, frames: dict[int, list[Frame]], expandable: bool
) -> dict[str, object]:
    active = sum(block.size for block in segment.blocks if block.in_use)
    return {
        "device": 0,
        "address": segment.address,
        "total_size": segment.size,
        "allocated_size": active,
        "active_size": active,
        "requested_size": sum(block.requested for block in segment.blocks),
        "stream": 0,
        "segment_type": "small" if segment.small else "large",
        "segment_pool_id": (0, 0),
        "is_expandable": expandable,
        "frames": [],
        "blocks": [
            {
                "address": block.address,
                "size": block.size,
                "requested_size": block.requested,
                "state": "active_allocated" if block.in_use else "inactive",
                "frames": frames[block.address] if block.in_use else [],
            }
            for block in segment.blocks
        ],
    }
