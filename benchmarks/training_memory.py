"""The predicted memory of a training step against the CPU allocator's, for the zoo.

    python benchmarks/training_memory.py        # all; two minutes, and more for DRCN alone
    python benchmarks/training_memory.py imdn rfdn

Each step is run twice: under the recorder, and without any dispatch mode under torch's profiler.
`differing` counts the op boundaries that are not equal to the byte, `most` is the largest
difference in bytes; `same calls` says whether the meta device makes the calls that the CPU makes.
"""

from __future__ import annotations

import os
import sys
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import torch
from tabulate import tabulate

import srprof
from srprof import registry
from srprof.call import Call
from srprof.errors import ModelError
from srprof.training.analysis import training_spec
from srprof.workload import resolve
from tests.cpu_truth import live_bytes_of_step


def row(network: registry.Network) -> tuple[object, ...]:
    """One network, trained on two LR images of 24x24."""
    shape = (2, network.channels, 24, 24)
    cpu = srprof.analyze_training(network.name, shape, trace_on="cpu", granularity=1)
    meta = srprof.analyze_training(network.name, shape, granularity=1)
    same = [n.op for n in cpu.trace.nodes] == [n.op for n in meta.trace.nodes]
    nodes = [n for n in cpu.trace.nodes if n.op != "detach"]
    model = resolve(Call(training_spec(network.name), (shape,))).build("cpu")
    image = torch.rand(shape)
    targets = [torch.zeros(e.info.shape) for e in cpu.trace.inputs if "target" in e.name]
    resident = sum(t.nbytes for t in (image, *targets, *model.parameters(), *model.buffers()))
    live = live_bytes_of_step(model, image, targets, [n.op for n in nodes])
    differences = [
        sum(cpu.memory.kinds[n.index]) - resident - b for n, b in zip(nodes, live, strict=True)
    ]
    differing = sum(map(bool, differences))
    most = max(map(abs, differences))
    return network.name, len(nodes), differing, most, cpu.peak, "yes" if same else "NO"


def main(names: list[str]) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    chosen = [registry.find(name) for name in names] or list(registry.networks())
    rows = []
    for network in chosen:
        try:
            rows.append(row(network))
        except ModelError as error:
            print(error)
    print(tabulate(rows, ["network", "boundaries", "differing", "most", "peak", "same calls"]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
