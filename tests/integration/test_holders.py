"""Who holds it: the variables that keep dead tensors alive, with their lines."""

from __future__ import annotations

import itertools
from collections import UserDict
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import srprof
from srprof.tracing import holders as holders_module
from srprof.words import MIB

#: What a network of these keeps in the module.
KEPT: dict[str, list[torch.Tensor]] = {}


def line_of(file: str, text: str) -> int:
    """Number of the first line of a file that contains the text."""
    lines = Path(file).read_text().splitlines()
    return next(i for i, line in enumerate(lines, start=1) if text in line)


@pytest.fixture(scope="module")
def e_rfdn():
    return srprof.analyze("e_rfdn", "510x510")


def test_e_rfdn_held_is_what_planned_lacks(e_rfdn):
    node = e_rfdn.memory.eager.node
    parts = e_rfdn.memory.parts[node]
    assert sum(h.nbytes for h in e_rfdn.held_at_peak) == parts.eager - parts.planned
    assert round(parts.held / MIB, 2) == 436.19
    assert e_rfdn.trace.nodes[node].module == "B4.esa"


def test_e_rfdn_names_the_blocks_locals_with_lines(e_rfdn):
    held = {h.holder.variable: h.holder for h in e_rfdn.held_at_peak}
    block = {"distilled_c1", "distilled_c2", "distilled_c3", "r_c1", "r_c2", "r_c3", "r_c4", "out"}
    attention = {"c1_", "c1", "v_max", "v_range", "c3", "cf", "c4"}
    assert set(held) == block | attention
    for name, holder in held.items():
        assert holder.function == ("RFDB.forward" if name in block else "ESA.forward")
        source = Path(holder.file).read_text().splitlines()[holder.line - 1].strip()
        assert source.startswith(f"{name} = "), (name, source)


def test_e_rfdn_names_the_networks_locals_that_are_kept(e_rfdn):
    live = {s.variable: s for s in e_rfdn.live_at_peak}
    for name in ("out_B1", "out_B2", "out_B3", "out_fea"):
        storage = live[name]
        assert storage.part == "kept"
        assert storage.function == "ERFDN.forward"
        assert storage.line == line_of(storage.file, f"{name} = ")


def test_e_rfdn_releases(e_rfdn):
    first = e_rfdn.releases[0]
    assert (first.holder.variable, round(first.saving / MIB, 2)) == ("out", 99.22)
    after = [r.peak_after for r in e_rfdn.releases]
    assert after == sorted(after, reverse=True)
    assert after[-1] >= e_rfdn.memory.planned.nbytes


def test_releasing_a_variable_brings_what_was_said():
    """The saving is checked by deleting the variable and analyzing again."""

    class Holding(nn.Module):
        def __init__(self, release: bool):
            super().__init__()
            self.release = release
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            dead = self.conv(x)
            y = F.relu(dead)
            if self.release:
                del dead
            y = self.conv(y)
            return self.conv(y)

    holding = srprof.analyze(Holding(False), (1, 8, 64, 64))
    released = srprof.analyze(Holding(True), (1, 8, 64, 64))
    (release,) = holding.releases
    assert release.holder.variable == "dead"
    assert release.saving > 0
    assert holding.memory.eager.nbytes - release.saving == released.memory.eager.nbytes
    assert holding.memory.planned == released.memory.planned


