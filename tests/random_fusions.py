"""Random networks with a fusion, for Hypothesis: parts that are concatenated for a 1x1 convolution.

Parts have names, share their memory with another variable, or are calls in the list; they are
joined in any order, in a statement of their own or not.
"""

from __future__ import annotations

from hypothesis import strategies as st

_CLASS = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
{layers}

    def forward(self, x):
        x = x * 2
{body}
"""
_TRUNK = 4


@st.composite
def fused_networks(draw: st.DrawFn) -> str:
    """Source of a class `Net` that takes images of four channels."""
    widths = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    if draw(st.booleans()):
        widths = widths[:1] * len(widths)
    layers: list[str] = []
    body: list[str] = []
    parts: list[str] = []
    source = "x", _TRUNK
    for index, width in enumerate(widths):
        part, source = _part(draw, index, width, source, layers, body)
        parts.append(part)
    call = _fusion(draw, sum(widths), draw(st.permutations(parts)), layers, body)
    named = [part for part in parts if part.isidentifier()]
    name = draw(st.sampled_from(["y", "x", "joined", *named]))
    forms = ["{0}", "{0} + x", "F.relu({0})", "{0}.mean(1, True) + 1"]
    body.append(f"{name} = {draw(st.sampled_from(forms)).format(call)}")
    if draw(st.booleans()):
        other = draw(st.sampled_from([*named, "x"]))
        body.append(f"{name} = {name}.mean(1, True) + {other}.mean(1, True)")
    copies = draw(st.sampled_from([0, 1, 4, 9]))
    body.append(
        f"return torch.cat([{name}.mean(1, True)] * {copies}, dim=1)"
        if copies
        else f"return {name}"
    )
    return _CLASS.format(
        layers="\n".join(f"        {line}" for line in layers),
        body="\n".join(f"        {line}" for line in body),
    )


def _part(
    draw: st.DrawFn,
    index: int,
    width: int,
    source: tuple[str, int],
    layers: list[str],
    body: list[str],
) -> tuple[str, tuple[str, int]]:
    """A part of the concatenation, and what the next one is made of: its name and channels."""
    form = draw(st.sampled_from(["name", "name", "activated", "split", "inline"]))
    name, channels = source
    made = width + _TRUNK * (form == "split")
    layers.append(f"self.m{index} = nn.Conv2d({channels}, {made}, 3, padding=1)")
    call = f"self.m{index}({name})"
    if form == "inline":
        return call, source
    if form == "split":
        body.append(f"p{index}, r{index} = torch.split({call}, [{width}, {_TRUNK}], dim=1)")
        return f"p{index}", (f"r{index}", _TRUNK)
    body.append(f"p{index} = " + (f"F.relu({call})" if form == "activated" else call))
    following = draw(st.sampled_from(["part", "trunk", "same"]))
    if following == "trunk":
        layers.append(f"self.h{index} = nn.Conv2d({channels}, {_TRUNK}, 3, padding=1)")
        body.append(f"h = self.h{index}({name})")
        return f"p{index}", ("h", _TRUNK)
    return f"p{index}", (f"p{index}", width) if following == "part" else source


def _fusion(
    draw: st.DrawFn, channels: int, parts: list[str], layers: list[str], body: list[str]
) -> str:
    """The convolution's call; it may stand in a Sequential or a list."""
    layer = f"nn.Conv2d({channels}, {_TRUNK}, 1{draw(st.sampled_from(['', ', bias=False']))})"
    form = draw(st.sampled_from(["{0}", "nn.ModuleList([{0}])", "nn.Sequential({0}, {1})"]))
    activation = f"nn.LeakyReLU(0.1, inplace={draw(st.booleans())})"
    layers.append(f"self.fuse = {form.format(layer, activation)}")
    called = "self.fuse[0]" if "List" in form else "self.fuse"
    brackets = draw(st.sampled_from(["[{}]", "({})"]))
    joined = f"torch.cat({brackets.format(', '.join(parts))}, dim=1)"
    if draw(st.booleans()):
        body.append(f"joined = {joined}  # what is fused")
        joined = "joined"
    return f"{called}({joined})"
