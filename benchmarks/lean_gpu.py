"""A network's lean form for a GPU against `torch.compile`, on that GPU, in four minutes.

    python benchmarks/lean_gpu.py OUT.json [--profile h200] [--seconds 240] [--device cpu --quick]

Of each network, in float16 and float32 at 510x510: as it is, as `torch.compile` makes it
(default, reduce-overhead, channels-last) and lean with the profile (eager, inductor, cudagraph).
A row has the median of CUDA events in ms, the peak of the allocator in bytes with what was there
before the call, and of lean forms what was predicted. Rows are written as they come. Networks are
Table 4's and, where spandrel is installed, four of its own. `--device cpu --quick` tries it out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import srprof  # noqa: E402  # from the checkout
from srprof import models  # noqa: E402

TABLE4 = "fmen_s e_rfdn imdn rlfn neesr megsr repafdn rainbow".split()
SPANDREL = ("SPAN", "Compact", "PLKSR", "RealCUGAN.UpCunet2x")
RUNS, BEFORE = 30, 5


def networks(quick: bool) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Names, and how each is built."""
    for name in TABLE4[:1] if quick else TABLE4:
        yield name, getattr(models, name)
    if quick:
        return
    try:
        from tests.spandrel_zoo import ENTRIES
    except ImportError:
        print("spandrel is not here: only the zoo's networks")
        return
    for entry in ENTRIES:
        if entry.name in SPANDREL:
            yield f"spandrel/{entry.name}", entry.build


def measured(module: nn.Module, image: torch.Tensor, runs: int) -> dict[str, float]:
    """Median time of a call in ms, and the peak in bytes."""
    cuda = image.is_cuda
    for _ in range(BEFORE):
        module(image)
    if not cuda:
        times = []
        for _ in range(2):
            began = time.perf_counter()
            module(image)
            times.append(1e3 * (time.perf_counter() - began))
        return {"ms": median(times)}
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    module(image)
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
    for begin, end in events:
        begin.record()
        module(image)
        end.record()
    torch.cuda.synchronize()
    return {
        "ms": median(begin.elapsed_time(end) for begin, end in events),
        "peak": peak,
        "reserved": torch.cuda.memory_reserved(),
    }


def forms(
    network: nn.Module, image: torch.Tensor, profile: str
) -> Iterator[tuple[str, Callable[[], tuple[nn.Module, torch.Tensor, dict[str, Any]]]]]:
    """The ways in which a network is run: the module, its image, and what was predicted."""

    def lean(backend: Any) -> tuple[nn.Module, torch.Tensor, dict[str, Any]]:
        made = srprof.lean(network, image, profile=profile, backend=backend)
        found = srprof.analyze(made, image, profile=profile)
        predicted = {
            "predicted_ms": found.latency.seconds * 1e3 if found.latency else None,
            "predicted_peak": found.peaks["allocated"].nbytes,
        }
        return made, image, predicted

    def compiled(last: bool = False, **how: Any) -> tuple[nn.Module, torch.Tensor, dict[str, Any]]:
        module, x = network, image
        if last:
            module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            x = image.contiguous(memory_format=torch.channels_last)
        torch._dynamo.reset()
        return torch.compile(module, **how), x, {}

    yield "eager", lambda: (network, image, {})
    yield "lean", lambda: lean("eager")
    yield "compile", compiled
    yield "lean inductor", lambda: lean("inductor")
    if image.is_cuda:
        yield "lean cudagraph", lambda: lean("cudagraph")
        yield "compile reduce-overhead", lambda: compiled(mode="reduce-overhead")
    yield "compile channels-last", lambda: compiled(last=True)


def main() -> None:
    """Run what time allows, and write each row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--profile", default="h200")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    deadline = time.monotonic() + arguments.seconds
    side = 48 if arguments.quick else 510
    dtypes = (torch.float32,) if arguments.quick else (torch.float16, torch.float32)
    rows: list[dict[str, Any]] = []
    for name, build in networks(arguments.quick):
        for dtype in dtypes:
            torch.manual_seed(0)
            network = build().eval().to(arguments.device, dtype)
            image = torch.rand(1, 3, side, side).to(arguments.device, dtype)
            with torch.no_grad():
                for how, make in forms(network, image, arguments.profile):
                    if time.monotonic() > deadline:
                        return
                    row: dict[str, Any] = {"network": name, "dtype": str(dtype)[6:], "how": how}
                    began = time.monotonic()
                    try:
                        module, x, predicted = make()
                        row |= measured(module, x, RUNS) | predicted
                    except Exception as error:  # a row says what went wrong, and the next goes on
                        row["error"] = f"{type(error).__name__}: {error}"[:300]
                    row["seconds"] = time.monotonic() - began
                    rows.append(row)
                    print(row, flush=True)
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
