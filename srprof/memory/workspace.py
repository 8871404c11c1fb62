"""Scratch that libraries take inside a node: by rule, or from a table of measurements.

What neither knows is unknown and not zero. Pure; no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

from srprof.errors import InputError
from srprof.files import RecordFile, read_text
from srprof.memory.aten import copied_by_aten
from srprof.memory.cudnn import (
    FILLED,
    POINTWISE,
    POINTWISE_SOURCE,
    SOURCE,
    TENSOR_CORES,
    WINOGRAD_SOURCE,
    copied_for_tensor_cores,
    fixed_for_pointwise,
    transformed_filters,
)
from srprof.memory.cufft import transformed
from srprof.ops import row
from srprof.records import Node, TensorInfo, TensorRef
from srprof.words import MIB, shape_text

KIB = 2**10
#: What a user gives for no table and no rule.
NO_TABLE = "none"

#: `CUBLAS_WORKSPACE_CONFIG`: pairs of KiB and count.
_CONFIG = re.compile(r"(?::\d+:\d+)+")
#: What PyTorch gives cuBLAS by default, per handle and stream (aten/src/ATen/cuda, torch 2.13).
_BEFORE_HOPPER, _HOPPER = ":4096:2:16:8", ":4096:8"
_FIRST_WITH_TENSOR_CORES = (7, 0)
#: What cuBLASLt keeps beside it (CUBLASLT_WORKSPACE_SIZE); an H200 took it in all networks that add
#: a bias to a matrix product (torch 2.11).
_CUBLASLT = MIB


def kept_workspaces(
    capability: tuple[int, int] | None = None, config: str = ""
) -> Mapping[str, int]:
    """Bytes that libraries keep once they ran, by `srprof.ops.Scratch`; as `blas_workspace`."""
    return {"cublas": blas_workspace(capability, config), "cublaslt": _CUBLASLT}


def blas_workspace(capability: tuple[int, int] | None = None, config: str = "") -> int:
    """Bytes that cuBLAS keeps for one handle and stream once a matrix product ran.

    Args:
        capability: of the GPU, from (9, 0) on Hopper or later; before Hopper if not given.
        config: `CUBLAS_WORKSPACE_CONFIG`, `:SIZE:COUNT` pairs in KiB; the default if empty.

    Raises:
        InputError: a configuration that is none.
    """
    hopper = capability is not None and capability[0] >= 9
    text = config or (_HOPPER if hopper else _BEFORE_HOPPER)
    if not _CONFIG.fullmatch(text):
        raise InputError(
            f"CUBLAS_WORKSPACE_CONFIG={text!r} cannot be read: write :SIZE:COUNT pairs in KiB, "
            "such as :4096:2:16:8"
        )
    numbers = [int(number) for number in text[1:].split(":")]
    return sum(size * count for size, count in zip(numbers[::2], numbers[1::2], strict=True)) * KIB


def call_key(node: Node) -> str:
    """What a call's scratch depends on beside device and versions: op, operands, options.

    `convolution(1x50x64x64 float32, 50x50x3x3 float32, [1, 1], ...)`, strides where not contiguous.
    """
    positional, named = node.arguments
    operands = iter(node.inputs)
    words = [_word(value, operands) for value in positional]
    words += [f"{key}={_word(value, operands)}" for key, value in named.items()]
    return f"{node.op}({', '.join(words)})"


def _word(value: Any, operands: Any) -> str:
    if isinstance(value, TensorRef):
        return _operand(next(operands, None))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_word(item, operands) for item in value)}]"
    return str(value)


def _operand(info: TensorInfo | None) -> str:
    if info is None:
        return "?"
    text = f"{shape_text(info.shape) or 'scalar'} {info.dtype}"
    steps = accumulate((max(size, 1) for size in info.shape[:0:-1]), mul, initial=1)
    contiguous = tuple(steps)[::-1]
    if info.strides in ((), contiguous):
        return text
    return f"{text} {'/'.join(map(str, info.strides))}"


@dataclass(frozen=True)
class WorkspaceTable:
    """Scratch by call, as measured or by a rule.

    Attributes:
        source: the device and versions that it holds for; "" if nothing was measured.
        kind: "cuda" or "cpu".
        entries: bytes by `call_key`.
        rule: bytes of a node that `entries` has not; None where it does not know them.
    """

    source: str = ""
    kind: str = "cuda"
    entries: Mapping[str, int] = field(default_factory=dict)
    rule: Callable[[Node], int | None] | None = None

    def scratch(self, node: Node) -> int | None:
        """Bytes of scratch while the node runs; None if neither measurement nor rule says."""
        known = self.entries.get(call_key(node)) if self.entries else None
        if known is None and self.rule is not None:
            known = self.rule(node)
        if node.ruled is not None:  # what its rule says of scratch is made in the node
            return 0
        if known is None and (node.is_view or row(node.op).scratch in ("none", "aten")):
            return copied_by_aten(node)
        return known

    def at_least(self, node: Node) -> int:
        """Bytes of scratch that are known of; the least that the node takes."""
        return self.scratch(node) or 0

    def unknown(self, nodes: Iterable[Node]) -> tuple[int, ...]:
        """Indices of the nodes whose scratch is not known."""
        return tuple(node.index for node in nodes if self.scratch(node) is None)

    def joined(self, other: WorkspaceTable) -> WorkspaceTable:
        """Both tables' entries; of two figures for one call the larger.

        Raises:
            InputError: they are of different devices or versions.
        """
        if self.source and other.source and self.source != other.source:
            raise InputError(
                f"scratch of {self.source} and of {other.source} does not mix: give records of "
                "one device and its versions"
            )
        entries = dict(self.entries)
        for key, nbytes in other.entries.items():
            entries[key] = max(nbytes, entries.get(key, 0))
        return WorkspaceTable(*max((self.source, self.kind), (other.source, other.kind)), entries)

    def to_json(self) -> str:
        """As text: sorted, so that it can be compared."""
        record = _Record(self.kind, self.source, dict(sorted(self.entries.items())))
        return json.dumps(FILE.encode(record), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "the table") -> WorkspaceTable:
        """The table in a JSON text; `source` names it in messages.

        Raises:
            InputError: it is damaged, no such table, or of a newer srprof.
        """
        record = FILE.parse(text, source)
        return cls(record.source, record.device, record.entries)


@dataclass(frozen=True)
class _Record:
    """A table of measurements as its file has it."""

    device: str
    source: str
    entries: Mapping[str, int]


FILE = RecordFile(_Record, "srprof workspace", 1, "validate again", "srprof validate --save DIR")


def load_workspaces(path: str | None, known: WorkspaceTable | None = None) -> WorkspaceTable:
    """The table of a GPU in a file that `srprof validate --save DIR` wrote, or a rule.

    Args:
        path: the file; `TENSOR_CORES` for that rule in all dtypes, or `POINTWISE` for that one;
            "none" for no table, in which nothing is known; None for what is `known`.

    Raises:
        InputError: it cannot be read, is no such table, or is of a CPU.
    """
    if path == TENSOR_CORES:
        return tensor_core_workspaces()
    if path == POINTWISE:
        return WorkspaceTable(POINTWISE_SOURCE, rule=partial(_by_rule, fixed_for_pointwise))
    if path is None or path == NO_TABLE:
        return known if known is not None and path is None else WorkspaceTable()
    rules = f"{TENSOR_CORES}, {POINTWISE}"
    text = read_text(path, mend=f"name a table of workspaces, {rules}, or {NO_TABLE}")
    table = WorkspaceTable.from_json(text, path)
    if table.kind != "cuda":
        raise InputError(
            f"{path} was measured on {table.source}, and `allocated` is of CUDA; give a table of a "
            "GPU, from `srprof validate --device cuda --save DIR`"
        )
    return table


def tensor_core_workspaces(dtypes: Collection[str] = tuple(FILLED)) -> WorkspaceTable:
    """What cuDNN copies on a GPU with tensor cores, and cuFFT takes, by rule.

    Args:
        dtypes: that the tensor cores compute convolutions in; float32 where TF32 is allowed.
    """

    def copied(node: Node) -> int | None:
        return copied_for_tensor_cores(node) if node.inputs[0].dtype in dtypes else 0

    return WorkspaceTable(SOURCE, rule=partial(_by_rule, copied))


def library_scratch(capability: tuple[int, int] | None, dtypes: Collection[str]) -> WorkspaceTable:
    """What cuDNN and cuFFT take on a GPU, as far as rules say.

    Args:
        capability: of the GPU; None knows nothing.
        dtypes: that its tensor cores compute convolutions in, if it has any.
    """
    if capability is not None and capability < _FIRST_WITH_TENSOR_CORES:
        return WorkspaceTable(WINOGRAD_SOURCE, rule=partial(_by_rule, transformed_filters))
    return tensor_core_workspaces(dtypes) if dtypes else WorkspaceTable()


def _by_rule(of_convolution: Callable[[Node], int | None], node: Node) -> int | None:
    """Bytes of scratch by the rule of the node's library; None where none knows it."""
    library = row(node.op).scratch
    if library == "cudnn" and not all(map(prod, (i.shape for i in node.inputs))):
        return 0  # of no channels: cuDNN is not asked
    return of_convolution(node) if library == "cudnn" else transformed(node)
