"""Work in main memory that waits until it is read: all is as if it did not wait."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import srprof
from srprof.call import Call
from srprof.records import Trace
from srprof.tracing import deferral
from srprof.tracing.deferral import Deferral, Deferred
from srprof.tracing.recorder import Recorder, recording
from srprof.tracing.run import run_trace, trace_call
from srprof.workload import Workload

MASKS = Path(__file__).parents[1] / "cases" / "masks.py"
SWIN = f"{MASKS}:Swin"


@pytest.fixture
def fills(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls each reading of values made."""
    counts: list[int] = []
    fill = Deferral.fill

    def counted(self: Deferral) -> None:
        if self._waiting:
            counts.append(len(self._waiting))
        fill(self)

    monkeypatch.setattr(Deferral, "fill", counted)
    return counts


def traced(model: Any, side: int = 64) -> Trace:
    return trace_call(Call(model, ((1, 3, side, side),), trace_on="meta"), holders=False)


def at_once(monkeypatch: pytest.MonkeyPatch, model: Any, side: int = 64) -> Trace:
    """A trace in which nothing waits."""
    with monkeypatch.context() as patch:
        patch.setattr(deferral, "LARGE", 2**62)
        return traced(model, side)


def test_masks_that_only_go_to_the_device_are_never_made(monkeypatch, fills):
    assert traced(SWIN) == at_once(monkeypatch, SWIN) and not fills


def test_masks_larger_than_main_memory_can_be_traced():
    """64 GiB each, of which a GPU would hold one at a time."""
    trace = traced(SWIN, side=16384)
    assert max(s.nbytes for s in trace.storages if s.host) == 2**36


def test_fit_finds_what_it_finds_with_all_masks_made(monkeypatch, fills):
    found = srprof.fit(SWIN, "8MiB", memory="eager")
    assert not fills and found.shape[-1] == 96
    monkeypatch.setattr(deferral, "LARGE", 2**62)
    assert srprof.fit(SWIN, "8MiB", memory="eager") == found


def test_fit_traces_each_size_once(monkeypatch):
    sizes: list[tuple[int, ...]] = []

    def run(workload: Workload, *args: Any, **options: Any) -> Trace:
        sizes.append(workload.args[0].shape)
        return run_trace(workload, *args, **options)

    monkeypatch.setattr("srprof.estimating.probe.run_trace", run)
    found = srprof.fit("fmen_s", "8MiB")
    assert found.traces == len(sizes) == len(set(sizes))


class Steps(nn.Module):
    """A convolution after a number of channels that the steps of a test choose from a mask."""

    def __init__(self, steps: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[-1] * 8, x.shape[-1] * 8)
        mask[3:, 5:] = 2
        mask = mask - mask.flip(0)
        mask = mask.masked_fill(mask == 0, 1.0)
        return self.conv(x)[..., : int(self.steps(mask)) % 60 + 1]


def through_numpy(mask: Tensor) -> Any:
    array = mask.numpy()
    mask += 1
    array[7] = 3
    doubled = mask * 2
    array[8] = 5
    return doubled.sum() + mask.sum()


def through_a_list(mask: Tensor) -> Any:
    return sum(mask[0].tolist()) + len(torch.tensor([mask[0, 0], mask[1, 1]]))


def by_its_own_storage(mask: Tensor) -> Any:
    mask.resize_(5, 5)
    return mask.sum() + mask.numel()


def transposed(mask: Tensor) -> Any:
    mask.t_()
    mask[1] = 9
    return mask[:, 1].sum()


def random(mask: Tensor) -> Any:
    mask.uniform_()
    return (torch.rand(300, 300) * mask[:300, :300]).sum() * 1e3 + torch.rand(1) * 50


def copied(mask: Tensor) -> Any:
    twin, buffer = copy.deepcopy(mask), io.BytesIO()
    torch.save(mask, buffer)
    buffer.seek(0)
    return twin.add_(1).sum() + torch.load(buffer).sum()


READS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda mask: mask.sum(),
    "bool": lambda mask: 7 if (mask == 2).any() else 50,
    "all close": lambda mask: 7 if torch.equal(mask, mask * 1) else 50,
    "nonzero": lambda mask: len((mask == 2).nonzero()),
    "boolean index": lambda mask: len(mask[mask == 2]),
    "unique": lambda mask: len(mask.unique()),
    "a view": lambda mask: mask.view(-1)[9 * mask.shape[1] : 9 * mask.shape[1] + 9].sum(),
    "diagonal": lambda mask: mask.diagonal().fill_(4).sum() + mask[5, 5],
    "integer index": lambda mask: mask[torch.arange(9), mask[:9, 0].long()].sum(),
    "two dtypes": lambda mask: mask.view(torch.int32)[0, 0] + (mask > 0).long().sum(),
    "out": lambda mask: torch.add(mask, 1, out=mask).sum() + mask.max(),
    "array": lambda mask: np.asarray(mask).sum(),
    "text": lambda mask: len(str(mask)),
    "product": lambda mask: (mask[:20] @ mask[:, :20]).sum(),
    "numpy": through_numpy,
    "list": through_a_list,
    "resize": by_its_own_storage,
    "transpose": transposed,
    "random": random,
    "copy": copied,
}


