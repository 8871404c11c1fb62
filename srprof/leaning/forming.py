"""The form that a network is given for a device: which of the passes for it, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch.fx import Graph

from srprof.leaning.filling import Filled, Widths, filled
from srprof.leaning.functional import functional
from srprof.leaning.graphs import Known, without_dead
from srprof.leaning.layout import channels_last
from srprof.leaning.liveness import is_random
from srprof.leaning.steps import gathered

#: Passes that give a form, in order, each the name of what it sets.
FORMING = ("constants", "layout", "widths", "biases", "steps")


@dataclass(frozen=True)
class Form:
    """What is done to a graph for a device.

    Attributes:
        widths: physical channels of convolutions' results by the network's own.
        biases: biases are among the weights of filled channels, where there are such.
        whole, compact: as of `Widths`.
        layout: maps have their channels innermost.
        steps: element-wise calls that follow a convolution are one, with its bias.
        constants: what weights and sizes decide is made once.
    """

    widths: Mapping[int, int] = field(default_factory=dict)
    biases: bool = False
    whole: bool = False
    compact: bool = True
    layout: bool = False
    steps: bool = False
    constants: bool = False

    @property
    def filled(self) -> bool:
        """Whether any channels are filled, or parts of them read as a whole."""
        return self.has("widths") or (self.whole and self.layout)

    def has(self, name: str) -> bool:
        """Whether a pass does anything in it."""
        if name == "widths":
            return any(total > count for count, total in self.widths.items())
        return bool(getattr(self, name)) and (name != "biases" or self.has("widths"))

    def wider(self, width: int, total: int) -> Form:
        """The same with so many channels in the place of a width."""
        widths = dict(sorted({**self.widths, width: total}.items()))
        return replace(self, widths=widths)


def formed(graph: Graph, form: Form, known: Known) -> Filled:
    """The graph in this form, but for its constants; it stays as it is."""
    if any(is_random(node) for node in graph.nodes):  # what is drawn lies as what it is drawn for
        form = replace(form, widths={}, layout=False)
    result = Filled(graph)
    if form.filled or form.steps:
        plain = functional(graph, known)
        if plain is None:
            return Filled(graph, ended=("a call that writes into what is read again",))
        result = Filled(plain)
    if form.filled:
        widths = Widths(
            form.widths,
            value=1.0 if form.biases else 0.0,
            biases=form.biases,
            whole=form.whole and form.layout,
            compact=form.compact,
        )
        result = filled(result.graph, widths, known)
    made = result.graph
    if form.layout:
        made = channels_last(made, known)
    if form.steps:
        made = gathered(made, known)
    if made is not graph:
        made = without_dead(made)
    return Filled(made, result.constants, result.ended)
