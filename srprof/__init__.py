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
    from srprof.advising.run import Advice, advise
    from srprof.analysis import Analysis, analyze, trace
    from srprof.measuring.base import Measurement
    from srprof.measuring.run import measure
    from srprof.sweeping.run import sweep
    from srprof.tracing.records import Trace

__all__ = [
    "Advice",
    "Analysis",
    "DeviceMemoryError",
    "InputError",
    "Measurement",
    "ModelError",
    "SrprofError",
    "Trace",
    "__version__",
    "advise",
    "analyze",
    "measure",
    "sweep",
    "trace",
]

_LAZY = {
    "Advice": "srprof.advising.run",
    "Analysis": "srprof.analysis",
    "Measurement": "srprof.measuring.base",
    "Trace": "srprof.tracing.records",
    "advise": "srprof.advising.run",
    "analyze": "srprof.analysis",
    "measure": "srprof.measuring.run",
    "sweep": "srprof.sweeping.run",
    "trace": "srprof.analysis",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'srprof' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
