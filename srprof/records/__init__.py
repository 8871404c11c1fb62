"""The record of one run: frozen data, no tensor, no torch.

Everything that srprof reports is computed from a `Trace`; nothing runs the model again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from srprof.words import tensors_text

if TYPE_CHECKING:
    from torch.fx import Graph

Role = Literal["parameter", "buffer", "constant", "input", "activation"]

Where = Literal["device", "host", "to-device", "to-host"]

#: Roles that stay resident for the whole run: the paper's M_net.
RESIDENT_ROLES = frozenset({"parameter", "buffer", "constant"})


class TensorInfo(NamedTuple):
    """What is known of one tensor that a node reads or returns.

    `storage` indexes `Trace.storages`. `nbytes` is numel x itemsize, which for a view is less
    than its storage holds and for an expanded tensor more. `strides` are in elements, () if not
    known.
    """

    storage: int
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    strides: tuple[int, ...] = ()


class TensorRef(NamedTuple):
    """A tensor among a node's arguments: output `output` of node `node`.

    `node` is -1 for tensors that no node made; `output` then indexes `Trace.externals`.
    """

    node: int
    output: int


@dataclass(frozen=True, slots=True)
class External:
    """A tensor that the run did not make: an input, a parameter, a buffer or a constant."""

    name: str
    role: Role
    info: TensorInfo


@dataclass(frozen=True, slots=True)
class Storage:
    """One block of memory, however many tensors view it.

    It is referenced at the end of every node `i` with `birth <= i < death`.

    Attributes:
        nbytes: bytes requested.
        role: who made it.
        birth: index of the node that made it; -1 if it was there before the run.
        death: index of the first node at whose end it is gone; the number of nodes if it
            outlives the run.
        uses: indices of the nodes that read it or change it in place, ascending.
        returned: the caller gets a tensor of it.
        cached: it is there when the call has ended, though the caller gets no tensor of it: an
            attribute, a graph of autograd that something holds, a global.
        host: it lives in main memory while the model's tensors are on a device.
        name: the state-dict key or input name, where there is one.
    """

    nbytes: int
    role: Role
    birth: int
    death: int
    uses: tuple[int, ...]
    returned: bool = False
    host: bool = False
    name: str = ""
    cached: bool = False

    def at(self, birth: int, death: int, uses: tuple[int, ...]) -> Storage:
        """The same storage with another life; in a third of the time of `dataclasses.replace`."""
        kept = self.returned, self.host, self.name, self.cached
        return Storage(self.nbytes, self.role, birth, death, uses, *kept)

    @property
    def resident(self) -> bool:
        """Whether it is part of the network rather than of the run."""
        return self.role in RESIDENT_ROLES


#: Begins the namespaces that rules' operators have in torch, apart from those of real packages.
RULED = "rules_"


class Ruled(NamedTuple):
    """What a rule says of a call of an operator that is not torch's.

    Attributes:
        function: dotted, what it stands in for. by: where its rule is.
        macs: multiply-accumulates, None where nobody says. family: of `srprof.ops`.
        moved: bytes that it reads and writes; None: each of its tensors once.
        seconds: that it takes on the device; None: as a profile has it by these.
        kernels: that it launches.
        depends: positions of the arguments on which its results depend for torch.jit, of a function
            that is compiled; None: on all.
    """

    function: str
    by: str
    macs: int | None
    family: str
    moved: int | None = None
    seconds: float | None = None
    kernels: int = 1
    depends: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One ATen call.

    Attributes:
        op: `convolution` for `aten::convolution`; other libraries keep their namespace.
        overload: the overload's name, `default` if it has none.
        module: path of the innermost module whose `forward` was running; "" is the model.
        file, line, function: the user's source line that asked for the call.
        inputs, outputs: the tensors it read and returned, in order.
        created: storages that it made and handed out. written: storages that it changed in place.
        arguments: positional and keyword arguments, each tensor replaced by a `TensorRef`.
        live: bytes referenced by the program when it ended, without the resident ones.
        on: where it works: on the device of the model's tensors, in main memory beside it ("host"),
            or it copies between the two.
        emptied: of a node behind which the code has the allocator give its cache back
            (`torch.cuda.empty_cache`), the storages that were let go between the two; None of
            others.
        ruled: what the rule of an operator that is not torch's says of the call.
        opaque: it is within a function that torch.jit does not look into.
    """

    index: int
    op: str
    overload: str
    module: str
    file: str
    line: int
    function: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    created: tuple[int, ...]
    written: tuple[int, ...]
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]]
    live: int
    on: Where = "device"
    emptied: tuple[int, ...] | None = None
    ruled: Ruled | None = None
    opaque: bool = False

    @property
    def inplace(self) -> bool:
        """Whether it changes an existing storage."""
        return bool(self.written)

    @property
    def is_view(self) -> bool:
        """Whether it only makes new tensors of existing storages."""
        return bool(self.outputs) and not self.created and not self.written

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output; () if there is none."""
        return self.outputs[0].shape if self.outputs else ()


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of a registered module, in the order in which calls ended.

    Attributes:
        path: dotted path in the model; "" is the model itself.
        kind: `Conv2d` for torch's class and its subclasses, so for all classes that the challenge
            counts; else the class's own name, with its module where it is not torch's.
        output: shape of the (first) output tensor, () if it returned none.
        weight: of a counted class, shape of the weight that it was made with; () if it has none.
        input: shape of the (first) positional tensor that it was called with, () if there is none.
    """

    path: str
    kind: str
    output: tuple[int, ...]
    weight: tuple[int, ...]
    input: tuple[int, ...] = ()


