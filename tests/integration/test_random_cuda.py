"""Networks that Hypothesis makes, on a GPU: every call and every live byte is as traced without.

Plain, in a region of autocast, and with attention, of which the zoo has none.
"""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import srprof
from srprof.compare.validate import Validation, validate
from tests.autocast_chains import SHAPE, STEPS, Chain
from tests.random_networks import RandomNetwork, random_networks

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

some = settings(max_examples=25)


def compared(model: nn.Module, shape: tuple[int, ...], dtype: str = "float32") -> Validation:
    """The model on the GPU against its trace on meta."""
    measurement = srprof.measure(model, shape, device="cuda", dtype=dtype, repeat=0)
    return validate(measurement, srprof.trace(model, shape, dtype=dtype))


def differences(found: Validation) -> tuple[object, ...]:
    return (*found.missing, *found.worst)


@some
@given(random_networks())
def test_random_networks(network: RandomNetwork):
    assert not differences(compared(network.build(), network.shape))


@some
@given(
    st.lists(st.sampled_from(STEPS), min_size=1, max_size=12),
    st.sampled_from([torch.float16, torch.bfloat16]),
)
def test_regions_of_autocast(steps: list[str], lower: torch.dtype):
    assert not differences(compared(Chain(steps, lower, cached=True), SHAPE))


class Attention(nn.Module):
    """Attention with every argument that decides which kernel is taken."""

    def __init__(self, mask: str, causal: bool, keys: int) -> None:
        super().__init__()
        self.mask, self.causal, self.keys = mask, causal, keys

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = x * 1, x[:, :, : self.keys] * 2, x[:, :, : self.keys] * 3
        sides = (*query.shape[:-1], self.keys)
        mask = None
        if self.mask == "bool":
            mask = torch.ones(sides[-2:], dtype=torch.bool, device=x.device)
        elif self.mask == "float":
            mask = torch.zeros(sides, device=x.device, dtype=x.dtype)
        result = F.scaled_dot_product_attention(query, key, value, mask, is_causal=self.causal)
        return result + 1


MASKS = (("", False), ("", True), ("bool", False), ("float", False))
CASES = [
    (dtype, mask, causal, width, keys)
    for dtype, (mask, causal), width, keys in itertools.product(
        ("float32", "float16", "bfloat16"), MASKS, (15, 16, 30, 64, 256, 272), (64, 37)
    )
    if not (causal and keys != 64)
]


@pytest.mark.parametrize("dtype, mask, causal, width, keys", CASES)
def test_attention(dtype: str, mask: str, causal: bool, width: int, keys: int):
    """On Hopper cuDNN's kernel is taken in half precision, which keeps no logarithms of sums."""
    hopper = torch.cuda.get_device_capability() >= (9, 0)
    cudnn = hopper and dtype != "float32" and not width % 8 and width <= 256
    if cudnn and mask:
        pytest.skip("cuDNN's takes masks as they are")
    found = compared(Attention(mask, causal, keys).eval(), (2, 6, 64, width), dtype)
    assert not found.missing
    logarithms = 2 * 6 * 64 * 4 + 8 if cudnn else 0
    assert {check.difference for check in found.worst} <= {logarithms}
