"""The zoo against the public implementations: counts, peaks, and live bytes op by op.

`golden/public_networks.json` was recorded from the public code at 1x3x256x256 (and the peaks at
510x510 too), never from srprof.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof import models, spec
from srprof.analysis import Analysis
from srprof.call import call_of
from srprof.errors import InputError
from srprof.loading import load_factory
from srprof.memory.model import memory_model
from srprof.records import TensorInfo
from srprof.registry import Network
from srprof.tracing.run import trace_call
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
listed = pytest.mark.parametrize("network", models.ZOO, ids=lambda network: network.name)


def build(name: str) -> torch.nn.Module:
    """The network of a name or of a name with arguments."""
    return load_factory(spec.parse(name))().eval()


def analyzed(name: str, size: Any) -> Analysis:
    """Without the run that finds variables, of which no figure depends."""
    return srprof.analyze(trace_call(call_of(name, (size,)), holders=False))


def golden(name: str, figure: str):
    """A figure of the public implementation; skips where it was not recorded."""
    if figure not in GOLDEN[name]:
        pytest.skip(f"the public {name}'s {figure} is not recorded")
    return GOLDEN[name][figure]


def mib(nbytes: int) -> float:
    return round(nbytes / MIB, 2)


@zoo
def test_counts_are_the_published_networks(name: str):
    counts = analyzed(name, "256x256").complexity
    assert counts.parameters == GOLDEN[name]["params"]
    assert counts.flops_ntire == GOLDEN[name]["ntire_flops"]
    assert counts.activations == GOLDEN[name]["ntire_acts"]
    assert counts.convolutions == GOLDEN[name]["ntire_convs"]
    assert not counts.uncounted


@zoo
def test_true_macs_are_the_mult_adds_at_720p(name: str):
    assert analyzed(name, "180x320").complexity.macs == golden(name, "mult_adds_hr720p")


@zoo
def test_counts_are_per_image(name: str):
    one, four = (analyzed(name, (n, 3, 64, 64)).complexity for n in (1, 4))
    assert four.flops_ntire == one.flops_ntire
    assert four.activations == one.activations
    assert four.macs == 4 * one.macs


@zoo
def test_eager_peaks(name: str):
    small, large = (analyzed(name, size).memory.eager for size in ("256x256", "510x510"))
    assert mib(small.nbytes) == golden(name, "live_peak_256_MiB")
    assert mib(large.nbytes) == golden(name, "live_peak_510_MiB")


@pytest.mark.parametrize("name", sorted(PEAKS_510))
def test_peaks_at_the_challenges_largest_image(name: str):
    memory = srprof.analyze(name, "510x510").memory
    assert (mib(memory.eager.nbytes), mib(memory.planned.nbytes)) == PEAKS_510[name]


def steps(name: str):
    """Our nodes beside the recorded rows, which leave out batch norm's empty reserve."""
    trace = trace_call(call_of(name, ("256x256",)), holders=False)
    memory = memory_model(trace)
    nodes = [
        (node, parts.eager - parts.net)
        for node, parts in zip(trace.nodes, memory.parts, strict=True)
        if node.op != "empty"
    ]
    return list(zip(nodes, GOLDEN[name]["rows"], strict=True))


@zoo
def test_golden_trace(name: str):
    """The same ops in the same order, with the same live MiB to the digits recorded.

    Where there are batch norms the recording keeps some of their statistics of a channel each
    (512 bytes, not 256), which neither the CPU's allocator has nor cuDNN: at most 1.5 KiB each.
    """
    norms = 0
    for (node, live), (_, op, shapes, recorded) in steps(name):
        made = [shapes[0], [0], [0]] if op == "native_batch_norm" else shapes
        assert [node.op, [list(o.shape) for o in node.outputs]] == [op, made]
        if norms == 0:
            assert mib(live) == recorded
        else:
            assert -0.005 <= recorded - live / MIB <= 0.005 + norms * 1536 / MIB
        norms += node.op == "native_batch_norm"


@zoo
def test_golden_module_paths(name: str):
    """Paths as the public code has them; its global activation has none, FMEN's are renamed."""
    for (node, _), (path, *_) in steps(name):
        if path != "LeakyReLU":
            assert node.module == renamed(path)


