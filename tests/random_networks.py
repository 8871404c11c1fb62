"""Random networks for Hypothesis: Python source with the habits that decide memory.

Convolutions, views, in-place calls, concatenations, lists of feature maps, branches, loops, early
`del`s, re-bound names, caches on `self`, nested modules. Each is real source, so that a failure
can be read, and so that who-holds-it has lines to name.
"""

from __future__ import annotations

import itertools
import linecache
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from torch import nn

_HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
_numbers = itertools.count()


@dataclass
class _Class:
    """One class while it is written: variables in scope with (channels, height, width)."""

    name: str
    depth: int
    variables: dict[str, tuple[int, int, int]]
    layers: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
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
            + "\n\n    def forward(self, x):\n"
            + "\n".join(f"        {line}" for line in self.body)
            + "\n"
        )


@dataclass(frozen=True)
class RandomNetwork:
    """A network as source, and the channels of the image it takes."""

    source: str
    shape: tuple[int, int, int, int]

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
        return made


@st.composite
def random_networks(draw: st.DrawFn) -> RandomNetwork:
    """Networks of up to about 40 calls on images of a few channels."""
    channels = draw(st.integers(1, 4))
    height, width = draw(st.sampled_from([(8, 8), (12, 8), (9, 14)]))
    batch = draw(st.integers(1, 2))
    classes: list[str] = []
    _write_class(draw, "Net", (channels, height, width), 0, classes)
    return RandomNetwork(_HEADER + "\n".join(classes), (batch, channels, height, width))


def _write_class(
    draw: st.DrawFn, name: str, shape: tuple[int, int, int], depth: int, classes: list[str]
) -> tuple[int, int, int]:
    """Write a class and those it uses to `classes`; gives its output's shape."""
    cls = _Class(name, depth, {"x": shape})
    for _ in range(draw(st.integers(2, 10 if depth == 0 else 4))):
        _write_statement(draw, cls, classes)
    result = draw(st.sampled_from(sorted(cls.variables)))
    shape = cls.variables[result]
    others = sorted(cls.variables)
    if depth == 0:
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
        shape = _write_class(draw, inner, (c, h, w), cls.depth + 1, classes)
        layer = cls.layer(f"nn.Sequential({inner}(), nn.Sigmoid())")
        target = _target(draw, cls)
        cls.body.append(f"{target} = {layer}({name})")
        cls.variables[target] = shape
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
