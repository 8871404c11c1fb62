"""Flags of torch.backends that a model sets: named with their values, and put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import srprof

SHAPE = (1, 3, 8, 8)
_BACKENDS = "torch.backends."
_NEW = hasattr(torch.backends, "fp32_precision")
new_switches = pytest.mark.skipif(not _NEW, reason="torch has them since 2.9")


class Sets(nn.Module):
    """Executes statements of a model's author."""

    def __init__(self, *statements: str) -> None:
        super().__init__()
        self.statements = statements

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for statement in self.statements:
            exec(statement, {"torch": torch})
        return x + 1


def flags() -> dict[str, Any]:
    """All that is read here, and what torch refuses to tell as None."""
    paths = """
    cudnn.enabled cudnn.benchmark cudnn.benchmark_limit cudnn.deterministic cudnn.allow_tf32
    cuda.matmul.allow_tf32 cuda.matmul.allow_fp16_reduced_precision_reduction
    cuda.matmul.allow_bf16_reduced_precision_reduction cuda.matmul.allow_fp16_accumulation
    cuda.flash_sdp_enabled() cuda.math_sdp_enabled() cuda.mem_efficient_sdp_enabled()
    cuda.cudnn_sdp_enabled()
    """.split()
    if _NEW:
        parts = "cuda.matmul cudnn cudnn.conv cudnn.rnn mkldnn mkldnn.matmul mkldnn.conv".split()
        paths += ["fp32_precision", *(f"{part}.fp32_precision" for part in parts)]
    found: dict[str, Any] = {}
    for path in paths:
        try:
            found[path] = eval(_BACKENDS + path)
        except RuntimeError:
            found[path] = None
    found["precision"] = torch.get_float32_matmul_precision()
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "cudnn.enabled = False",
        "cudnn.benchmark = True",
        "cudnn.benchmark_limit = 4",
        "cudnn.deterministic = True",
        "cudnn.allow_tf32 = False",
        "cuda.matmul.allow_fp16_reduced_precision_reduction = False",
        "cuda.matmul.allow_bf16_reduced_precision_reduction = False",
        "cuda.matmul.allow_fp16_accumulation = True",
        pytest.param("fp32_precision = 'tf32'", marks=new_switches),
        pytest.param("cuda.matmul.fp32_precision = 'tf32'", marks=new_switches),
        pytest.param("cudnn.fp32_precision = 'tf32'", marks=new_switches),
        pytest.param("cudnn.conv.fp32_precision = 'ieee'", marks=new_switches),
        pytest.param("cudnn.rnn.fp32_precision = 'ieee'", marks=new_switches),
    ],
)
def test_a_flag_is_named_once_with_its_value_and_put_back(statement: str):
    before = flags()
    trace = srprof.trace(Sets(_BACKENDS + statement), SHAPE)
    name, _, value = statement.partition(" = ")
    (note,) = trace.notes
    assert note.startswith(f"the model set torch.backends.{name} to ")
    assert value.strip("'") in note
    assert flags() == before


@pytest.mark.parametrize("kind", ["flash", "math", "mem_efficient", "cudnn"])
def test_a_kernel_of_attention_that_is_switched_off(kind: str):
    before = flags()
    trace = srprof.trace(Sets(f"torch.backends.cuda.enable_{kind}_sdp(False)"), SHAPE)
    (note,) = trace.notes
    assert f"torch.backends.cuda.enable_{kind}_sdp to False" in note
    assert flags() == before


def test_tf32_of_matrix_products_is_one_flag_under_two_names():
    before = flags()
    trace = srprof.trace(Sets("torch.backends.cuda.matmul.allow_tf32 = True"), SHAPE)
    assert [note.split(";")[0] for note in trace.notes] == [
        "the model set torch's float32 matmul precision to high",
        "the model set torch.backends.cuda.matmul.allow_tf32 to True",
    ]
    assert flags() == before


@new_switches
def test_old_and_new_switches_together():
    """torch then refuses to read the old ones."""
    before = flags()
    model = Sets(
        "torch.backends.cudnn.benchmark = True",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    )
    notes = srprof.trace(model, SHAPE).notes
    assert any("cudnn.benchmark to True" in note for note in notes)
    assert any("cuda.matmul.fp32_precision to ieee" in note for note in notes)
    assert flags() == before


def test_a_flag_that_holds_for_a_block_only_is_not_named():
    class Within(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.backends.cudnn.flags(enabled=False):
                return x + 1

    assert srprof.trace(Within(), SHAPE).notes == ()
