"""FLOPs as fvcore's FlopCountAnalysis counts them, told from a trace; fvcore itself does not run.

fvcore (0.1.5) reads torch.jit's graph of a call, which has operators as Python asks for them where
a trace has the ATen calls that they are made of. Its rules (`fvcore/nn/flop_count.py`,
`jit_handles.py`), a multiply-add counting once:

- convolutions, products of matrices and linear layers: their multiply-adds. A `matmul` that
  broadcasts is counted at its first operand's own shape.
- `einsum`: numpy's count of multiply-adds, which numpy prints with four digits; without rounding
  for the two batched products of three axes whose equations it knows.
- norms 5 for an element with a weight and 4 without; a batch norm in evaluation 2 and 1;
  interpolation 4 for an element of the result if bilinear and 1 if nearest; `grid_sample` 4;
  `adaptive_avg_pool2d` 1 for an element of its input.
- all else nothing: fused attention, a convolution that is padded by a word (`padding="same"` is an
  operator of its own to torch.jit), products that are added in the same call (`baddbmm`), bicubic
  interpolation, element-wise arithmetic.
- what a subclass of `torch.autograd.Function` runs is one operator to torch.jit, which counts
  nothing.
- what no result of the call depends on is not in the graph. Of a compiled function that is no
  operator of torch's torch.jit sees the tensors that it makes, so that a result depends on what it
  is made like (`empty_like`), and on nothing else that the function reads.

What ATen's calls do not tell is taken for what is usual: a `mean` over the axes (-1, -2) in this
order that keeps them is an `adaptive_avg_pool2d` to 1x1. Counted otherwise is an `einsum` whose
summed axis has one element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import NamedTuple

from srprof.ops import argument, row
from srprof.records import Node, TensorRef, Trace

Rule = Callable[[Node], int]


def fvcore_flops(trace: Trace) -> int:
    """What fvcore counts in a call, of the whole batch."""
    return sum(fvcore_flops_of_nodes(trace))


def fvcore_flops_of_nodes(trace: Trace) -> tuple[int, ...]:
    """The same by node. A product's count stands at the call that computes it."""
    graph = _Graph(trace)
    return tuple(graph.count(node) if node.index in graph.needed else 0 for node in trace.nodes)


def _multiply_adds(node: Node) -> int:
    return row(node.op).macs(node) or 0


def _of_result(times: int) -> Rule:
    return lambda node: times * prod(node.shape)


def _given(node: Node, position: int) -> bool:
    return isinstance(argument(node, position, None), TensorRef)


def _norm(weight: int) -> Rule:
    """A norm whose weight is the argument at a position."""
    return lambda node: prod(node.inputs[0].shape) * (5 if _given(node, weight) else 4)


def _batch_norm(node: Node) -> int:
    # the variant without training in its name has no such argument
    training = not node.op.endswith("_no_training") and argument(node, 5, False) is True
    if training:
        return _norm(1)(node)
    return prod(node.inputs[0].shape) * (2 if _given(node, 1) else 1)


def _mean(node: Node) -> int:
    pools = tuple(argument(node, 1, None) or ()) == (-1, -2) and argument(node, 2, False) is True
    return prod(node.inputs[0].shape) if pools and len(node.shape) in (3, 4) else 0


#: What fvcore counts at a call, by op. `matmul` and `einsum` are told from what is around `bmm`.
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys("convolution convolution_overrideable _convolution".split(), _multiply_adds),
    **dict.fromkeys("mm addmm bmm linear matmul".split(), _multiply_adds),
    **dict.fromkeys(
        "native_batch_norm cudnn_batch_norm batch_norm _native_batch_norm_legit "
        "_native_batch_norm_legit_no_training".split(),
        _batch_norm,
    ),
    **dict.fromkeys("native_layer_norm layer_norm".split(), _norm(2)),
    "native_group_norm": _norm(1),
    "upsample_nearest2d": _of_result(1),
    "upsample_bilinear2d": _of_result(4),
    **dict.fromkeys("grid_sampler_2d grid_sampler_3d".split(), _of_result(4)),
    "_adaptive_avg_pool2d": lambda node: prod(node.inputs[0].shape),
    "mean": _mean,
}

#: What only gives a tensor another form.
_FORMS = frozenset({"view", "_unsafe_view", "_reshape_alias", "clone"})


class _Operand(NamedTuple):
    """An operand of `einsum`.

    Attributes:
        begins: index of the first call that it went through. given: how many axes it had.
        axes: which of them stand where it is multiplied, of those of more than one element.
    """

    begins: int
    given: int
    axes: list[int]


