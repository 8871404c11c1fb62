"""What measuring on the CPU costs: a pass of `srprof.measure` against a plain forward pass.

    python benchmarks/measuring.py

`measure` without latency makes three passes: a rehearsal, one node by node with torch's profiler
on, and one with the profiler alone. Its whole time, the copies of the model and the reading of the
profile included, over that of three plain passes is printed: a ratio, which holds on any machine;
the goal is at most 3. Both are run in turn, after one uncounted run of each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from processes import spread

import srprof
from srprof import models


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each")
    parser.add_argument("--models", nargs="+", default=["fmen_s", "e_rfdn", "imdn"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[48, 64, 128, 256])
    options = parser.parse_args()
    for name in options.models:
        model = getattr(models, name)().eval()
        for size in options.sizes:
            image = torch.rand(1, 3, size, size)

            def three_passes(model: torch.nn.Module = model, image: torch.Tensor = image) -> None:
                with torch.no_grad():
                    for _ in range(3):
                        model(image)

            def measured(model: torch.nn.Module = model, image: torch.Tensor = image) -> None:
                srprof.measure(model, tuple(image.shape), device="cpu", repeat=0)

            three_passes(), measured()
            pairs = [(seconds(three_passes), seconds(measured)) for _ in range(options.runs)]
            ratios = spread([measure / plain for plain, measure in pairs])
            plain = spread([1e3 * plain / 3 for plain, _ in pairs])
            print(f"{name} at {size}x{size}: {ratios} times a plain pass of {plain} ms")


if __name__ == "__main__":
    main()
