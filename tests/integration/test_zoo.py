"""The zoo against the public implementations: counts, peaks, and live bytes op by op.

`golden/public_networks.json` was recorded from the public code at 1x3x256x256 (and the peaks at
510x510 too), never from srprof.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import srprof
from srprof import models, registry
from srprof.memory.model import memory_model
from tests.cpu_truth import live_bytes

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "public_networks.json").read_text())
MIB = 2**20
#: Eager and planned peaks at LR 510x510, MiB; E-RFDN's eager one is the published figure.
PEAKS_510 = {
    "e_rfdn": (788.13, 451.16),
    "imdn": (466.78, 403.28),
    "fmen_s": (202.74, 202.74),
    "neesr": (572.42, 170.75),  # takes more than FMEN-S, and needs less
}

zoo = pytest.mark.parametrize("name", sorted(GOLDEN))


def mib(nbytes: int) -> float:
    return round(nbytes / MIB, 2)


@zoo
def test_counts_are_the_published_networks(name: str):
    counts = srprof.analyze(name, "256x256").complexity
    golden = GOLDEN[name]
    assert counts.parameters == golden["params"]
    assert counts.flops_ntire == golden["ntire_flops"]
    assert counts.activations == golden["ntire_acts"]
    assert counts.convolutions == golden["ntire_convs"]
    assert not counts.uncounted


@zoo
def test_true_macs_are_the_mult_adds_at_720p(name: str):
    assert srprof.analyze(name, "180x320").complexity.macs == GOLDEN[name]["mult_adds_hr720p"]


@zoo
def test_counts_are_per_image(name: str):
    one, four = (srprof.analyze(name, (n, 3, 64, 64)).complexity for n in (1, 4))
    assert four.flops_ntire == one.flops_ntire
    assert four.activations == one.activations
    assert four.macs == 4 * one.macs


@zoo
def test_eager_peaks(name: str):
    golden = GOLDEN[name]
    assert mib(srprof.analyze(name, "256x256").memory.eager.nbytes) == golden["live_peak_256_MiB"]
    assert mib(srprof.analyze(name, "510x510").memory.eager.nbytes) == golden["live_peak_510_MiB"]


@pytest.mark.parametrize("name", sorted(PEAKS_510))
def test_peaks_at_the_challenges_largest_image(name: str):
    memory = srprof.analyze(name, "510x510").memory
    assert (mib(memory.eager.nbytes), mib(memory.planned.nbytes)) == PEAKS_510[name]


@zoo
def test_golden_trace(name: str):
    """The same ops in the same order, with the same live MiB to the digits recorded."""
    trace = srprof.trace(name, "256x256")
    memory = memory_model(trace)
    ours = [
        [node.op, [list(o.shape) for o in node.outputs], mib(parts.eager - parts.net)]
        for node, parts in zip(trace.nodes, memory.parts, strict=True)
    ]
    assert ours == [row[1:] for row in GOLDEN[name]["rows"]]


@zoo
def test_golden_module_paths(name: str):
    """Paths as the public code has them; its global activation has none, FMEN's are renamed."""
    trace = srprof.trace(name, "256x256")
    for node, (path, *_) in zip(trace.nodes, GOLDEN[name]["rows"], strict=True):
        if path != "LeakyReLU":
            assert node.module == renamed(path)


def renamed(path: str) -> str:
    """The challenge's file of FMEN-S says in words what the released checkpoints abbreviate."""
    return path.replace("basic_blocks.", "ERBs.").replace("hfabs.", "HFABs.")


@zoo
def test_state_dict_keys_are_the_public_checkpoints(name: str):
    keys = list(getattr(models, name)().state_dict())
    assert sorted(keys) == sorted(renamed(key) for key in GOLDEN[name]["state_dict_keys"])


@zoo
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_live_bytes_are_the_cpu_allocators(name: str, device: str):
    model = getattr(models, name)()
    image = torch.rand(1, 3, 48, 40)
    ops, live = live_bytes(model, image)
    trace = srprof.trace(model, tuple(image.shape), trace_on=device)
    assert [node.op for node in trace.nodes] == ops
    assert [node.live - image.nbytes for node in trace.nodes] == live


@zoo
def test_parts_sum_to_the_bytes_referenced(name: str):
    trace = srprof.trace(name, "64x64")
    memory = memory_model(trace, granularity=1)
    weights = sum(p.nbytes for p in getattr(models, name)().parameters())
    assert memory.net == weights
    assert [parts.eager - weights for parts in memory.parts] == [n.live for n in trace.nodes]


@zoo
def test_fake_cuda_agrees_with_meta(name: str):
    meta, cuda = (
        srprof.analyze(name, "64x64", trace_on=device).memory for device in ("meta", "cuda-fake")
    )
    assert cuda.eager.nbytes == meta.eager.nbytes
    assert cuda.planned.nbytes == meta.planned.nbytes


@zoo
def test_every_network_makes_an_image(name: str):
    network = registry.find(name)
    model = getattr(models, name)().eval()
    with torch.no_grad():
        out = model(torch.rand(1, 3, 48, 48))
    assert out.shape == (1, 3, 48 * network.scale, 48 * network.scale)
    assert torch.isfinite(out).all()


@zoo
def test_the_graph_computes_what_the_network_does(name: str):
    model = getattr(models, name)().eval()
    trace = srprof.trace(model, (1, 3, 32, 32))
    trace.graph.lint()
    assert "convolution" in str(trace.graph)
    runnable = torch.fx.GraphModule(model, trace.graph)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(runnable(image), model(image))


def test_graph_nodes_say_where_they_come_from():
    graph = srprof.trace("e_rfdn", "64x64").graph
    node = next(n for n in graph.nodes if n.meta["module"] == "B4.esa.conv4")
    assert node.meta["shape"] == (1, 50, 64, 64)
    assert node.meta["dtype"] is torch.float32
    assert node.meta["file"].endswith("blocks.py")
    source = Path(node.meta["file"]).read_text().splitlines()
    assert "self.conv4(" in source[node.meta["line"] - 1]


def test_zoo_names_are_factories_with_hyper_parameters():
    assert sum(p.numel() for p in models.e_rfdn(scale=4, nf=50).parameters()) == 433_448
    narrow = sum(p.numel() for p in models.e_rfdn(nf=40).parameters())
    assert narrow < 433_448
    assert srprof.analyze("e_rfdn(nf=40)", "64x64").complexity.parameters == narrow


@pytest.mark.parametrize("scale, params", [(2, 748_656), (3, 757_311), (4, 769_428)])
def test_fmen_scales(scale: int, params: int):
    assert sum(p.numel() for p in models.fmen(scale=scale).parameters()) == params


def test_feature_maps_are_the_papers_unit():
    analysis = srprof.analyze("fmen_s", "256x256")
    assert analysis.feature_map == (50, 256, 256)
    assert analysis.feature_maps(analysis.memory.eager.nbytes) == pytest.approx(203 / 50)
    guessed = srprof.analyze(models.fmen_s(), "256x256")
    assert guessed.feature_map == (50, 256, 256)
