"""Scratch of a library's call as a function of sizes, from the rule that says it for one size.

Of a convolution it is a * pixels in + b * pixels out + c, with other a, b and c where cuDNN picks
other kernels, which it does by the pixels out (`srprof.memory.cudnn`). So the rule is asked along a
ladder of pixels, and between two steps that differ, where. Of a Fourier transform it depends on
the sides' prime factors, and the most that it can be is taken. Pure; no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod

from srprof.estimating.forms import BATCH, Form, Terms, Values
from srprof.memory.workspace import WorkspaceTable
from srprof.ops import row
from srprof.records import Node, TensorInfo

#: Pixels at which a rule is asked.
_LADDER = tuple(2**power for power in range(4, 31))

#: a, b and c.
Line = tuple[int, int, int]
#: The form of a side by its values.
Sides = Callable[[Values], Form | None]


@dataclass
class Scratch:
    """Finds the terms of scratch.

    Attributes:
        lines: by call without its sizes, pixels out from which on a line holds, ascending.
    """

    table: WorkspaceTable
    terms: Terms
    lines: dict[object, list[tuple[int, Line]]] = field(default_factory=dict)

    def form(self, nodes: Sequence[Node], batches: Values, sides: Sides) -> Form | None:
        """The scratch of a node, from what it was at several sizes; the batch is in it."""
        first = nodes[0]
        if row(first.op).scratch == "cufft":
            return self._most(nodes, batches, sides)
        if row(first.op).scratch != "cudnn" or len(first.inputs[0].shape) != 4:
            return None
        read = self._pixels([node.inputs[0].shape for node in nodes], batches, sides)
        made = self._pixels([node.outputs[0].shape for node in nodes], batches, sides)
        if read is None or made is None:
            return None
        lines = self._lines(first)
        terms = [self._line(line, read, made) for _, line in lines]
        found = terms[-1]
        for (start, _), term in zip(reversed(lines[1:]), reversed(terms[:-1]), strict=True):
            found = self.terms.add("?", start, made, term, found)
        return Form(1, (found,))

    def _line(self, line: Line, read: int, made: int) -> int:
        """The term of a line."""
        a, b, c = line
        parts = [self.terms.add("*", a, read), self.terms.add("*", b, made)]
        chosen = [part for part, factor in zip(parts, (a, b), strict=True) if factor]
        return self.terms.add("+", c, *chosen) if chosen else self.terms.add("*", c)

    def _pixels(
        self, shapes: Sequence[tuple[int, ...]], batches: Values, sides: Sides
    ) -> int | None:
        """The term of a tensor's elements without its channels."""
        form: Form | None = Form(1, (BATCH,))
        for axis in (0, 2, 3):
            values = tuple(shape[axis] for shape in shapes)
            if axis == 0:
                values = tuple(v // n for v, n in zip(values, batches, strict=True))
            side = sides(values)
            form = None if form is None or side is None else form.times(side)
        return None if form is None else form.term(self.terms, 1)

    def _most(self, nodes: Sequence[Node], batches: Values, sides: Sides) -> Form | None:
        """The complex values of a transform."""
        infos = [max((*n.inputs, *n.outputs), key=lambda info: info.nbytes) for n in nodes]
        form: Form | None = Form(infos[0].nbytes // max(prod(infos[0].shape), 1), (BATCH,))
        for axis, values in enumerate(zip(*(info.shape for info in infos), strict=True)):
            each = values if axis else tuple(v // n for v, n in zip(values, batches, strict=True))
            side = sides(tuple(each))
            form = None if form is None or side is None else form.times(side)
        return form

    def _lines(self, node: Node) -> list[tuple[int, Line]]:
        """From which pixels on which line holds."""
        image, weight, result = node.inputs[0], node.inputs[1], node.outputs[0]
        options = [value for value in node.arguments[0] if isinstance(value, (tuple, int, bool))]
        key = (
            *(node.op, weight.shape, weight.strides, repr(options), image.shape[1], image.dtype),
            *(result.shape[1], _last(image), _whole(image)),
        )
        if key not in self.lines:
            self.lines[key] = self._asked(node)
        return self.lines[key]

    def _asked(self, node: Node) -> list[tuple[int, Line]]:
        found = [(0, self._at(node, _LADDER[0]))]
        for low, high in pairwise(_LADDER):
            end, start = self._at(node, high), low
            while found[-1][1] != end:  # there may be several between
                below, above, last = start, high, found[-1][1]
                while above - below > 1:
                    middle = (below + above) // 2
                    if self._at(node, middle) == last:
                        below = middle
                    else:
                        above = middle
                found.append((above, self._at(node, above)))
                start = above
        return found

    def _at(self, node: Node, pixels: int) -> Line:
        """The line at so many pixels."""

        def scratch(read: int, made: int) -> int:
            inputs = (_of(node.inputs[0], read), *node.inputs[1:])
            outputs = (_of(node.outputs[0], made), *node.outputs[1:])
            return self.table.at_least(replace(node, inputs=inputs, outputs=outputs))

        here = scratch(pixels, pixels)
        a, b = scratch(pixels + 1, pixels) - here, scratch(pixels, pixels + 1) - here
        return a, b, here - (a + b) * pixels


def _of(info: TensorInfo, pixels: int) -> TensorInfo:
    """The same maps with so many pixels in a row, in the same layout."""
    channels = info.shape[1]
    itemsize = info.nbytes // max(prod(info.shape), 1)
    size = channels * pixels
    steps = (size, 1, size, channels) if _last(info) else (size, pixels, pixels, 1)
    strides = steps if _whole(info) else tuple(2 * step for step in steps)
    shape = 1, channels, 1, pixels
    return info._replace(shape=shape, nbytes=itemsize * size, strides=strides)


def _last(info: TensorInfo) -> bool:
    """Whether channels lie innermost."""
    return info.shape[1] > 1 and info.strides[1:2] == (1,)


def _whole(info: TensorInfo) -> bool:
    """Whether the maps lie in a row, in their layout's order."""
    expected = 1
    for axis in (1, 3, 2, 0) if _last(info) else (3, 2, 1, 0):
        if info.shape[axis] > 1 and info.strides[axis] != expected:
            return False
        expected *= info.shape[axis]
    return True
