"""`Series`: one network at several sizes has the traces that each size has by itself."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srprof.call import Call
from srprof.tracing import run
from srprof.workload import resolve


class Mean(nn.Module):
    """Sets an attribute in each call: Swin transformers bring their mean to the image's device."""

    def __init__(self):
        super().__init__()
        self.conv, self.mean = nn.Conv2d(3, 3, 3, padding=1), torch.zeros(1, 3, 1, 1)

    def forward(self, x):
        self.mean = self.mean.type_as(x)
        return self.conv(x - self.mean) + self.mean


class Cache(nn.Module):
    """Keeps what it made for a size, in a list that it has from the start."""

    def __init__(self):
        super().__init__()
        self.conv, self.masks = nn.Conv2d(3, 3, 3, padding=1), {}

    def forward(self, x):
        size = x.shape[-2:]
        if size not in self.masks:
            self.masks[size] = torch.ones(size, device=x.device) * 2
        return self.conv(x) * self.masks[size]


@lru_cache
def ramp(width, device):
    return torch.arange(width, device=device) + 1.0


class Memo(nn.Module):
    """Has a function that remembers its results."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x) * ramp(x.shape[-1], x.device)


class First(nn.Module):
    """Does something once."""

    def __init__(self):
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 8, 3, padding=1), 0

    def forward(self, x):
        self.calls += 1
        y = self.conv(x)
        return y + y.relu() if self.calls == 1 else y


class Attention(nn.Module):
    """Torch's own attention, which a GPU runs in another way."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2).unsqueeze(1)
        return F.scaled_dot_product_attention(tokens, tokens, tokens)


NETWORKS = [Mean, Cache, Memo, First, Attention]


def facts(trace):
    nodes = [(n.op, n.module, n.inputs, n.outputs, n.created, n.written) for n in trace.nodes]
    return nodes, trace.storages, trace.result_shape, trace.notes


@pytest.mark.parametrize("network", NETWORKS)
def test_each_trace_is_that_of_a_fresh_instance(network, monkeypatch):
    series, whole = run.Series(), run.run_trace
    traced = []
    monkeypatch.setattr(run, "run_trace", lambda *a, **k: traced.append(a) or whole(*a, **k))
    for size in ((16, 16), (24, 16), (16, 16), (20, 28)):
        workload = resolve(Call(network(), ((1, 3, *size),)))
        assert facts(series.trace(workload)) == facts(whole(workload, holders=False))
    assert len(traced) == 1
