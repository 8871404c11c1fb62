"""Attention however the function was kept, and the fast paths of torch's own modules."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import srprof
from srprof.call import Call
from srprof.leaning.run import savings
from srprof.records import TensorRef, Trace
from srprof.workload import resolve
from tests.cases.attention import Kept, Mha, Sdpa

SHAPE = (1, 3, 32, 32)
MATRICES = 4 * 1024 * 1024 * 4  # heads x tokens x tokens, in float32

ALIAS = F.scaled_dot_product_attention


class Attends(Kept):
    """`Kept`, with whatever callable."""

    def __init__(self, attend: Callable[..., torch.Tensor]):
        super().__init__()
        self.attend = attend


class Holder:
    """A plain object that keeps the function."""

    def __init__(self):
        self.attend = ALIAS

    def __call__(self, *args):
        return self.attend(*args)


KEPT = {
    "attribute": ALIAS,
    "partial": functools.partial(F.scaled_dot_product_attention, dropout_p=0.0),
    "default argument": lambda q, k, v, attend=ALIAS: attend(q, k, v),
    "object": Holder(),
    "packet": torch.ops.aten.scaled_dot_product_attention,
    "overload": torch.ops.aten.scaled_dot_product_attention.default,
    "builtin": torch._C._nn.scaled_dot_product_attention,
}


def ops(model: nn.Module) -> list[str]:
    return [node.op for node in srprof.trace(model, SHAPE).nodes]


@pytest.mark.parametrize("attend", KEPT.values(), ids=KEPT)
def test_wherever_the_function_was_kept_it_is_the_fused_one(attend):
    here = Attends(lambda *args: F.scaled_dot_product_attention(*args))
    assert ops(Attends(attend)) == ops(here)
    assert "_scaled_dot_product_efficient_attention" in ops(here)


@pytest.mark.parametrize("wrap", ["export", "fx"])
def test_a_graph_of_attention_is_fused_too(wrap: str):
    network, image = Sdpa().eval(), torch.zeros(SHAPE)
    graph = (
        torch.export.export(network, (image,))
        if wrap == "export"
        else torch.fx.symbolic_trace(Attends(ALIAS))
    )
    analysis = srprof.analyze(graph, SHAPE)
    assert analysis.memory.eager.nbytes < MATRICES
    assert any("fused" in note for note in analysis.trace.notes)


def test_attention_that_is_not_fused_is_not_said_to_be():
    class Wide(nn.Module):
        def forward(self, x):
            q = x.flatten(2).transpose(1, 2)  # without an axis of heads
            return F.scaled_dot_product_attention(q, q, q)

    assert not any("fused" in note for note in srprof.trace(Wide(), SHAPE).notes)


class Encoder(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.head = nn.Conv2d(3, 32, 1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **options)
        self.body = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return self.body(self.head(x).flatten(2).transpose(1, 2))


class Options(Mha):
    """torch's module with arguments of the call."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        t = self.head(x).flatten(2).transpose(1, 2)
        masks = {k: v.to(x.device) for k, v in self.options.items() if k.endswith("mask")}
        return self.attend(t, t, t, **(self.options | masks))


CAUSAL = torch.ones(1024, 1024, dtype=torch.bool).triu(1)
PADDED = torch.zeros(1, 1024, dtype=torch.bool)
FAST = {
    "module": Mha,
    "weights": Options,
    "weights of heads": lambda: Options(average_attn_weights=False),
    "mask": lambda: Options(need_weights=False, attn_mask=CAUSAL),
    "padding": lambda: Options(need_weights=False, key_padding_mask=PADDED),
    "both": lambda: Options(need_weights=False, attn_mask=CAUSAL, key_padding_mask=PADDED),
    "encoder": Encoder,
    "norm first": lambda: Encoder(norm_first=True, activation="gelu"),
}


def real_ops(network: nn.Module) -> list[str]:
    return [node.op for node in srprof.trace(network, SHAPE, trace_on="cpu").nodes]


def shapes(trace: Trace) -> list[tuple[int, ...]]:
    """Of the result's tensors."""
    result = trace.result
    refs = [result] if isinstance(result, TensorRef) else [ref for ref in result if ref]
    return [trace.nodes[ref.node].outputs[ref.output].shape for ref in refs]


