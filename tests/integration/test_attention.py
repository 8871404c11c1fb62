"""Attention, which devices run in different ways."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

import srprof


class Attention(nn.Module):
    """One head over all positions of an image."""

    def __init__(self, mask: str = ""):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        q = x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
        mask = None
        if self.mask:
            mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device)
            mask = mask if self.mask == "bool" else mask.to(q.dtype)
        return F.scaled_dot_product_attention(q, q, q, attn_mask=mask)


class Heads(nn.Module):
    """Four heads over 512 tokens, given as such."""

    def forward(self, q):
        return F.scaled_dot_product_attention(q, q, q)


SHAPE = (1, 32, 32, 32)
WEIGHTS = 1024 * 1024 * 4


def ops(trace):
    return [node.op for node in trace.nodes]


def test_meta_takes_the_fused_path_and_says_so():
    analysis = srprof.analyze(Attention(), SHAPE)
    assert "_scaled_dot_product_efficient_attention" in ops(analysis.trace)
    assert analysis.memory.eager.nbytes < WEIGHTS
    assert any("fused" in note for note in analysis.trace.notes)
    assert not analysis.complexity.uncounted


def test_half_precision_takes_flash():
    trace = srprof.trace(Attention(), SHAPE, dtype="float16")
    assert "_scaled_dot_product_flash_attention" in ops(trace)


def test_a_name_imported_from_torch_is_replaced_too():
    class Imported(Attention):
        def forward(self, x):
            return scaled_dot_product_attention(x, x, x)

    assert ops(srprof.trace(Imported(), SHAPE)) == ["_scaled_dot_product_efficient_attention"]


@pytest.mark.parametrize("mask", ["bool", "float"])
def test_masks(mask):
    trace = srprof.trace(Attention(mask), SHAPE)
    assert "_scaled_dot_product_efficient_attention" in ops(trace)
    cpu = srprof.trace(Attention(mask), SHAPE, trace_on="cpu")
    assert trace.nodes[-1].outputs[0].shape == cpu.nodes[-1].outputs[0].shape


class Operands(nn.Module):
    """Attention of operands of any width, with a mask of any kind."""

    def __init__(self, keys: int = 64, mask: str = "", causal: bool = False):
        super().__init__()
        self.keys, self.mask, self.causal = keys, mask, causal

    def forward(self, x):
        key = x[:, :, : self.keys]
        mask = None
        if self.mask:
            mask = x.new_zeros(x.shape[-2], self.keys)
            mask = mask.bool() if self.mask == "bool" else mask
        return F.scaled_dot_product_attention(x, key, key, mask, is_causal=self.causal)


def calls_of(model, width, dtype="float32"):
    """Its ops without the aliases that the operands are."""
    trace = srprof.trace(model, (2, 6, 64, width), dtype=dtype)
    return [node.op for node in trace.nodes if node.op not in ("slice", "new_zeros", "alias")]


EFFICIENT = "_scaled_dot_product_efficient_attention"
FLASH = "_scaled_dot_product_flash_attention"


def test_heads_are_filled_up_for_flash():
    """As an H100 does it; its own kernel there for the others is cuDNN's."""
    assert calls_of(Operands(), 30, "float16") == [*["constant_pad_nd"] * 3, FLASH]
    assert calls_of(Operands(), 64, "float16") == [FLASH]
    assert calls_of(Operands(), 272, "bfloat16") == [EFFICIENT]
    (padded,) = (
        node for node in srprof.trace(Operands(), (2, 6, 64, 30), dtype="float16").nodes
        if node.op == FLASH
    )  # fmt: skip
    assert padded.shape == (2, 6, 64, 32)


@pytest.mark.parametrize("width, dtype", [(30, "float32"), (15, "float32")])
@pytest.mark.parametrize("causal", [False, True])
def test_widths_that_no_fused_kernel_takes(width, dtype, causal):
    found = calls_of(Operands(causal=causal), width, dtype)
    assert "bmm" in found and EFFICIENT not in found


def test_a_mask_is_made_a_number_and_aligned():
    number = ["scalar_tensor", "scalar_tensor", "where"]
    assert calls_of(Operands(mask="bool"), 32)[1:] == [*number, "expand", EFFICIENT]
    padded = calls_of(Operands(keys=37, mask="float"), 32)
    assert padded == ["constant_pad_nd", "expand", EFFICIENT]
    assert calls_of(Operands(mask="float"), 32) == ["expand", EFFICIENT]
    assert "bmm" in calls_of(Operands(mask="float"), 30, "float16")


def test_what_the_call_holds_until_it_returns():
    """Logarithms of flash attention's sums beside its crop; a mask as a number beside its pad."""
    trace = srprof.trace(Operands(), (2, 6, 64, 30), dtype="float16")
    *_, flash, crop = trace.nodes
    assert (flash.op, crop.op) == (FLASH, "slice")
    filled = 2 * 6 * 64 * 32 * 2
    assert crop.live == flash.live
    assert flash.live == 2 * 6 * 64 * 30 * 2 + 4 * filled + 2 * 6 * 64 * 4 + 24
    trace = srprof.trace(Operands(keys=37, mask="bool"), (2, 6, 64, 32))
    numbers = {node.op: node for node in trace.nodes}
    assert numbers["expand"].live == numbers["constant_pad_nd"].live
    assert numbers["constant_pad_nd"].live - numbers["where"].live == 64 * 40 * 4 - 8


def test_the_state_of_dropout_is_in_main_memory():
    trace = srprof.trace(Operands(), (2, 6, 64, 32))
    made = 2 * 6 * 64 * 32 * 4
    assert trace.nodes[-1].live == 2 * made


def test_fake_cuda_shows_the_unfused_path():
    analysis = srprof.analyze(Heads(), (1, 4, 512, 16), trace_on="cuda-fake")
    assert analysis.memory.eager.nbytes >= 2 * WEIGHTS


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA it can")
def test_what_fake_cuda_cannot_run_is_said():
    with pytest.raises(srprof.ModelError, match=r"fake tensors cannot run it.*--trace-on meta"):
        srprof.analyze(Attention(), SHAPE, trace_on="cuda-fake")


def test_macs_agree_between_the_paths():
    shape = (1, 4, 512, 16)
    fused = srprof.analyze(Heads(), shape).complexity.macs
    assert fused == 2 * 4 * 512 * 512 * 16
    assert fused == srprof.analyze(Heads(), shape, trace_on="cuda-fake").complexity.macs
    assert fused == srprof.analyze(Heads(), shape, trace_on="cpu").complexity.macs


def test_the_function_is_put_back():
    srprof.analyze(Attention(), SHAPE)
    assert F.scaled_dot_product_attention is scaled_dot_product_attention
    assert F.scaled_dot_product_attention is torch._C._nn.scaled_dot_product_attention
