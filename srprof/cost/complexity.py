"""Complexity of a network: as the NTIRE challenge counts it, and the true multiply-accumulates.

The challenge's script hooks a network's registered modules. Its quirks decide the published
digits, so they are kept: a transposed convolution is counted at output size, biases never, and
of the activations only ReLU, ReLU6, PReLU, ELU and LeakyReLU modules, one per output element;
a functional call, Sigmoid, SiLU, GELU, pooling, interpolation and arithmetic count nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod

from srprof.cost.fvcore import fvcore_flops
from srprof.ops import row
from srprof.records import ModuleCall, Node, Trace

CONVOLUTIONS = ("Conv2d", "ConvTranspose2d")
_ACTIVATIONS = ("ReLU", "ReLU6", "PReLU", "ELU", "LeakyReLU")
#: Classes of `torch.nn` that the challenge's hooks ask for, by `isinstance`.
COUNTED = (*CONVOLUTIONS, *_ACTIVATIONS, "Linear", "BatchNorm2d")


@dataclass(frozen=True)
class Complexity:
    """Counts of one call.

    Attributes:
        parameters: all parameters, frozen ones too.
        flops_ntire: the challenge's FLOPs per image (a multiply-add counts once).
        activations: elements of the outputs of all convolution calls, per image.
        convolutions: calls of Conv2d and ConvTranspose2d modules.
        fvcore_flops: FLOPs as fvcore counts them, of the whole batch.
        macs: true multiply-accumulates of the whole batch.
        node_macs: the same by node, None where no rule exists.
        uncounted: ops without a rule, with the number of calls.
    """

    parameters: int
    flops_ntire: int
    activations: int
    convolutions: int
    fvcore_flops: int
    macs: int
    node_macs: tuple[int | None, ...]
    uncounted: Mapping[str, int]


def complexity(trace: Trace) -> Complexity:
    """Count a trace."""
    first = next((e.info.shape for e in trace.inputs if e.info.shape), ())
    batch = first[0] if len(first) == 4 else 1
    convolutions = [call for call in trace.calls if call.kind in CONVOLUTIONS]
    node_macs = tuple(macs(node) for node in trace.nodes)
    return Complexity(
        parameters=trace.parameters,
        flops_ntire=sum(map(challenge_flops, trace.calls)) // batch,
        activations=sum(prod(call.output) for call in convolutions) // batch,
        convolutions=len(convolutions),
        fvcore_flops=fvcore_flops(trace),
        macs=sum(count or 0 for count in node_macs),
        node_macs=node_macs,
        uncounted=Counter(
            node.op for node, count in zip(trace.nodes, node_macs, strict=True) if count is None
        ),
    )


def challenge_flops(call: ModuleCall) -> int:
    """One module call's FLOPs over the whole batch, by the challenge's rules."""
    if call.kind in CONVOLUTIONS:
        batch, _, *size = call.output if len(call.output) == 4 else (1, *call.output)
        return batch * prod(call.weight) * prod(size)
    if call.kind == "Linear":
        return _linear_flops(call)
    if call.kind == "BatchNorm2d":
        return prod(call.output) * (2 if call.weight else 1)
    return prod(call.output) if call.kind in _ACTIVATIONS else 0


def _linear_flops(call: ModuleCall) -> int:
    """The challenge takes the first two axes for batch and features, however many there are."""
    batch, features = (call.input if len(call.input) > 1 else (1, *call.input))[:2]
    return batch * features * (call.output if len(call.output) > 1 else (1, *call.output))[1]


def macs(node: Node) -> int | None:
    """True multiply-accumulates of a node; None if there is no rule for its op."""
    count = row(node.op).macs(node)
    if count is None and (node.is_view or _is_elementwise(node.op, node.overload)):
        return 0
    return count


@cache
def _is_elementwise(op: str, overload: str) -> bool:
    """Whether torch tags an op as element-wise."""
    import torch

    namespace, _, name = op.rpartition(".")
    packet = getattr(getattr(torch.ops, namespace or "aten"), name, None)
    function = getattr(packet, overload or "default", None)
    return function is not None and torch.Tag.pointwise in function.tags
