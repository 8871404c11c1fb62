"""The kernels of single operations on a GPU, by CUPTI through torch's profiler."""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from srprof.calibration.operations import Line, operation
from srprof.running import replaced

#: Kinds of events that keep a GPU busy, and of those that ask for them.
_WORK = frozenset({"kernel", "gpu_memset", "gpu_memcpy"})
_LAUNCHES = frozenset({"cuda_runtime", "cuda_driver"})
_MARK = "srprof operation "
#: Bytes of operands that are kept for one batch of operations.
_MOST_HELD = 8 * 2**30

Event = Mapping[str, Any]


def time_lines(lines: Sequence[Line], device: str = "cuda") -> list[dict[str, Any]]:
    """The lines with the `kernels` of a call, [name, microseconds] in order; first of each batch.

    An operation that the GPU or its libraries refuse has none. As many lines are timed as their
    operands fit; the rest is left to the next call.
    """
    calls: list[tuple[Line, Callable[[], object]]] = []
    held = torch.cuda.memory_allocated(device)
    for line in lines:
        with suppress(RuntimeError):  # of memory, or of what a library has not
            call = _prepared(line, device)
            call()
            calls.append((line, call))
        if torch.cuda.memory_allocated(device) - held > _MOST_HELD:
            lines = lines[: len(calls)]
            break
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as recorded, torch.no_grad():
        for number, (line, call) in enumerate(calls):
            with record_function(f"{_MARK}{number}"), _tf32(line):
                call()
        torch.cuda.synchronize(device)
    with tempfile.TemporaryDirectory(prefix=".srprof-") as folder:
        path = Path(folder) / "events.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    kernels = kernels_of(events)
    timed = {id(line): kernels.get(number, []) for number, (line, _) in enumerate(calls)}
    return [{**line, "kernels": timed.get(id(line), [])} for line in lines]


def _prepared(line: Line, device: str) -> Callable[[], object]:
    function, shapes = operation(line)
    dtype = getattr(torch, "float32" if line["op"] == "rfft" else line["dtype"])
    tensors = [torch.randn(shape, device=device).to(dtype) for shape in shapes]
    if line.get("channels_last"):
        four = [tensor.dim() == 4 for tensor in tensors]
        tensors = [
            t.to(memory_format=torch.channels_last) if is_map else t
            for t, is_map in zip(tensors, four, strict=True)
        ]
    return lambda: function(*tensors)


def _tf32(line: Line) -> Any:
    return replaced([(torch.backends.cudnn, "allow_tf32", line.get("tf32", True))])


def kernels_of(events: Sequence[Event]) -> dict[int, list[tuple[str, float]]]:
    """By the number of an operation, the kernels that were launched within its mark, in order."""
    spans = sorted(
        (event["ts"], event["ts"] + event["dur"], int(event["name"].removeprefix(_MARK)))
        for event in events
        if event.get("cat") == "user_annotation" and event["name"].startswith(_MARK)
    )
    asked = {
        event["args"]["correlation"]: event["ts"]
        for event in events
        if event.get("cat") in _LAUNCHES and "correlation" in event.get("args", {})
    }
    starts = [start for start, _, _ in spans]
    found: dict[int, list[tuple[float, str, float]]] = {}
    for event in events:
        launched = asked.get(event.get("args", {}).get("correlation"))
        if event.get("cat") not in _WORK or launched is None:
            continue
        at = bisect_right(starts, launched) - 1
        if at >= 0 and launched <= spans[at][1]:
            found.setdefault(spans[at][2], []).append((event["ts"], event["name"], event["dur"]))
    return {
        number: [(name, round(us, 2)) for _, name, us in sorted(kernels)]
        for number, kernels in found.items()
    }