@pytest.mark.parametrize("how", READS)
def test_each_way_of_reading_values(how: str, monkeypatch):
    model = Steps(READS[how])
    torch.manual_seed(0)
    expected = at_once(monkeypatch, model)
    torch.manual_seed(0)
    trace = traced(model)
    assert trace.result == expected.result
    assert trace.nodes[-1].shape == expected.nodes[-1].shape
    assert [n.op for n in trace.nodes] == [n.op for n in expected.nodes]
    assert [n.on for n in trace.nodes] == [n.on for n in expected.nodes]


@pytest.mark.parametrize("model", [SWIN, Steps(by_its_own_storage)], ids=["waits", "cannot wait"])
def test_analyses_and_advice_are_the_same(model, monkeypatch):
    image = (1, 3, 64, 64)
    found = srprof.analyze(model, image).to_dict(), srprof.advise(model, image).to_dict()
    monkeypatch.setattr(deferral, "LARGE", 2**62)
    assert (srprof.analyze(model, image).to_dict(), srprof.advise(model, image).to_dict()) == found
    assert "two runs" not in str(found)


class Place:
    """Where a run leaves something that nobody puts back."""

    __slots__ = ("mask",)


PLACE = Place()


class Keeping(nn.Module):
    """Keeps a mask where srprof's copy of the network does not reach."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(PLACE, "mask"):
            PLACE.mask = torch.ones(512, 512).triu()
        return x * PLACE.mask[: x.shape[-2], : x.shape[-1]].to(x.device)


def test_what_a_run_leaves_behind_has_its_values():
    traced(Keeping())
    mask = PLACE.mask
    assert isinstance(mask, Deferred)
    assert torch.equal(mask[:3, :3] * 1, torch.ones(3, 3).triu())
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(Keeping()(image), image * torch.ones(64, 64).triu())
    assert mask.numpy()[5, 4] == 0 and mask.tolist()[4][5] == 1
    assert mask.mul_(2) is mask and mask[4, 5] == 2 and mask.div_(2)[4, 5] == 1
    with pytest.raises(RuntimeError, match="make it anew"):
        mask.resize_(2)
    assert torch.equal(traced(Keeping()).nodes and mask + 0, torch.ones(512, 512).triu())


#: Steps of a program on tensors of 4x6, of which `a` and `b` are two.
PROGRAM: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "make": lambda a, b: torch.arange(24.0).view(4, 6),
    "outer": lambda a, b: torch.arange(4.0)[:, None] - torch.arange(6.0),
    "add": lambda a, b: a + b,
    "scale": lambda a, b: a * 0.5 + 1,
    "fill": lambda a, b: a.masked_fill(b > a, -3.0),
    "choose": lambda a, b: torch.where(a > 1, a, b),
    "turn": lambda a, b: a.t().reshape(4, 6),
    "roll": lambda a, b: a.roll(1, 0),
    "join": lambda a, b: torch.cat([a[:2], b[2:]]),
    "view": lambda a, b: a[:],
    "expand": lambda a, b: a[:1].expand(4, 6),
    "write": lambda a, b: a.mul_(2),
    "part": lambda a, b: a[1:3].fill_(7),
    "copy": lambda a, b: a[:, ::2].copy_(b[:, :3]),
    "read": lambda a, b: a.add_(b.sum().item()),
    "array": lambda a, b: a.numpy().__iadd__(1),
    "norm": lambda a, b: torch.linalg.norm(b).expand(4, 6),
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(PROGRAM)), st.booleans()), max_size=12))
def test_any_program_reads_what_it_would_have_read(steps: list[tuple[str, bool]]):
    def run() -> list[list[float]]:
        a, b = torch.zeros(4, 6), torch.ones(4, 6)
        for name, turned in steps:
            a, b = (b, a) if turned else (a, b)
            if name in ("write", "part", "copy", "read", "array"):
                a = a.contiguous() + 0  # an expanded tensor cannot be written
                view = a[:]
                PROGRAM[name](a, b)
                b = view + b
            else:
                a = PROGRAM[name](a, b)
        return [a.tolist(), b.tolist()]

    expected = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferral, "LARGE", 4)
        patch.setattr(deferral, "_FEW", 0)
        with recording(Recorder(nn.Module(), "meta", defer=True)):
            assert run() == expected
