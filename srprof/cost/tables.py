"""Files of measured operations: `srprof calibrate --table` writes one, a profile names it.

Columns, so that a file is small: convolutions by what decides their time, other operations by what
they ask of the device, and of each the kernels that it launches and the microseconds that they take
together. The figures of the profile against which the rows are read stand beside them, so that a
file means the same in a later srprof.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from math import isqrt
from pathlib import Path
from typing import Annotated, Any

from srprof.codec import JsonObject
from srprof.cost.classes import NodeCost
from srprof.cost.measured import Row
from srprof.cost.profiles import Profile, to_toml
from srprof.errors import InputError
from srprof.files import RecordFile, parse_toml
from srprof.inputs import ITEMSIZE
from srprof.ops import Family, Product, depthwise_variant
from srprof.rules import rule

_Counts = Annotated[
    tuple[int, ...], rule("whole numbers of at least 1", lambda c: min(c, default=1) >= 1)
]
_Bytes = Annotated[
    tuple[int, ...], rule("whole numbers of at least 0", lambda c: min(c, default=0) >= 0)
]
_NotNegative = Annotated[
    tuple[float, ...], rule("numbers of at least 0", lambda c: min(c, default=0) >= 0)
]
_Micros = Annotated[tuple[float, ...], rule("positive numbers", lambda c: min(c, default=1) > 0)]

#: Columns that files of before srprof had them are without.
_LATER = ("uncopied", "single")
#: Of a row, what is said of its kernels.
_OF_KERNELS = frozenset({"kernels", "us", "uncopied"})
#: Dtypes of modes that are none.
_DTYPES = {"tf32": "float32"}


@dataclass(frozen=True)
class Convolutions:
    """Convolutions without a bias, a column each; `pixels` are those that are computed.

    `uncopied` are microseconds as `Row` has them, empty in files of before srprof had them.
    """

    mode: tuple[str, ...] = ()
    channels_last: tuple[bool, ...] = ()
    transposed: tuple[bool, ...] = ()
    inner: _Counts = ()
    outer: _Counts = ()
    groups: _Counts = ()
    taps: _Counts = ()
    stride: _Counts = ()
    dilation: _Counts = ()
    pixels: _Counts = ()
    kernels: _Counts = ()
    us: _Micros = ()
    uncopied: _NotNegative = ()


@dataclass(frozen=True)
class Operations:
    """Other operations, a column each of what `NodeCost` says of them."""

    op: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    family: tuple[Family, ...] = ()
    mode: tuple[str, ...] = ()
    batch: _Bytes = ()
    rows: _Bytes = ()
    columns: _Bytes = ()
    depth: _Bytes = ()
    read: _Bytes = ()
    written: _Bytes = ()
    strided: _Bytes = ()
    gathered: _Bytes = ()
    serial: _Bytes = ()
    row: _Bytes = ()
    kernels: _Counts = ()
    us: _Micros = ()
    single: tuple[bool, ...] = ()


@dataclass(frozen=True)
class TableRecord:
    """What a file of measured operations holds.

    Attributes:
        device: as torch names it. torch, cudnn, driver: versions. command: what made the file.
        profile: figures of the physical model against which the rows are read.
        doubts: factors of spreads by group, as `measured.doubts` finds them.
    """

    device: str
    torch: str
    cudnn: str
    driver: str
    command: str
    profile: JsonObject
    convolutions: Convolutions = Convolutions()
    operations: Operations = Operations()
    doubts: Mapping[str, float] = field(default_factory=dict)


TABLE_FILE = RecordFile(
    TableRecord, "srprof operations", 1, "measure again", "srprof calibrate --table"
)


#: Tables that come with srprof, by the name that a profile gives them.
_PACKAGED = Path(__file__).parents[1] / "data"
_SUFFIX = "_operations.json.gz"


def packaged_tables() -> tuple[str, ...]:
    """Names of the tables that come with srprof."""
    return tuple(sorted(p.name.removesuffix(_SUFFIX) for p in _PACKAGED.glob(f"*{_SUFFIX}")))


def table_path(name: str) -> Path:
    """The file of a table: one that comes with srprof by its name, else a path."""
    packaged = _PACKAGED / f"{name}{_SUFFIX}"
    return packaged if packaged.is_file() else Path(name)


def figures_of(profile: Profile) -> JsonObject:
    """A profile's figures as a table holds them: what its file would say."""
    return parse_toml(to_toml(replace(profile, table="")))