class ModuleInfo(NamedTuple):
    """A registered module: its path ("" is the model), its class, and its parameters.

    `parameters` are those of all inside it too, each once. `padded_by_a_word`: a convolution that
    was given `padding="same"` or `"valid"`.
    """

    path: str
    kind: str
    parameters: int
    padded_by_a_word: bool = False


class Frame(NamedTuple):
    """One call of a function of the user's, as it stood at a node.

    `call` numbers the calls in their order; `called` is the call that it waits for, 0 if none.
    `place` is the expression that it was evaluating (first line and column, last line and column),
    None if Python does not say: before 3.11.
    """

    call: int
    called: int
    file: str
    function: str
    first_line: int
    line: int
    place: tuple[int, int, int, int] | None


ReferenceKind = Literal["local", "argument", "attribute", "global", "torch", "temporary", "unknown"]


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that references a storage.

    Attributes:
        variable: as Python would write it: `distilled_c1`, `feats[2]`, `self.cache`.
        function: the function whose variable it is; for an attribute, the module's path.
        file, line: where the variable got the tensor; ("", 0) if not known.
        kind: a local or argument of the user's code, an attribute of a module, a global, a
            variable of torch's own code, a value without a name, or unknown.
    """

    variable: str
    function: str
    file: str
    line: int
    kind: ReferenceKind


#: Kinds that the user's own code can let go.
OWN_KINDS = frozenset({"local", "argument", "attribute", "global"})

UNKNOWN = Reference("(unknown)", "", "", 0, "unknown")


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something of a network that its run does not show.

    Attributes:
        text: what, in one line. figures: that cannot be said, by their names in `srprof.figures`.
    """

    text: str
    figures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """What a recorded training step has beside a forward pass.

    Attributes:
        backward, update: indices of the first nodes of backward and of the optimizer's step;
            what stands before is forward and the loss.
        gradients: storages of the parameters' gradients when backward has ended.
        state: storages of the optimizer's state.
    """

    backward: int
    update: int
    gradients: frozenset[int]
    state: frozenset[int]


@dataclass(frozen=True, slots=True)
class Pass:
    """One outermost call of a module while a model was built.

    Attributes:
        kind: the module's class; file, line: where it was called.
        autograd: whether autograd recorded.
        first, end: index of its first node, and of the one behind its last.
    """

    kind: str
    file: str
    line: int
    autograd: bool
    first: int
    end: int


