"""Traces written by hand: no torch, no model, sizes that can be summed in the head."""

from __future__ import annotations

from srprof.records import External, Node, Reference, Storage, TensorInfo, Trace


def made_up_trace(
    storages: list[Storage],
    ops: list[str],
    references: dict[int, tuple[Reference, ...]] | None = None,
) -> Trace:
    """A trace of these storages, with one node per op; reads and births come from them."""
    nodes = []
    for index, op in enumerate(ops):
        created = tuple(i for i, s in enumerate(storages) if s.birth == index)
        nodes.append(
            Node(
                index=index,
                op=op,
                overload="default",
                module="body",
                file="net.py",
                line=10 + index,
                function="Net.forward",
                inputs=tuple(
                    TensorInfo(i, (s.nbytes,), "uint8", s.nbytes)
                    for i, s in enumerate(storages)
                    if index in s.uses
                ),
                outputs=tuple(
                    TensorInfo(i, (storages[i].nbytes,), "uint8", storages[i].nbytes)
                    for i in created
                ),
                created=created,
                written=(),
                arguments=((), {}),
                live=sum(
                    s.nbytes
                    for s in storages
                    if not s.resident and not s.host and s.birth <= index < s.death
                ),
            )
        )
    externals = tuple(
        External(f"external_{i}", s.role, TensorInfo(i, (s.nbytes,), "uint8", s.nbytes))
        for i, s in enumerate(storages)
        if s.birth < 0
    )
    return Trace(
        name="made up",
        spec="made up",
        device="meta",
        torch_version="0",
        nodes=tuple(nodes),
        storages=tuple(storages),
        externals=externals,
        calls=(),
        result=None,
        parameters=0,
        references=references or {},
    )


def weight(nbytes: int) -> Storage:
    return Storage(nbytes, "parameter", -1, 99, ())


def image(nbytes: int, *uses: int) -> Storage:
    return Storage(nbytes, "input", -1, 99, uses)


def feature(nbytes: int, birth: int, death: int, *uses: int, returned: bool = False) -> Storage:
    return Storage(nbytes, "activation", birth, death, uses, returned=returned)
