"""What a figure depends on beside the model: versions, torch's settings, variables."""

from __future__ import annotations

import os
import platform
import re
import warnings
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from srprof._version import __version__
from srprof.measuring.record import Device, Flags, Versions

#: Environment variables that change memory or speed.
_VARIABLES = (
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING"),
    *("CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "NVIDIA_TF32_OVERRIDE"),
    *("CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MALLOC_CONF", "LD_PRELOAD"),
)


def usual_device(device: str | None = None) -> str:
    """The device that is named; else "cuda" if there is one, else "cpu"."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def now() -> str:
    """In UTC, to the second (ISO 8601)."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_flags(allocator: str | None = None) -> Flags:
    """Settings of torch now."""
    cudnn = torch.backends.cudnn
    return Flags(
        tf32_matmul=_tf32(torch.backends.cuda.matmul),
        tf32_cudnn=_tf32(cudnn),
        cudnn_enabled=cudnn.enabled,
        cudnn_benchmark=cudnn.benchmark,
        cudnn_deterministic=cudnn.deterministic,
        deterministic_algorithms=torch.are_deterministic_algorithms_enabled(),
        matmul_precision=torch.get_float32_matmul_precision(),
        threads=torch.get_num_threads(),
        allocator=allocator,
        environment={name: os.environ[name] for name in _VARIABLES if name in os.environ},
    )


def _tf32(backend: Any) -> bool | None:
    """Whether TF32 may be used; torch raises if the model set its precision in the newer way."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(backend.allow_tf32)
    except RuntimeError:
        return None


def read_versions() -> Versions:
    """Versions of everything that has a say; cuDNN is loaded if torch has it."""
    onednn = re.search(r"MKL-DNN v(\S+)", torch.__config__.show())
    cudnn = torch.backends.cudnn.version()
    return Versions(
        srprof=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        cuda=torch.version.cuda,
        cudnn=None if cudnn is None else str(cudnn),
        onednn=onednn.group(1) if onednn else None,
    )


def read_cpu() -> Device:
    """The processor, as Linux or Python name it."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        line = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = (line[1].strip() if line else "") or name
    return Device("cpu", name, torch.backends.cpu.get_cpu_capability())
