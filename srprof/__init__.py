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
    from srprof.quality.evaluating import evaluate
    from srprof.quality.evaluation import Evaluation
    from srprof.tracing.records import Trace
    from srprof.training.analysis import TrainingAnalysis, analyze_training
    from srprof.training.config import TrainingConfig
    from srprof.training.run import train

__all__ = [
    "Analysis",
    "DeviceMemoryError",
    "Evaluation",
    "InputError",
    "Measurement",
    "ModelError",
    "SrprofError",
    "Trace",
    "TrainingAnalysis",
    "TrainingConfig",
    "__version__",
    "analyze",
    "analyze_training",
    "evaluate",
    "measure",
    "trace",
    "train",
]

_LAZY = {
    "Analysis": "srprof.analysis",
    "Evaluation": "srprof.quality.evaluation",
    "Measurement": "srprof.measuring.base",
    "Trace": "srprof.tracing.records",
    "TrainingAnalysis": "srprof.training.analysis",
    "TrainingConfig": "srprof.training.config",
    "analyze": "srprof.analysis",
    "analyze_training": "srprof.training.analysis",
    "evaluate": "srprof.quality.evaluating",
    "measure": "srprof.measuring.run",
    "trace": "srprof.analysis",
    "train": "srprof.training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'srprof' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