def torchs_count(network: nn.Module) -> int:
    """Multiply-accumulates of the products that the paths are made of."""
    torch.backends.mha.set_fastpath_enabled(False)
    unfused = sdpa_kernel(SDPBackend.MATH)
    try:
        with torch.no_grad(), unfused, FlopCounterMode(display=False) as flops:
            network(torch.zeros(SHAPE))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return flops.get_total_flops() // 2


@pytest.mark.parametrize("network", FAST.values(), ids=FAST)
def test_fast_paths_are_shown_as_cuda_takes_them(network):
    """The same work, the same results, and a note that names the path."""
    torch.manual_seed(0)
    model = network().eval()
    analysis = srprof.analyze(model, SHAPE)
    (note,) = (note for note in analysis.trace.notes if "fast path" in note)
    assert "_native_multi_head_attention" in note
    assert any(op.startswith(("_native_multi", "_transformer")) for op in real_ops(model))
    assert shapes(analysis.trace) == shapes(srprof.trace(model, SHAPE, trace_on="cpu"))
    assert analysis.complexity.macs == torchs_count(model)
    cpu = srprof.analyze(model, SHAPE, trace_on="cpu").complexity
    assert (cpu.macs, dict(cpu.uncounted)) == (analysis.complexity.macs, {})


@pytest.mark.parametrize("why", ["heads", "switch", "order", "key"])
def test_where_torch_takes_no_fast_path_none_is_shown(why: str, monkeypatch):
    network: nn.Module = Mha(heads=1 if why == "heads" else 4)
    if why == "order":
        network.attend.batch_first = False
    if why == "key":
        network.attend = Cross(network.attend)
    if why == "switch":
        monkeypatch.setattr(torch.backends.mha, "_is_fastpath_enabled", False)
    assert "_native_multi_head_attention" not in real_ops(network)
    assert not any("fast path" in note for note in srprof.trace(network, SHAPE).notes)


class Cross(nn.Module):
    """Keys that are another tensor than the queries."""

    def __init__(self, attend: nn.Module):
        super().__init__()
        self.attend = attend

    def forward(self, q, k, v, need_weights):
        return self.attend(q, k * 1, v, need_weights=need_weights)


def test_the_fused_one_of_the_fast_path_holds_no_matrices():
    assert srprof.analyze(Mha(), SHAPE).memory.eager.nbytes < MATRICES
    assert srprof.analyze(Options(), SHAPE).memory.eager.nbytes > MATRICES


def test_the_challenge_counts_the_linear_layers_of_an_encoder():
    """Its hooks on them are what keeps torch from the fast path."""
    conv, up, down = 3 * 32 * 1024, 1024 * 1024, 1024 * 1024
    for trace_on in ("meta", "cpu"):
        found = srprof.analyze(Encoder(), SHAPE, trace_on=trace_on).complexity
        assert found.flops_ntire == conv + 2 * (up + down)


def test_the_callers_switch_is_put_back():
    class Switches(Mha):
        def forward(self, x):
            torch.backends.mha.set_fastpath_enabled(False)
            return super().forward(x)

    trace = srprof.trace(Switches(), SHAPE)
    assert torch.backends.mha.get_fastpath_enabled()
    assert any("set_fastpath_enabled" in note for note in trace.notes)


LEAN = {"sdpa": Sdpa, "kept": Kept} | FAST


@pytest.mark.parametrize("network", LEAN.values(), ids=LEAN)
def test_lean_is_exact_and_never_worse(network):
    torch.manual_seed(0)
    model = network().eval()
    saved = savings(resolve(Call(model, (SHAPE,))))
    eager, *others = (stage.peaks for stage in saved.stages)
    assert all(peaks["eager"] <= eager["eager"] for peaks in others)
    image = torch.rand(SHAPE)
    with torch.no_grad():
        expected, found = model(image), srprof.lean(model, SHAPE)(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_lean_on_the_cpu():
    network = Sdpa().eval()
    resident = sum(p.nbytes for p in network.parameters()) + torch.zeros(SHAPE).nbytes
    before, after = (
        srprof.measure(module, SHAPE, device="cpu", repeat=0, threads=1).memory.warm.max_allocated
        for module in (network, srprof.lean(network, SHAPE))
    )
    assert (before - resident, after - resident) == (1_206_272, 1_075_200)
