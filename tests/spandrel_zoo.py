"""Every architecture of the PyPI package `spandrel`, as srprof's robustness is proved on them.

A network is here a class, hyper-parameters and input shapes (`srprof.adapters.spandrel_networks`);
no weights are downloaded. Where a variant is too large for a test, its depth or width is cut and
the entry says so. Every architecture of `spandrel.MAIN_REGISTRY` has an entry in `ENTRIES` (several
where one name stands for several networks) or a reason in `NOT_RUN`; `unknown_architectures` names
those that a newer spandrel has added.
"""

from __future__ import annotations

import importlib

from srprof.adapters.importing import import_spandrel, import_torchvision
from srprof.adapters.spandrel_networks import ENTRIES, Entry

__all__ = ["ENTRIES", "NOT_RUN", "Entry", "extension_loads", "import_spandrel"]

#: Architectures that have no entry, each with the reason. Empty for spandrel 0.4.2.
NOT_RUN: dict[str, str] = {}


def extension_loads() -> bool:
    """Whether torchvision's binary extension loads against this torch."""
    import_torchvision()
    return bool(importlib.import_module("torchvision.extension")._has_ops())


def unknown_architectures() -> set[str]:
    """Architectures of the installed spandrel that this table does not know."""
    return _registered() - _known()


def vanished_architectures() -> set[str]:
    """Architectures of this table that the installed spandrel does not have."""
    return _known() - _registered()


def _registered() -> set[str]:
    return {support.architecture.id for support in import_spandrel().MAIN_REGISTRY}


def _known() -> set[str]:
    return {entry.architecture for entry in ENTRIES} | set(NOT_RUN)
