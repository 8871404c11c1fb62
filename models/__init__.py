"""The zoo: networks of the paper's tables. Installs as `srprof.models`.

Each network is one file, `*_net.py`, with its registry entry in `NETWORKS`. Importing this package
reads the entries and loads no torch; `srprof.models.fmen_s(scale=4)` does. No file is named as a
network is, so that `srprof.models.imdn` is always the factory and never a module.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from srprof.registry import Convention, Network


def _entries(file: Path) -> tuple[Network, ...]:
    """What a network's file assigns to `NETWORKS`, without importing it, as that loads torch."""
    for statement in ast.parse(file.read_text(encoding="utf-8"), str(file)).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "NETWORKS":
            code = compile(ast.Expression(statement.value), str(file), "eval")
            found: tuple[Network, ...] = eval(code, {"Network": Network, "Convention": Convention})
            return found
    raise AttributeError(f"{file} has no NETWORKS: give it the registry entries of its networks")


def _read() -> tuple[Network, ...]:
    """All networks by name within the paper's tables, the last table first."""
    found = [
        network for file in Path(__file__).parent.glob("*_net.py") for network in _entries(file)
    ]
    found.sort(key=lambda network: network.name)
    return tuple(sorted(found, key=lambda network: network.row[:7], reverse=True))


ZOO = _read()


def __getattr__(name: str) -> Any:
    """A network's factory: `srprof.models.e_rfdn(scale=4, nf=50)`."""
    for network in ZOO:
        if network.name == name:
            return network.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