@dataclass(frozen=True)
class Trace:
    """Everything that one run of a model revealed.

    Attributes:
        name: of the model; spec: what the user wrote for it.
        device: where it ran: "meta", "cpu" or "cuda-fake".
        nodes, storages, externals, calls: the record, each in order of appearance.
        result: what the model returned, each tensor replaced by a `TensorRef`.
        parameters: number of parameters, frozen ones too.
        modules: those that are registered, parents before their children.
        scale, width: upscaling factor and trunk channels, where the zoo knows them.
        references: by storage, what references it at the eager peak, the user's code first.
        fallback: why the meta device could not run it, "" if it could or was not asked to.
        builds_on_device: the model's constructor puts tensors on the GPU by itself.
        construction: what it did there, where that was recorded.
        passes: of a constructor's trace, the modules that it called, in order.
        again: a second call of the same instance, where it makes other calls or finds what this
            one left; its `carried` has storages of this one.
        carried: by storage, which one of the trace before it is, where a `Program` was recorded.
        previous: by storage of a call's result that the caller still holds, which one of this
            call's result is like it.
        warm: libraries have what they keep from calls before it.
        step: of a training step, where its phases begin; None for a forward pass.
        unseen: parts of the run that are not in the record.
        notes: what a reader of the figures must know, one line each.
    """

    name: str
    spec: str
    device: str
    torch_version: str
    nodes: tuple[Node, ...]
    storages: tuple[Storage, ...]
    externals: tuple[External, ...]
    calls: tuple[ModuleCall, ...]
    result: Any
    parameters: int
    scale: int | None = None
    width: int | None = None
    references: Mapping[int, tuple[Reference, ...]] = field(default_factory=dict)
    fallback: str = ""
    builds_on_device: bool = False
    construction: Construction | None = None
    passes: tuple[Pass, ...] = ()
    again: Trace | None = None
    carried: Mapping[int, int] = field(default_factory=dict)
    previous: Mapping[int, int] = field(default_factory=dict)
    warm: bool = False
    step: TrainingStep | None = None
    unseen: tuple[Unseen, ...] = ()
    notes: tuple[str, ...] = ()
    modules: tuple[ModuleInfo, ...] = ()

    @property
    def inputs(self) -> tuple[External, ...]:
        """The tensors of the call."""
        return tuple(e for e in self.externals if e.role == "input")

    @property
    def unknown(self) -> frozenset[str]:
        """Names of the figures that cannot be said."""
        return frozenset(name for part in self.unseen for name in part.figures)

    @property
    def inputs_text(self) -> str:
        """Their shapes and dtypes."""
        return tensors_text(e.info for e in self.inputs)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result; () if it is no single tensor."""
        result = self.result
        if not isinstance(result, TensorRef):
            return ()
        if result.node < 0:
            return self.externals[result.output].info.shape
        return self.nodes[result.node].outputs[result.output].shape

    def references_of(self, storage: int) -> tuple[Reference, ...]:
        """What references a storage at the eager peak; at least one entry."""
        return self.references.get(storage) or (UNKNOWN,)

    @cached_property
    def graph(self) -> Graph:
        """The run as a `torch.fx.Graph` of ATen calls; built at first use."""
        from srprof.records.fxgraph import build_graph

        return build_graph(self)


@dataclass(frozen=True)
class Construction:
    """What the constructor of a traced model did on the device.

    Attributes:
        trace: of the constructor.
        found: by storage of the call's trace, which one of the constructor's it is. What is no
            parameter, buffer or constant of the call is there without being read: the graph of a
            forward whose result an attribute holds.
    """

    trace: Trace
    found: Mapping[int, int]


@dataclass(frozen=True)
class Program:
    """One instance of a model from its constructor through several calls.

    Attributes:
        construction: what the constructor did on the device; None if it left it alone.
        calls: the calls in order. What a call finds of the trace before it is in its `carried`.
    """

    construction: Trace | None
    calls: tuple[Trace, ...]