def renamed(path: str) -> str:
    """As the released checkpoints have it.

    The challenge's file of FMEN-S says in words what they abbreviate; the recording of RFDN is of
    a list of blocks.
    """
    path = path.replace("basic_blocks.", "ERBs.").replace("hfabs.", "HFABs.")
    return re.sub(r"^Bs\.(\d)", lambda found: f"B{int(found[1]) + 1}", path)


@zoo
def test_state_dict_keys_are_the_public_checkpoints(name: str):
    keys = list(build(name).state_dict())
    assert sorted(keys) == sorted(renamed(key) for key in golden(name, "state_dict_keys"))


@zoo
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_live_bytes_are_the_cpu_allocators(name: str, device: str):
    model = build(name)
    image = torch.rand(1, 3, 48, 40)
    ops, live = live_bytes(model, image)
    trace = srprof.trace(model, tuple(image.shape), trace_on=device)
    assert [node.op for node in trace.nodes] == ops
    assert [node.live + wrapped(trace, node) - image.nbytes for node in trace.nodes] == live


def wrapped(trace: srprof.Trace, node: srprof.records.Node) -> int:
    """Bytes of numbers wrapped in tensors for a call: in main memory, so not the device's."""
    return sum(
        s.nbytes
        for s in trace.storages
        if s.host and s.name == "number" and s.birth <= node.index < s.death
    )


@zoo
def test_parts_sum_to_the_bytes_referenced(name: str):
    trace = srprof.trace(name, "64x64")
    memory = memory_model(trace, granularity=1)
    network = build(name)
    weights = sum(t.nbytes for t in [*network.parameters(), *network.buffers()])
    assert memory.net == weights
    assert [parts.eager - weights for parts in memory.parts] == [n.live for n in trace.nodes]


@zoo
def test_fake_cuda_agrees_with_meta(name: str):
    if "train" in name:
        pytest.skip("a CPU build's fake CUDA tensors cannot be assigned to by slices")
    meta, cuda = (
        srprof.analyze(name, "64x64", trace_on=device).memory for device in ("meta", "cuda-fake")
    )
    assert cuda.eager.nbytes == meta.eager.nbytes
    assert cuda.planned.nbytes == meta.planned.nbytes