def table_bytes(record: TableRecord, packed: bool) -> bytes:
    """A table's file; `packed` for a name that ends in `.gz`."""
    text = json.dumps(TABLE_FILE.encode(record), separators=(",", ":")) + "\n"
    return gzip.compress(text.encode(), mtime=0) if packed else text.encode()


def load_record(path: str | Path) -> TableRecord:
    """The record in a file, packed if its name ends in `.gz`; an InputError says what is wrong."""
    record = TABLE_FILE.load(path)
    for name, part in (("convolutions", record.convolutions), ("operations", record.operations)):
        lengths = {column.name: len(getattr(part, column.name)) for column in fields(part)}
        for column in _LATER:
            if not lengths.get(column):
                lengths.pop(column, None)
        usual = max(lengths.values(), key=list(lengths.values()).count)
        for column, length in lengths.items():
            if length != usual:
                what = f"{path} is damaged: {name}.{column} has another length than the others"
                raise InputError(f"{what}; take another copy of it, or measure again")
    return record


def rows_of(record: TableRecord) -> Iterator[Row]:
    """The rows of a record."""
    for values in _each(record.convolutions):
        yield Row(
            convolution(**{k: v for k, v in values.items() if k not in _OF_KERNELS}),
            values["mode"],
            values["kernels"],
            1e-6 * values["us"],
            1e-6 * values.get("uncopied", 0.0),
        )
    for values in _each(record.operations):
        yield Row(_operation(values), values["mode"], values["kernels"], 1e-6 * values["us"])


def _each(part: Convolutions | Operations) -> Iterator[dict[str, Any]]:
    """Its rows as mappings."""
    every = (column.name for column in fields(part))
    names = [name for name in every if name not in _LATER or getattr(part, name)]
    for row in zip(*(getattr(part, name) for name in names), strict=True):
        yield dict(zip(names, row, strict=True))


def convolution(
    mode: str,
    channels_last: bool,
    transposed: bool,
    inner: int,
    outer: int,
    groups: int,
    taps: int,
    stride: int,
    dilation: int,
    pixels: int,
) -> NodeCost:
    """The cost of a convolution without bias, of an image that is no larger than it must be."""
    dtype = _DTYPES.get(mode, mode)
    size = ITEMSIZE[dtype]
    depthwise = groups == inner > 1
    family: Family = "conv1x1" if taps == 1 else "conv"
    if groups > 1:
        family = "depthwise" if depthwise else "grouped"
    product = Product(groups, pixels, outer // groups, inner // groups * taps)
    image, result = pixels * inner * stride**2, pixels * outer
    if transposed:
        product = Product(groups, pixels, outer // groups * taps, inner // groups)
        image, result = pixels * inner, pixels * outer * stride**2
    weight = outer * inner // groups * taps
    return NodeCost(
        index=0,
        module="",
        op_class=family,
        family=family,
        dtype=dtype,
        flops=2 * product.batch * product.rows * product.columns * product.depth,
        reads=((0, image * size), (1, weight * size)),
        written=result * size,
        product=None if depthwise else product,
        taps=taps,
        channels=(inner, outer),
        channels_last=channels_last,
        stride=stride,
        dilation=dilation,
        transposed=transposed,
        op="convolution",
        variant=depthwise_variant([isqrt(taps)] * 2) if depthwise else "",
    )


def _operation(values: dict[str, Any]) -> NodeCost:
    product = Product(values["batch"], values["rows"], values["columns"], values["depth"])
    flops = 2 * product.batch * product.rows * product.columns * product.depth
    return NodeCost(
        index=0,
        module="",
        op_class=values["family"],
        family=values["family"],
        dtype=_DTYPES.get(values["mode"], values["mode"]),
        flops=flops,
        reads=((0, values["read"]),),
        written=values["written"],
        strided=values["strided"],
        single=values.get("single", values["strided"] > 0 or values["op"] == "bias"),
        product=product if flops else None,
        gathered=values["gathered"],
        serial=values["serial"],
        row=values["row"],
        op=values["op"],
        variant=values["variant"],
    )