class Network(nn.Module):
    """Runs `steps` and then one large call, at which the peak lies."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.large = nn.Conv2d(4, 64, 3, padding=1)

    def forward(self, x):
        y = self.steps(x)
        return self.large(y)


def holders(model: nn.Module):
    """Variables and kinds of what is held at the peak."""
    analysis = srprof.analyze(model, (1, 4, 32, 32))
    return [(h.holder.variable, h.holder.kind, h.holder.function) for h in analysis.held_at_peak]


def test_a_module_attribute():
    class Caching(Network):
        def steps(self, x):
            self.cache = self.conv(x)
            return F.relu(self.cache)

    ((variable, kind, where),) = holders(Caching())
    assert (variable, kind) == ("self.cache", "attribute")
    assert "Caching" in where


def test_a_list_a_dict_and_an_object():
    class Box:
        pass

    class Collecting(Network):
        def forward(self, x):
            feats = [self.conv(x)]
            table = {"first": self.conv(x)}
            box = Box()
            box.inner = self.conv(x)
            y = F.relu(feats[0] + table["first"] + box.inner)
            return self.large(y)

    found = {variable for variable, _, _ in holders(Collecting())}
    assert found == {"feats[0]", "table['first']", "box.inner"}


_GLOBAL_CACHE: dict[str, torch.Tensor] = {}


@pytest.mark.usefixtures("all_in_sight")
def test_a_module_global():
    class Leaking(Network):
        def steps(self, x):
            _GLOBAL_CACHE["leak"] = self.conv(x)
            return F.relu(_GLOBAL_CACHE["leak"])

    try:
        ((variable, kind, _),) = holders(Leaking())
    finally:
        _GLOBAL_CACHE.clear()
    assert kind == "global"
    assert "_GLOBAL_CACHE" in variable
    assert "leak" in variable


def test_a_reference_cycle():
    class Cyclic(Network):
        def steps(self, x):
            first = [self.conv(x)]
            first.append(first)
            return F.relu(first[0])

    ((_, kind, function),) = holders(Cyclic())
    assert kind == "unknown"
    assert function.endswith("Cyclic.steps")


def test_torchs_own_variable_is_shown_at_the_users_line():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(8, 8)
            self.attention = nn.MultiheadAttention(8, 4)

        def forward(self, tokens):
            out, _ = self.attention(*[self.embed(tokens)] * 3)  # called here
            return out

    analysis = srprof.analyze(Attention(), (256, 1, 8))
    inside = [h.holder for h in analysis.held_at_peak if h.holder.kind == "torch"]
    assert inside
    for holder in inside:
        assert "(in MultiheadAttention" in holder.variable or "multi_head" in holder.variable
        assert holder.function.endswith("Attention.forward")
        assert holder.line == line_of(__file__, "# called here")


def test_a_rebound_name_has_the_line_of_its_last_binding():
    class Rebinding(Network):
        def forward(self, x):
            y = self.conv(x)
            y = self.conv(y)  # this one
            z = F.relu(y)
            return self.large(z)

    analysis = srprof.analyze(Rebinding(), (1, 4, 32, 32))
    (held,) = analysis.held_at_peak
    assert held.holder.variable == "y"
    assert held.holder.line == line_of(__file__, "# this one")


def test_a_random_network_says_that_it_cannot_say():
    """Two runs that differ (an iterator counts them, which nobody can put back) have a note."""
    calls = itertools.count()

    class Alternating(Network):
        def forward(self, x):
            y = self.conv(x)
            z = F.relu(y) if next(calls) % 2 else torch.sigmoid(y)
            return self.large(z)

    analysis = srprof.analyze(Alternating(), (1, 4, 32, 32))
    assert any("different calls" in note for note in analysis.trace.notes)
    (held,) = analysis.held_at_peak
    assert held.holder.kind == "unknown"


def test_a_weight_made_anew_in_forward():
    """The old weight is let go and no part of `net`; the new one is the module's."""

    class Merging(Network):
        def forward(self, x):
            self.conv.weight.data = self.conv.weight.data * 2
            return self.large(self.conv(x))

    analysis = srprof.analyze(Merging(), (1, 4, 32, 32), granularity=1)
    resident = sum(p.numel() * 4 for p in Merging().parameters()) - 4 * 4 * 9 * 4
    assert analysis.memory.net == resident
    live = [n.live for n in analysis.trace.nodes]
    assert [p.eager - p.net for p in analysis.memory.parts] == live
    (held,) = analysis.held_at_peak
    assert (held.holder.variable, held.holder.kind) == ("self.weight", "attribute")
    assert "conv" in held.holder.function


def test_variables_that_share_a_storage_are_named_together():
    analysis = srprof.analyze("imdn", "64x64")
    assert {r.variable for r in analysis.releases} == {"d1, r1", "d2, r2", "d3, r3", "d4"}


def test_a_block_input_is_held_by_its_call_as_well():
    """`del x` in a block does not free what the caller's frames still hold."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.large = nn.Conv2d(4, 64, 3, padding=1)

        def forward(self, x):
            y = F.relu(x)
            return self.large(y)

    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)
            self.block = Block()

        def forward(self, x):
            return self.block(self.conv(x))

    (release,) = srprof.analyze(Blocks(), (1, 4, 32, 32)).releases
    assert (release.variable, release.elsewhere) == ("x", True)


class Endless(Mapping):
    """A mapping of mappings, all without an end; how it has none is said by `kind`."""

    def __init__(self, kind, tensor):
        self.kind, self.tensor = kind, tensor

    def __len__(self):
        return 1

    def __iter__(self):
        while True:
            if self.kind == "yields":
                yield "key"

    def __getitem__(self, key):
        return self


class EndlessDict(dict):
    def items(self):
        while True:
            yield "key", self

    __iter__ = keys = values = items


class EndlessList(list):
    def __iter__(self):
        while True:
            yield self


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda x: Endless("yields", x), "kept.tensor"),
        (lambda x: Endless("loops", x), "kept.tensor"),
        (lambda x: EndlessDict(key=x), "kept['key']"),
        (lambda x: EndlessList([x]), "kept[0]"),
        (lambda x: UserDict(key=x), "kept['key']"),
    ],
)
def test_a_local_that_iterates_for_ever(make, named):
    """It is looked into without its own code, and what it holds is found."""

    class Keeping(Network):
        def forward(self, x):
            kept = make(self.conv(x))
            return self.large(x) + 0 * len(type(kept).__name__)

    (held,) = srprof.analyze(Keeping(), (1, 4, 32, 32)).held_at_peak
    assert held.holder.variable == named


def test_a_local_of_many_containers():
    """The search has an end, though each container is small enough to be searched."""
    inner = [[[0.5] * 4096] * 4096] * 4096

    class Many(Network):
        def forward(self, x):
            kept = [inner, self.conv(x)]
            return self.large(x) + 0 * len(kept)

    assert len(srprof.analyze(Many(), (1, 4, 32, 32)).held_at_peak) == 1


def test_many_tensors_without_a_name(monkeypatch: pytest.MonkeyPatch):
    """Each round of the search looks for each thing once: what it notes down is not found anew."""
    searched: list[int] = []
    search = holders_module._referrers

    def counted(things):
        searched.append(len(things))
        return search(things)

    monkeypatch.setattr(holders_module, "_referrers", counted)

    class Many(Network):
        def forward(self, x):
            return [self.conv(x).relu() for _ in range(40)]

    class Kept(Network):
        def forward(self, x):
            self.large(KEPT.setdefault("all", [self.conv(x) for _ in range(40)])[0])
            return x.relu()

    KEPT.clear()
    for network in (Many(), Kept()):
        assert srprof.trace(network, (1, 4, 32, 32)).references
    assert searched
    assert max(searched) <= 100
