"""Lean networks on a GPU: every bit as it was, and a lower peak by CUDA's allocator."""

from __future__ import annotations

import pickle

import pytest
import torch

import srprof
from srprof import models
from srprof.leaning.comparison import compare

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

NETWORKS = ("e_rfdn", "imdn", "fmen_s", "rlfn", "neesr", "repafdn", "megsr", "rainbow", "fmen")
SHAPE, OTHER = (1, 3, 256, 256), (2, 3, 120, 88)

tabled = pytest.mark.parametrize("name", NETWORKS)


def network(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(0)
    return getattr(models, name)().eval().to("cuda", dtype)


def peak(module: torch.nn.Module, image: torch.Tensor) -> int:
    """Bytes requested at most in a call, above what was there before it."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()["requested_bytes.all.current"]
    module(image)
    return int(torch.cuda.memory_stats()["requested_bytes.all.peak"]) - before


@tabled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_bit_and_a_lower_peak(name: str, dtype: torch.dtype):
    before = network(name, dtype)
    lean = srprof.lean(before, SHAPE)
    with torch.no_grad():
        for shape in (SHAPE, OTHER):
            image = torch.rand(shape, device="cuda", dtype=dtype)
            assert compare("random", None, before(image), lean(image)).identical
        image = torch.rand(SHAPE, device="cuda", dtype=dtype)
        assert peak(lean, image) < peak(before, image)


@tabled
def test_equivalent_up_to_rounding(name: str, monkeypatch: pytest.MonkeyPatch):
    """Without TF32, whose own rounding is a thousand times that."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    before = network(name)
    lean = srprof.lean(before, SHAPE, level="equivalent")
    image = torch.rand(SHAPE, device="cuda")
    with torch.no_grad():
        assert compare("random", None, before(image), lean(image)).error < 1e-5
        assert peak(lean, image) < peak(before, image)


def test_made_on_the_cpu_and_moved():
    before = network("e_rfdn").cpu()
    lean = srprof.lean(before, SHAPE).cuda()
    again = pickle.loads(pickle.dumps(lean))
    image = torch.rand(SHAPE, device="cuda")
    with torch.no_grad():
        expected = before.cuda()(image)
        for made in (lean, again):
            assert compare("random", None, expected, made(image)).identical


def test_a_lean_network_has_the_predicted_bytes_at_each_node(monkeypatch: pytest.MonkeyPatch):
    """Without TF32 cuDNN takes no scratch, and the peak is the analysis's."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    lean = srprof.lean("e_rfdn", SHAPE).cuda()
    planned = srprof.analyze(srprof.lean("e_rfdn", SHAPE), SHAPE, granularity=1).memory
    resident = sum(t.nbytes for t in (*lean.parameters(), *lean.buffers()))
    image = torch.rand(SHAPE, device="cuda")
    with torch.no_grad():
        measured = peak(lean, image) + image.nbytes + resident
    assert measured == planned.eager.nbytes