FORMS = [
    {"dtype": "float16"},
    {"dtype": "bfloat16"},
    {"channels_last": True},
    {"dtype": "float16", "channels_last": True},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("given", ["spec", "model", "tensor"])
def test_fake_cuda_takes_every_dtype_and_layout(given: str, form: dict[str, Any]):
    """It makes the calls that meta does, which stands for cuDNN, with the same results."""
    model: Any = "imdn"
    image: Any = (1, 3, 16, 16)
    if given != "spec":
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    if given == "tensor":
        image = torch.rand(image)
    traces = [srprof.trace(model, image, trace_on=on, **form) for on in ("meta", "cuda-fake")]
    meta, cuda = ([(n.op, n.overload, _forms(n.outputs)) for n in t.nodes] for t in traces)
    assert cuda == meta
    meta_inputs, cuda_inputs = (_forms(e.info for e in t.externals) for t in traces)
    assert cuda_inputs == meta_inputs
    assert len({memory_model(trace).eager.nbytes for trace in traces}) == 1


def _forms(tensors: Iterable[TensorInfo]) -> list[tuple[object, ...]]:
    return [(tensor.shape, tensor.dtype, tensor.strides) for tensor in tensors]


@listed
def test_every_network_makes_an_image(network: Network):
    """At its own scale a 3x48x48 image, at the others one as small as ESA takes.

    Luma networks, which are deep and mostly run on the enlarged image, take a small one at each.
    """
    for scale in network.scales or (1,):
        usual = 48 if scale == (network.scale or 1) else 15
        side = usual if network.channels == 3 else 7
        model = network.load()(**({"scale": scale} if network.scales else {})).eval()
        with torch.no_grad():
            out = model(torch.rand(1, 3, side, side))
        assert out.shape[2:] == (side * scale, side * scale)
        assert out.shape[1] == 3 or network.row == "Figure 2"
        assert torch.isfinite(out).all()


@listed
def test_scales_that_do_not_exist(network: Network):
    if network.scales:
        with pytest.raises(InputError, match=f"it has {', '.join(map(str, network.scales))}"):
            network.load()(scale=7)


@pytest.mark.parametrize("name", [n.name for n in models.ZOO if n.channels == 1])
def test_luma_networks_keep_the_chroma_of_a_colour_image(name: str):
    """Grey in RGB is what luma alone gives; and no channel changes more than luma does."""
    model = build(name)
    luma = torch.rand(1, 1, 8, 7)
    with torch.no_grad():
        grey = model(luma.expand(1, 3, 8, 7))
        alone = model(luma * (219 / 255) + 16 / 255)
        colour = torch.rand(1, 3, 8, 7)
        change = model(colour) - models.bicubic()(colour)
    assert torch.allclose(grey * (219 / 255) + 16 / 255, alone.expand_as(grey), atol=1e-5)
    assert torch.allclose(change[:, :1].expand_as(change), change, atol=1e-5)


@zoo
def test_the_graph_computes_what_the_network_does(name: str):
    model = build(name)
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


# zoo.json: parameters in inference and in training form, Mult-Adds at HR 1280x720 (x3: LR 426x240)
FMEN = {
    "fmen": {
        2: (748_656, 2_424_552, 172_059_033_600),
        3: (757_311, 2_433_207, 77_234_549_760),
        4: (769_428, 2_445_324, 44_209_152_000),
    },
    "fmen_s": {
        2: (324_830, 1_029_630, 74_595_686_400),
        3: (331_595, 1_036_395, 33_791_955_840),
        4: (341_066, 1_045_866, 19_582_041_600),
    },
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", FMEN)
def test_fmen_at_every_scale(name: str, scale: int):
    params, train_params, mult_adds = FMEN[name][scale]
    size = {2: "360x640", 3: "240x426", 4: "180x320"}[scale]
    counts = srprof.analyze(f"{name}(scale={scale})", size).complexity
    assert (counts.parameters, counts.macs) == (params, mult_adds)
    train = build(f"{name}(scale={scale}, form='train')")
    assert sum(p.numel() for p in train.parameters()) == train_params


@pytest.mark.parametrize("name, buffers, keys", [("fmen", 1_607, 283), ("fmen_s", 1_167, 223)])
def test_training_form(name: str, buffers: int, keys: int):
    model = build(f"{name}(form='train')")
    assert sum(b.numel() for b in model.buffers()) == buffers
    assert len(model.state_dict()) == keys


# facts/zoo.json, T3: parameters and true MACs; convolutions are zoo.json's where its network has
# no batch norm, and MACs in G to four digits
TABLE_3 = {
    "srcnn": ("720x1280", 8_129, 7.4023),
    "srcnn(kernel=5, scale=1)": ("720x1280", 57_281, 52.7008),
    "fsrcnn(scale=2)": ("360x640", 12_809, 2.8717),
    "fsrcnn(scale=3)": ("240x427", 12_809, 1.2773),
    "fsrcnn(scale=4)": ("180x320", 12_809, 0.7179),
    "vdsr(scale=1)": ("720x1280", 665_921, 612.5912),
    "drcn(scale=1)": ("720x1280", 1_775_121, 17974.2966),
    "drcn(scale=1, ensemble=False)": ("720x1280", 1_775_121, 9788.7191),
    "memnet(scale=1, ensemble=False)": ("720x1280", 687_171, 2662.3476),
    "memnet(scale=1, ensemble=False, shared=False)": ("720x1280", 2_910_531, 2662.3476),
    "lapsrn(scale=4)": ("180x320", 870_112, 125.744),
    "lapsrn(scale=2)": ("360x640", 435_344, 100.7014),
    "lapsrn(scale=2, depth=5)": ("360x640", 251_024, 58.2341),
    "lapsrn(scale=4, depth=5)": ("180x320", 501_472, 72.6599),
    "idn(scale=2)": ("360x640", 552_769, 126.9596),
    "idn(scale=3)": ("240x427", 552_769, 56.4706),
    "idn(scale=4)": ("180x320", 552_769, 31.7399),
    "idn(scale=2, tail='pixelshuffle')": ("1x3x360x640", 579_276, 133.0495),
    "idn(scale=3, tail='pixelshuffle')": ("1x3x240x427", 587_931, 60.0648),
    "idn(scale=4, tail='pixelshuffle')": ("1x3x180x320", 600_048, 34.4568),
    "edsr_baseline(scale=2)": ("360x640", 1_369_883, 316.2593),
    "edsr_baseline(scale=3)": ("240x427", 1_554_523, 160.4486),
    "edsr_baseline(scale=4)": ("180x320", 1_517_595, 114.2393),
    "carn(scale=2)": ("360x640", 1_591_963, 222.8311),
    "carn(scale=3)": ("240x427", 1_591_963, 118.8926),
    "carn(scale=4)": ("180x320", 1_591_963, 90.8823),
    "carn(scale=4, multi_scale=False)": ("180x320", 1_111_899, 90.8823),
    "imdn_715k(scale=2)": ("360x640", 694_404, 158.7659),
    "imdn_715k(scale=3)": ("240x427", 703_059, 71.5032),
    "imdn_715k(scale=4)": ("180x320", 715_176, 40.8859),
    "latticenet(scale=2)": ("360x640", 756_196, 169.5111),
    "latticenet(scale=3)": ("240x427", 764_851, 76.2872),
    "latticenet(scale=4)": ("180x320", 776_968, 43.5784),
    "rfdn(scale=2)": ("360x640", 566_364, 123.31),
    "rfdn(scale=3)": ("240x427", 572_859, 55.5089),
    "rfdn(scale=4)": ("180x320", 581_952, 31.7201),
    "fmen_baseline": ("180x320", 779_996, 44.8292),
    "fmen_baseline(attention='cca')": ("180x320", 781_831, 44.8292),
    "fmen_baseline(attention='esa')": ("180x320", 783_571, 44.9291),
}


@pytest.mark.parametrize("name", TABLE_3)
def test_counts_of_tables_2_and_3(name: str):
    size, params, macs = TABLE_3[name]
    if name == "srcnn":
        name = "srcnn(scale=1)"
    counts = analyzed(name, size).complexity
    assert counts.parameters == params
    assert round(counts.macs / 1e9, 4) == macs
    assert not counts.uncounted


def test_drrn_beside_its_batch_norms():
    """zoo.json counts it without them: 297,601; 385 of them are biases."""
    model = build("drrn(scale=1)")
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    beside = sum(p.numel() for norm in norms for p in norm.parameters())
    counts = srprof.analyze("drrn(scale=1)", "720x1280").complexity
    assert counts.parameters - beside == 297_601
    assert round(counts.macs / 1e9, 4) == 6796.8958


@pytest.mark.parametrize("name", ["edsr_baseline", "fmen"])
def test_blocks_of_table_1_are_interchangeable(name: str):
    """Parameters, MACs and the eager peak stay (facts, 2.4); only what is kept at a node moves."""
    analyses = [srprof.analyze(f"{name}(block={b!r})", "256x256") for b in ("rb", "erb", "pb")]
    assert len({a.complexity.parameters for a in analyses}) == 1
    assert len({a.complexity.macs for a in analyses}) == 1
    assert {mib(a.memory.eager.nbytes) for a in analyses} == {
        {"edsr_baseline": 550.55, "fmen": 67.70}[name]
    }


@pytest.mark.parametrize("attention, peak", [("none", 55.75), ("cca", 55.76), ("esa", 71.26)])
def test_table_2_peaks(attention: str, peak: float):
    analysis = srprof.analyze(f"fmen_baseline(attention={attention!r})", "256x256")
    assert mib(analysis.memory.eager.nbytes) == peak


def test_figure_2():
    """Planned memory in feature maps, without the network and the image that the caller holds."""

    def maps(name: str) -> list[float]:
        analysis = srprof.analyze(name, "64x64", granularity=1)
        image, one = 3 * 64 * 64 * 4, 64 * 64 * 64 * 4
        parts = analysis.memory.parts
        return [(p.planned - p.net - image) / one for p in parts]

    assert maps("figure2_plain(convolutions=4)") == [1, 2, 2, 2, 2]
    fusion = maps("figure2_fusion(convolutions=4)")
    assert fusion[2] == 3  # the second convolution of the body
    assert fusion[-1] == 2 * 5  # N = 5 feature maps concatenated


def test_feature_maps_are_the_papers_unit():
    analysis = srprof.analyze("fmen_s", "256x256")
    assert analysis.feature_map == (50, 256, 256)
    assert analysis.feature_maps(analysis.memory.eager.nbytes) == pytest.approx(203 / 50)
    guessed = srprof.analyze(models.fmen_s(), "256x256")
    assert guessed.feature_map == (50, 256, 256)