class _Graph:
    """A trace, with what its calls are made for."""

    def __init__(self, trace: Trace) -> None:
        self.nodes = trace.nodes
        self.needed = _needed(trace)
        self._by_a_word = {module.path for module in trace.modules if module.padded_by_a_word}
        self._in_attention = set(self._fused_attention())

    def count(self, node: Node) -> int:
        """What fvcore counts at a call."""
        rule = _RULES.get(node.op)
        if node.op == "mul" and not node.opaque:
            return self._outer(node)
        if rule is None or node.opaque or node.index in self._in_attention:
            return 0
        if node.op == "convolution" and node.module in self._by_a_word:
            return 0
        if node.op == "bmm":
            return self._batched(node)
        if node.op == "mm":
            return self._matrix(node)
        return rule(node)

    def _maker(self, node: Node, position: int) -> Node | None:
        """The call that made an operand."""
        ref = argument(node, position, None)
        made = isinstance(ref, TensorRef) and ref.node >= 0
        return self.nodes[ref.node] if made else None

    def _behind_forms(self, node: Node, position: int) -> Node | None:
        """The same, behind what only gave it another form."""
        found = self._maker(node, position)
        while found is not None and found.op in _FORMS:
            found = self._maker(found, 0)
        return found

    def _after(self, node: Node, *ops: str) -> Node | None:
        """The last of the calls that follow one, if they are these and each takes its result."""
        for op in ops:
            following = node.index + 1
            if following == len(self.nodes) or self.nodes[following].op != op:
                return None
            if self._maker(self.nodes[following], 0) is not node:
                return None
            node = self.nodes[following]
        return node

    def _batched(self, node: Node) -> int:
        """A product of batches: asked for as such, or what `matmul` or `einsum` is made of."""
        makers = [self._behind_forms(node, position) for position in (0, 1)]
        ops = [maker.op if maker is not None else "" for maker in makers]
        whole = _multiply_adds(node)
        if ops == ["expand", "expand"] and self._after(node, "_unsafe_view"):
            # `matmul` makes batches of one size of both
            left, right = (maker.inputs[0].shape for maker in makers if maker is not None)
            return prod(left) * right[-1]
        if ops == ["permute", "permute"] and self._after(node, "view", "permute"):
            first, second = (self._given(maker) for maker in makers if maker is not None)
            # what is summed stands last of the first operand, before the own axis of the second
            summed = [2] if second.begins < first.begins else [1]
            known = first.axes[-1:] == second.axes[-2:-1] == summed
            return whole if known and first.given == second.given == 3 else _printed(2 * whole) // 2
        return whole

    def _matrix(self, node: Node) -> int:
        """A product of matrices; `matmul` of a matrix and a batch is one, the other way round."""
        turned, matrix = self._behind_forms(node, 0), self._maker(node, 1)
        if turned is None or matrix is None or (turned.op, matrix.op) != ("transpose", "t"):
            return _multiply_adds(node)
        if turned.index + 1 < matrix.index or not self._after(
            node, "_unsafe_view", "transpose", "clone"
        ):
            return _multiply_adds(node)
        return prod(matrix.inputs[0].shape) * turned.inputs[0].shape[-1]

    def _given(self, permuted: Node) -> _Operand:
        """An operand as `einsum` was given it, which adds axes to it, and orders them twice."""
        forms = [permuted]
        while (maker := self._maker(forms[0], 0)) and maker.op in ("permute", "unsqueeze"):
            if (maker.file, maker.line) != (permuted.file, permuted.line):
                break
            forms.insert(0, maker)
        count = len(forms[0].inputs[0].shape)
        axes = list(range(count))
        for form in forms:
            where = argument(form, 1, 0)
            if form.op == "permute":
                axes = [axes[axis] for axis in where]
            else:
                axes.insert(where % (len(axes) + 1), -1)
        sizes = zip(axes, permuted.shape, strict=True)
        return _Operand(forms[0].index, count, [axis for axis, size in sizes if size > 1])

    def _outer(self, node: Node) -> int:
        """A product of elements for which `einsum` was asked: the result's, half of which count."""
        makers = [self._maker(node, position) for position in (0, 1)]
        if any(maker is None or maker.op != "permute" for maker in makers):
            return 0
        added = [maker and self._maker(maker, 0) for maker in makers]
        place = node.file, node.line
        of_einsum = any(
            maker is not None and maker.op == "unsqueeze" and (maker.file, maker.line) == place
            for maker in added
        )
        return _printed(prod(node.shape)) // 2 if of_einsum else 0

    def _fused_attention(self) -> list[int]:
        """Products of attention for which Python asked in one call, and which torch takes apart."""
        found = []
        for softmax in (node for node in self.nodes if node.op == "_safe_softmax"):
            scores = self._behind_forms(softmax, 0)
            while scores is not None and scores.op in ("add", "add_", "masked_fill"):
                scores = self._behind_forms(scores, 0)
            found += [scores.index] if scores is not None and scores.op == "bmm" else []
            weighted = (node for node in self.nodes[softmax.index :] if node.op == "bmm")
            found += [node.index for node in weighted if self._reads(node, softmax)][:1]
        return found

    def _reads(self, product: Node, softmax: Node) -> bool:
        """Whether a product's first operand is a softmax."""
        maker = self._behind_forms(product, 0)
        if maker is not None and maker.op == "expand":
            maker = self._behind_forms(maker, 0)
        return maker is softmax


def _printed(count: int) -> int:
    """A count as numpy prints it: one more, with four digits."""
    return int(float(f"{float(count + 1):.3e}"))


def _needed(trace: Trace) -> set[int]:
    """Indices of the calls that a result of the whole call depends on."""
    storages = {index for index, storage in enumerate(trace.storages) if storage.returned}
    needed = set()
    for node in reversed(trace.nodes):
        changed = {*node.created, *node.written}
        if changed & storages or (node.is_view and {i.storage for i in node.outputs} & storages):
            needed.add(node.index)
            storages.update(_depends(node))
    return needed


def _depends(node: Node) -> Iterator[int]:
    """Storages of the tensors on which what a call makes depends, for torch.jit."""
    only = None if node.ruled is None else node.ruled.depends
    if only is None:
        yield from (info.storage for info in node.inputs)
        return
    infos = iter(node.inputs)
    for position, value in enumerate(node.arguments[0]):
        parts = value if isinstance(value, tuple) and not isinstance(value, TensorRef) else (value,)
        read = [next(infos) for part in parts if isinstance(part, TensorRef)]
        yield from (info.storage for info in read if position in only)
