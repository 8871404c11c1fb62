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
from srprof.errors import DeviceMemoryError, InputError, ModelError, SrprofError

if TYPE_CHECKING:
    from srprof.analysis import Analysis, analyze, trace
    from srprof.measuring.base import Measurement
    from srprof.measuring.run import measure
    from srprof.sizing.records import Fit
    from srprof.sizing.run import fit
    from srprof.tracing.records import Trace

__all__ = [
    "Analysis",
    "DeviceMemoryError",
    "Fit",
    "InputError",
    "Measurement",
    "ModelError",
    "SrprofError",
    "Trace",
    "__version__",
    "analyze",
    "fit",
    "measure",
    "trace",
]

_LAZY = {
    "Analysis": "srprof.analysis",
    "Fit": "srprof.sizing.records",
    "Measurement": "srprof.measuring.base",
    "Trace": "srprof.tracing.records",
    "analyze": "srprof.analysis",
    "fit": "srprof.sizing.run",
    "measure": "srprof.measuring.run",
    "trace": "srprof.analysis",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'srprof' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
