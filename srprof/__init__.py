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
    from srprof.advising.record import Advice
    from srprof.advising.run import advise
    from srprof.analysis import Analysis, analyze, trace
    from srprof.auditing.record import Audit
    from srprof.auditing.run import audit
    from srprof.call import Call
    from srprof.estimating.memory import MemoryEstimate, estimate_memory
    from srprof.estimating.record import Estimate
    from srprof.estimating.run import estimate
    from srprof.inputs import AsIs
    from srprof.leaning.module import Lean
    from srprof.leaning.run import lean
    from srprof.linting.record import Lint
    from srprof.linting.run import lint
    from srprof.measuring.record import Measurement
    from srprof.measuring.run import measure
    from srprof.operators.known import using_ops
    from srprof.operators.rules import Rule
    from srprof.quality.record import Evaluation
    from srprof.quality.run import evaluate
    from srprof.records import Trace
    from srprof.sizing.record import Fit
    from srprof.sizing.run import fit
    from srprof.sweeping.run import sweep
    from srprof.training.analysis import analyze_training
    from srprof.training.config import TrainingConfig
    from srprof.training.record import TrainingAnalysis
    from srprof.training.run import train

__all__ = [
    "Advice",
    "Analysis",
    "AsIs",
    "Audit",
    "Call",
    "DeviceMemoryError",
    "Estimate",
    "Evaluation",
    "Fit",
    "InputError",
    "Lean",
    "Lint",
    "Measurement",
    "MemoryEstimate",
    "ModelError",
    "Rule",
    "SrprofError",
    "Trace",
    "TrainingAnalysis",
    "TrainingConfig",
    "__version__",
    "advise",
    "analyze",
    "analyze_training",
    "audit",
    "estimate",
    "estimate_memory",
    "evaluate",
    "fit",
    "lean",
    "lint",
    "measure",
    "sweep",
    "trace",
    "train",
    "using_ops",
]

_LAZY = {
    "Advice": "srprof.advising.record",
    "Analysis": "srprof.analysis",
    "AsIs": "srprof.inputs",
    "Audit": "srprof.auditing.record",
    "Call": "srprof.call",
    "Estimate": "srprof.estimating.record",
    "Evaluation": "srprof.quality.record",
    "Fit": "srprof.sizing.record",
    "Lean": "srprof.leaning.module",
    "Lint": "srprof.linting.record",
    "Measurement": "srprof.measuring.record",
    "Rule": "srprof.operators.rules",
    "MemoryEstimate": "srprof.estimating.memory",
    "Trace": "srprof.records",
    "TrainingAnalysis": "srprof.training.record",
    "TrainingConfig": "srprof.training.config",
    "advise": "srprof.advising.run",
    "analyze": "srprof.analysis",
    "analyze_training": "srprof.training.analysis",
    "audit": "srprof.auditing.run",
    "estimate": "srprof.estimating.run",
    "estimate_memory": "srprof.estimating.memory",
    "evaluate": "srprof.quality.run",
    "fit": "srprof.sizing.run",
    "lean": "srprof.leaning.run",
    "lint": "srprof.linting.run",
    "measure": "srprof.measuring.run",
    "sweep": "srprof.sweeping.run",
    "trace": "srprof.analysis",
    "train": "srprof.training.run",
    "using_ops": "srprof.operators.known",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'srprof' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
