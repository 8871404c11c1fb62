"""Random networks for Hypothesis: Python source with the habits that decide memory.

Convolutions, views, in-place calls, concatenations, lists of feature maps, branches, loops, early
`del`s, re-bound names, caches on `self`, nested modules; where a test asks for it, also images in
a dict, dtypes of their own, views that modules keep, computed weights. Each is real source, so
that a failure can be read, and so that who-holds-it has lines to name.
"""

from __future__ import annotations

import itertools
import linecache
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

_HEADER = """\
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, weight_norm


class Twice(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Scaled(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight * self.weight.abs().max(), self.bias, padding=self.padding)


def doubled(module):
    parametrize.register_parametrization(module, "weight", Twice())
    return module


"""
#: A convolution whose weight is computed at each call, by torch's ways and a network's own.
_COMPUTED = [
    "weight_norm(nn.Conv2d({}))",
    "parametrizations.weight_norm(nn.Conv2d({}))",
    "parametrizations.spectral_norm(nn.Conv2d({}))",
    "doubled(nn.Conv2d({}))",
    "doubled(doubled(nn.Conv2d({})))",
    "Scaled({})",
]
_numbers = itertools.count()


@dataclass
class _Class:
    """One class while it is written: variables in scope with (channels, height, width)."""

    name: str
    depth: int
    variables: dict[str, tuple[int, int, int]]
    wide: bool = False
    layers: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    takes: str = "x"
    fresh: int = 0

    def layer(self, expression: str) -> str:
        name = f"m{len(self.layers)}"
        self.layers.append(f"        self.{name} = {expression}")
        return f"self.{name}"

    def source(self) -> str:
        layers = self.layers or ["        pass"]
        return (
            f"class {self.name}(nn.Module):\n    def __init__(self):\n"
            "        super().__init__()\n"
            + "\n".join(layers)
            + f"\n\n    def forward(self, {self.takes}):\n"
            + "\n".join(f"        {line}" for line in self.body)
            + "\n"
        )


@dataclass(frozen=True)
class RandomNetwork:
    """A network as source, the image it takes, and how: alone or in a dict beside a mask.

    `dtype` is that of the whole network; single layers may have another.
    """

    source: str
    shape: tuple[int, int, int, int]
    masked: bool = False
    dtype: str = "float32"

    def build(self) -> nn.Module:
        """Execute the source; its lines can be shown in tracebacks."""
        filename = f"<random network {next(_numbers)}>"
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(True), filename)
        scope: dict[str, object] = {"__name__": "random_network"}
        exec(compile(self.source, filename, "exec"), scope)
        torch.manual_seed(0)
        network = scope["Net"]
        assert callable(network)
        made = network()
        assert isinstance(made, nn.Module)
        return made if self.dtype == "float32" else made.to(getattr(torch, self.dtype))

    @property
    def asked(self) -> Any:
        """What srprof is given: shapes, or tensors where the dtype is not the usual one."""
        if self.dtype != "float32":
            return self.example()
        return {"lq": self.shape, "mask": self._mask} if self.masked else self.shape

    def example(self) -> Any:
        """What the network is given, of its own dtype."""
        like: dict[str, Any] = {
            "dtype": getattr(torch, self.dtype),
            "generator": torch.Generator().manual_seed(1),
        }
        image = torch.rand(self.shape, **like)
        return {"lq": image, "mask": torch.rand(self._mask, **like)} if self.masked else image

    @property
    def _mask(self) -> tuple[int, int, int, int]:
        return self.shape[0], 1, *self.shape[2:]


@st.composite
def random_networks(draw: st.DrawFn, wide: bool = False) -> RandomNetwork:
    """Networks of up to about 40 calls on small images; `wide` ones have every habit."""
    channels = draw(st.integers(1, 4))
    height, width = draw(st.sampled_from([(8, 8), (12, 8), (9, 14)]))
    batch = draw(st.integers(1, 2))
    classes: list[str] = []
    masked = wide and draw(st.booleans())
    cls = _Class("Net", 0, {"x": (channels, height, width)}, wide)
    if masked:
        cls.takes = "batch"
        cls.body += ['x = batch["lq"]', 'mask = batch["mask"]']
        cls.variables["mask"] = (1, height, width)
    _write_class(draw, cls, classes)
    dtypes = ["float32", "float32", "float64", "bfloat16"]
    dtype = draw(st.sampled_from(dtypes)) if wide else "float32"
    source = _HEADER + "\n\n".join(classes)
    return RandomNetwork(source, (batch, channels, height, width), masked, dtype)


