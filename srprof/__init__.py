"""srprof: where the memory of a super-resolution network goes, and because of which line.

    >>> import srprof
    >>> a = srprof.analyze("e_rfdn", (1, 3, 510, 510))
    >>> a.memory.eager, a.memory.planned

Names are loaded at first use, so that importing srprof loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from srprof._version import __version__
from srprof.errors import InputError, ModelError, SrprofError

if TYPE_CHECKING:
    from srprof.analysis import Analysis, analyze, trace
    from srprof.tracing.records import Trace

__all__ = [
    "Analysis",
    "InputError",
    "ModelError",
    "SrprofError",
    "Trace",
    "__version__",
    "analyze",
    "trace",
]

_LAZY = {
    "Analysis": "srprof.analysis",
    "Trace": "srprof.tracing.records",
    "analyze": "srprof.analysis",
    "trace": "srprof.analysis",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'srprof' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
