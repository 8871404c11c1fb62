"""Exports in which what looks alike is worked out once, against exports of torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from srprof.leaning import alike
from srprof.leaning.alike import expression
from srprof.leaning.capture import capture
from tests.one_function import Network


def views(net: Any, x: Tensor) -> Tensor:
    """Views, of alike tensors and of one."""
    first, second = torch.relu(x).chunk(2, 1), torch.relu(x).flatten(2)
    joined = torch.cat([*first, *torch.relu(x).chunk(2, 1)], 1)
    return joined.flatten(2) + second.repeat(1, 2, 1)


def changed_in_place(net: Any, x: Tensor) -> Tensor:
    """Sizes that a call in place changes, of one of several alike tensors."""
    first, second, third = x * 2, x * 2, x * 2
    second.transpose_(2, 3)
    third.unsqueeze_(0)
    return first.sum() + (second * 2).sum((0, 1)).mean(0)[1] + (third * 2)[0, 0, 0, 0, 0]


def convolved(net: Any, x: Tensor) -> Tensor:
    for _ in range(3):
        x = F.relu_(net.conv(x)) + x
    return F.interpolate(x, scale_factor=2)


def of_other_kinds(net: Any, x: Tensor) -> Tensor:
    """Numbers of several types, dtypes, and values that a call hands through."""
    other = x.double() * 2 + x * 2 + x * 2.0
    return F.dropout(other.float(), 0.5, False).to(x) + x.new_zeros(x.shape) + x.contiguous()


def of_sizes(net: Any, x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    rows = torch.arange(height).view(1, 1, -1, 1) + torch.arange(width)
    return x * rows + F.pad(x, (0, width, 0, 0))[..., :width] * torch.tensor(2.0)


def looks_of(code: Callable[..., object]) -> list[Any]:
    """Each call of the graph, with sizes and memory layout of its value."""
    graph = capture(Network(code).eval(), (torch.rand(2, 4, 6, 8),), {}).graph
    found = []
    for node in graph.nodes:
        # a size that nothing reads is no part of a plan
        if node.op == "call_function" and node.users:
            value = node.meta["val"]
            lies = (*value.shape, *value.stride()) if isinstance(value, Tensor) else ()
            found.append((str(node.target), getattr(value, "dtype", None), *map(str, lies)))
    return found


@pytest.mark.parametrize("code", [views, changed_in_place, convolved, of_other_kinds, of_sizes])
def test_graphs_are_those_of_torch(code, monkeypatch):
    found = looks_of(code)
    monkeypatch.setattr(alike, "patches", list)
    assert found == looks_of(code)


def test_alike_values_are_one_and_others_are_not():
    graph = capture(Network(changed_in_place).eval(), (torch.rand(2, 4, 6, 8),), {}).graph
    doubled = [n for n in graph.nodes if str(n.target) == "aten.mul.Tensor"]
    sizes = [tuple(map(expression, node.meta["val"].shape)) for node in doubled]
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[3][2:] == sizes[0][:1:-1]
