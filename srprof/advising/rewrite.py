"""What an edit writes in the source: frozen data with exact places. The words are the view's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from srprof.advising.source import Place

Kind = Literal["del", "in-place", "order", "split"]


@dataclass(frozen=True)
class Delete:
    """`del` of variables when a statement has run; `block`: it has statements of its own."""

    form: ClassVar[str] = "delete"
    kind: ClassVar[Kind] = "del"
    names: tuple[str, ...]
    after: Place
    block: bool


@dataclass(frozen=True)
class BindCall:
    """A call in a statement is bound to a name on a line of its own before it."""

    form: ClassVar[str] = "bind"
    kind: ClassVar[Kind] = "del"
    name: str
    call: Place
    text: str
    before: Place


@dataclass(frozen=True)
class Overwrite:
    """An element-wise expression writes into one of its operands.

    Attributes:
        place: of the expression.
        into, others: its operands.
        call: a method, `add_`, or a function of `torch.nn.functional`, `silu`, with `numbers`.
        old, new: the expression as it is and as it will be.
    """

    form: ClassVar[str] = "in-place"
    kind: ClassVar[Kind] = "in-place"
    place: Place
    into: Place
    others: tuple[Place, ...]
    call: str
    numbers: tuple[float, ...]
    old: str
    new: str


@dataclass(frozen=True)
class Construct:
    """An activation is constructed with `inplace=True`.

    Attributes:
        owner: the class that has it, at `path`.
        file, call: where it is constructed; None if that is not in plain sight.
    """

    form: ClassVar[str] = "construct"
    kind: ClassVar[Kind] = "in-place"
    owner: str
    path: str
    file: str
    call: Place | None


@dataclass(frozen=True)
class MoveStatement:
    """A statement goes below another of its block, or above it."""

    form: ClassVar[str] = "move"
    kind: ClassVar[Kind] = "order"
    statement: Place
    beside: Place
    below: bool


@dataclass(frozen=True)
class ExchangeStatements:
    """Two neighbouring statements change places."""

    form: ClassVar[str] = "exchange"
    kind: ClassVar[Kind] = "order"
    first: Place
    second: Place


@dataclass(frozen=True)
class Part:
    """One part of a concatenation that is split.

    Attributes:
        place: its expression; channels: how many it has.
        after: the statement behind which it is convolved; None: where the concatenation was.
        fresh: a name for its value, where it has none.
        let_go: names to delete, each behind a statement, or where that is None behind its own
            convolution.
    """

    place: Place
    channels: int
    after: Place | None
    fresh: str
    let_go: tuple[tuple[str, Place | None], ...]


@dataclass(frozen=True)
class SplitFusion:
    """A concatenation and its 1x1 convolution become a sum of partial convolutions.

    Attributes:
        line: of the convolution. early: each part is convolved as soon as it is made.
        cat, convolution: the calls; statement: that of the convolution.
        joined: the statement before it that only binds the concatenation, to the name `joins`.
        module: the called module, as written; inside: the convolution is its first layer.
        total, weights: names for the sum and for the weight's parts.
        named: the sum has the name that the convolution's result had, and its statement goes.
        parts: in the concatenation's order.
        let_go: the statement behind which the sum's own name is deleted.
        problem: why it is left to a person; then there are no parts.
    """

    form: ClassVar[str] = "split"
    kind: ClassVar[Kind] = "split"
    line: int
    early: bool
    cat: Place | None = None
    convolution: Place | None = None
    statement: Place | None = None
    joined: Place | None = None
    joins: str = ""
    module: str = ""
    inside: bool = False
    total: str = ""
    weights: str = ""
    named: bool = False
    parts: tuple[Part, ...] = ()
    let_go: Place | None = None
    problem: str = ""


Rewrite = (
    Delete | BindCall | Overwrite | Construct | MoveStatement | ExchangeStatements | SplitFusion
)
