"""Many analyses at once, and many in one process: are they right, and does anything stay?

    python benchmarks/concurrency.py threads --times 200
    python benchmarks/concurrency.py memory --times 200

`threads` analyses three networks in several threads beside one that trains, and compares each
result with that of a quiet process. `memory` makes analyses, then lean networks, one after the
other, and prints how much the process has grown after some to warm up.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import torch
from torch import nn

import srprof

SHAPE = (1, 3, 16, 16)


class Plain(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tail(torch.relu(self.head(x))) + x


class AsksForGpu(Plain):
    """Takes another way where there is a GPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.cuda.is_available():
            x = torch.cat([x, torch.zeros(1, 3, 16, 16, device="cuda")])
        return super().forward(x)


class InThreads(Plain):
    """Runs its two layers in threads of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.tail, pool.submit(self.head, x).result()).result()


NETWORKS = (Plain, AsksForGpu, InThreads)


def patched() -> list[Any]:
    """What a run replaces, as it is now."""
    cuda, hooks = torch.cuda, nn.modules.module
    functions = (cuda.is_available, cuda._lazy_init, cuda.Event, cuda.device_count, Thread.start)
    properties = (torch.Tensor.is_cuda, torch.Tensor.device, torch.Tensor.get_device)
    tables = (hooks._global_forward_hooks, hooks._global_forward_pre_hooks)
    return [*functions, *properties, torch.set_autocast_enabled, os._exit, *map(dict, tables)]


def analysis(network: type[nn.Module]) -> Any:
    """All that is said of a network; its message where it is refused."""
    try:
        return srprof.analyze(network(), SHAPE).to_dict()
    except srprof.SrprofError as error:
        return f"refused: {error}"


def train(until: Event) -> None:
    """Train a network that asks for the GPU, which is not there, in the steps."""
    model = AsksForGpu()
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)
    while not until.wait(0.001):
        optimizer.zero_grad()
        model(torch.rand(SHAPE)).square().mean().backward()
        optimizer.step()


def at_once(times: int, workers: int) -> int:
    """Analyse in threads; gives 1 if any result is another one, or anything stays patched."""
    quiet = {network: analysis(network) for network in NETWORKS}
    before, answer, until = patched(), torch.cuda.is_available(), Event()
    training = Thread(target=train, args=(until,))
    training.start()
    found: Counter[str] = Counter()

    def one(index: int) -> None:
        network = NETWORKS[index % len(NETWORKS)]
        result = analysis(network)
        if isinstance(result, str):
            found["refused"] += 1
        else:
            found["equal" if result == quiet[network] else "another result"] += 1
        if torch.cuda.is_available() != answer:
            found["torch patched"] += 1

    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, times, workers):
            list(pool.map(one, range(first, min(first + workers, times))))
            found["torch patched"] += patched() != before
    found["training stopped"] += not training.is_alive()
    until.set()
    training.join()
    print(f"{times} analyses in {workers} threads: " + text(found))
    return int(found.keys() & {"another result"} != set() or found["torch patched"] > 0)


def text(found: Counter[str]) -> str:
    """The counts in words."""
    return ", ".join(f"{count} {what}" for what, count in found.items() if count)


def resident() -> float:
    """Memory of the process in MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(what: Callable[[], object], times: int) -> tuple[float, float]:
    """MiB and Python's objects, both of all calls, that stay after so many."""
    for _ in range(20):
        what()
    gc.collect()
    objects, before = len(gc.get_objects()), resident()
    for _ in range(times):
        what()
    gc.collect()
    return resident() - before, len(gc.get_objects()) - objects


def stays(times: int) -> int:
    """Print what stays of analyses and leans; gives 1 if it is 5 MiB or more of either."""
    network, worst = Plain(), 0.0
    calls = {
        "analyses": lambda: srprof.analyze(network, SHAPE),
        "leans": lambda: srprof.lean(network, SHAPE),
    }
    for name, call in calls.items():
        size, objects = growth(call, times)
        print(f"{times} {name}: {size:+.2f} MiB, {objects:+.0f} objects")
        worst = max(worst, size)
    return int(worst >= 5)


def main() -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["threads", "memory"])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "threads":
        return at_once(options.times, options.workers)
    return stays(options.times)


if __name__ == "__main__":
    sys.exit(main())