def _write_class(draw: st.DrawFn, cls: _Class, classes: list[str]) -> tuple[int, int, int]:
    """Write a class and those it uses to `classes`; gives its output's shape."""
    for _ in range(draw(st.integers(2, 10 if cls.depth == 0 else 4))):
        _write_statement(draw, cls, classes)
    result = draw(st.sampled_from(sorted(cls.variables)))
    shape = cls.variables[result]
    others = sorted(cls.variables)
    if cls.depth == 0:
        extra = draw(st.sampled_from(others))
        form = draw(st.sampled_from(["{0}", "({0}, {1})", '{{"sr": {0}, "aux": [{1}]}}']))
        cls.body.append("return " + form.format(result, extra))
    else:
        cls.body.append(f"return {result}")
    classes.append(cls.source())
    return shape


def _target(draw: st.DrawFn, cls: _Class) -> str:
    """A name to bind: mostly new, sometimes one that is in use."""
    if draw(st.integers(0, 2)) == 0:
        return draw(st.sampled_from(sorted(cls.variables)))
    cls.fresh += 1
    return f"v{cls.fresh}"


def _write_statement(draw: st.DrawFn, cls: _Class, classes: list[str]) -> None:
    name = draw(st.sampled_from(sorted(cls.variables)))
    c, h, w = cls.variables[name]
    kinds = ["conv", "conv", "conv_act", "act", "act_", "binary", "binary_", "cat", "view",
             "split", "del", "feats", "loop", "branch", "cache", "alias", "resize",
             "temporary"]  # fmt: skip
    if cls.depth < 2:
        kinds.append("nested")
    if cls.wide:
        kinds += ["computed", "computed", "own_dtype", "kept_view", "kept_weight"]
    kind = draw(st.sampled_from(kinds))
    same = [v for v, s in sorted(cls.variables.items()) if s == (c, h, w)]
    same_size = [v for v, s in sorted(cls.variables.items()) if s[1:] == (h, w)]
    out = draw(st.integers(1, 5))
    conv = draw(st.sampled_from(["{0}, {1}, 3, padding=1", "{0}, {1}, 1"])).format(c, out)
    if kind in ("conv", "conv_act", "temporary"):
        call = f"{cls.layer(f'nn.Conv2d({conv})')}({name})"
        if kind == "conv_act":
            call = f"{cls.layer('nn.LeakyReLU(0.1, inplace=True)')}({call})"
        if kind == "temporary":
            call = f"torch.cat([{call}, {name}], dim=1) * 2"
            out += c
        target = _target(draw, cls)
        cls.body.append(f"{target} = {call}")
        cls.variables[target] = (out, h, w)
    elif kind == "nested":
        inner = f"{cls.name}_{len(classes)}_{len(cls.layers)}"
        nested = _Class(inner, cls.depth + 1, {"x": (c, h, w)}, cls.wide)
        shape = _write_class(draw, nested, classes)
        layer = cls.layer(f"nn.Sequential({inner}(), nn.Sigmoid())")
        target = _target(draw, cls)
        cls.body.append(f"{target} = {layer}({name})")
        cls.variables[target] = shape
    elif kind == "computed":
        target = _target(draw, cls)
        form = draw(st.sampled_from(_COMPUTED))
        cls.body.append(f"{target} = {cls.layer(form.format(conv))}({name})")
        cls.variables[target] = (out, h, w)
    elif kind == "own_dtype":
        dtype = draw(st.sampled_from(["torch.float64", "torch.bfloat16"]))
        layer = cls.layer(f"nn.Conv2d({conv}, dtype={dtype})")
        target = _target(draw, cls)
        cls.body.append(f"{target} = {layer}({name}.to({layer}.weight.dtype)).to({name}.dtype)")
        cls.variables[target] = (out, h, w)
    elif kind == "kept_view":
        view = draw(
            st.sampled_from(["[:, :1]", ".permute(0, 2, 3, 1)", ".flatten(1)", ".detach()"])
        )
        cls.body.append(f"self.view_{draw(st.integers(0, 1))} = {name}{view}")
    elif kind == "kept_weight":
        layer = cls.layer(f"nn.Conv2d({conv})")
        kept = cls.layer(f"{layer}.weight.detach()[:1].transpose(0, 1)")
        target = _target(draw, cls)
        cls.body.append(f"{target} = {layer}({name}) * {kept}.mean()")
        cls.variables[target] = (out, h, w)
    elif kind == "act":
        target = _target(draw, cls)
        cls.body.append(f"{target} = F.relu({name})")
        cls.variables[target] = (c, h, w)
    elif kind == "act_":
        target = _target(draw, cls)
        cls.body.append(f"{target} = F.leaky_relu({name}, 0.1, inplace=True)")
        cls.variables[target] = (c, h, w)
    elif kind == "binary":
        target = _target(draw, cls)
        sign = draw(st.sampled_from("+-*"))
        cls.body.append(f"{target} = {name} {sign} {draw(st.sampled_from(same))}")
        cls.variables[target] = (c, h, w)
    elif kind == "binary_":
        sign = draw(st.sampled_from("+-*"))
        cls.body.append(f"{name} {sign}= {draw(st.sampled_from(same))}")
    elif kind == "cat":
        parts = draw(st.lists(st.sampled_from(same_size), min_size=1, max_size=3))
        target = _target(draw, cls)
        cls.body.append(f"{target} = torch.cat([{', '.join(parts)}], dim=1)")
        cls.variables[target] = (sum(cls.variables[p][0] for p in parts), h, w)
    elif kind == "view":
        target = _target(draw, cls)
        if draw(st.booleans()):
            cls.body.append(f"{target} = {name}.permute(0, 1, 3, 2)")
            cls.variables[target] = (c, w, h)
        else:
            keep = draw(st.integers(1, c))
            cls.body.append(f"{target} = {name}[:, :{keep}]")
            cls.variables[target] = (keep, h, w)
    elif kind == "split" and c >= 2:
        at = draw(st.integers(1, c - 1))
        cls.fresh += 2
        a, b = f"v{cls.fresh - 1}", f"v{cls.fresh}"
        cls.body.append(f"{a}, {b} = torch.split({name}, ({at}, {c - at}), dim=1)")
        cls.variables[a], cls.variables[b] = (at, h, w), (c - at, h, w)
    elif kind == "del" and len(cls.variables) > 1:
        cls.body.append(f"del {name}")
        del cls.variables[name]
    elif kind == "feats":
        layer = cls.layer(f"nn.Conv2d({c}, {c}, 3, padding=1)")
        count = draw(st.integers(1, 3))
        target = _target(draw, cls)
        cls.body += [
            f"feats = [{name}]",
            f"for _ in range({count}):",
            f"    feats.append({layer}(feats[-1]))",
            f"{target} = torch.cat(feats, dim=1)",
        ]
        if draw(st.booleans()):
            cls.body.append("del feats")
        cls.variables[target] = (c * (count + 1), h, w)
    elif kind == "loop":
        layer = cls.layer(f"nn.Conv2d({c}, {c}, 3, padding=1)")
        cls.body += [f"for _ in range({draw(st.integers(1, 3))}):", f"    {name} = {layer}({name})"]
    elif kind == "branch":
        target = _target(draw, cls)
        cls.body += [
            f"if {name}.mean().shape == () and {draw(st.booleans())}:",
            f"    {target} = {name} * 2",
            "else:",
            f"    {target} = torch.sigmoid({name}) + 1",
        ]
        cls.variables[target] = (c, h, w)
    elif kind == "cache":
        cls.body.append(f"self.cache_{draw(st.integers(0, 1))} = {name}")
    elif kind == "alias":
        target = _target(draw, cls)
        cls.body.append(f"{target} = {name}")
        cls.variables[target] = (c, h, w)
    elif kind == "resize":
        target = _target(draw, cls)
        if min(h, w) >= 4 and draw(st.booleans()):
            cls.body.append(f"{target} = F.max_pool2d({name}, 2)")
            cls.variables[target] = (c, h // 2, w // 2)
        elif max(h, w) <= 32:
            cls.body.append(f"{target} = F.interpolate({name}, scale_factor=2, mode='bilinear')")
            cls.variables[target] = (c, 2 * h, 2 * w)
