"""Nodes and costs written by hand, for the latency model: no torch, no model."""

from __future__ import annotations

from math import prod
from typing import Any

from srprof.cost.classes import NodeCost
from srprof.cost.profiles import Profile, parse_profile
from srprof.inputs import ITEMSIZE
from srprof.ops import Product
from srprof.records import Node, Storage, TensorInfo, Trace


def tensor(storage: int, *shape: int, dtype: str = "float32", strides=()) -> TensorInfo:
    return TensorInfo(storage, shape, dtype, prod(shape) * ITEMSIZE[dtype], strides)


def node(
    op: str,
    inputs: list[TensorInfo],
    outputs: list[TensorInfo],
    *arguments: Any,
    written: tuple[int, ...] = (),
    view: bool = False,
    module: str = "body",
) -> Node:
    read = {i.storage for i in inputs}
    created = tuple(o.storage for o in outputs if o.storage not in read and not view)
    return Node(
        index=0,
        op=op,
        overload="default",
        module=module,
        file="net.py",
        line=1,
        function="Net.forward",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        created=created,
        written=written,
        arguments=(arguments, {}),
        live=0,
    )


def storages(*infos: TensorInfo) -> dict[int, Storage]:
    """One storage for each tensor, as large as the largest tensor of it."""
    found: dict[int, Storage] = {}
    for info in infos:
        nbytes = max(info.nbytes, found[info.storage].nbytes if info.storage in found else 0)
        found[info.storage] = Storage(nbytes, "activation", 0, 1, ())
    return found


def trace_of(nodes: list[Node], sizes: list[int]) -> Trace:
    return Trace(
        name="made up",
        spec="made up",
        device="meta",
        torch_version="0",
        nodes=tuple(nodes),
        storages=tuple(Storage(n, "activation", -1, 99, ()) for n in sizes),
        externals=(),
        calls=(),
        result=None,
        parameters=0,
    )


def cost(
    family: str = "elementwise",
    read: int = 0,
    written: int = 0,
    product: Product | None = None,
    module: str = "body",
    **other: Any,
) -> NodeCost:
    flops = 2 * prod(product) if product else 0
    fields = {
        "index": 0,
        "module": module,
        "op_class": family,
        "family": family,
        "dtype": "float32",
        "flops": flops,
        "reads": ((0, read),),
        "written": written,
        "product": product,
    }
    return NodeCost(**{**fields, **other})


def plain_device(**changes: Any) -> Profile:
    """1 TFLOP/s, 100 GB/s, 10 multiprocessors, 1 us a launch, every share 1."""
    table = {
        "title": "made up",
        "bandwidth": 100,
        "cache": 1,
        "memory": 1,
        "sms": 10,
        "launch": 1,
        "bias_pass": True,
        "peak": {"float32": 1.0},
        "compute": {"tile_32": 1.0, "tile_64": 1.0, "tile_128": 1.0, "depthwise": 0.1},
        "bandwidth_share": dict.fromkeys(
            "conv conv1x1 grouped depthwise matmul elementwise reduction resample movement norm "
            "other".split(),
            1.0,
        ),
    }
    return parse_profile("made_up", {**table, **changes}, "profile made_up")
