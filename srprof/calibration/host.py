"""What the machine around a device needs: calls, launches, views, modules, its own work, copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

#: Calls in a sample, samples, and bytes of what is worked on and copied.
_CALLS, _SAMPLES, _BYTES = 200, 15, 2**26


def host_times(device: str = "cpu") -> dict[str, float]:
    """The figures of a profile's `host` that can be measured here, in SI units; about a second.

    On a "cuda" device the calls are of maps of 4x4, so that the device waits for its host. On "cpu"
    there are no launches, so `op`, `kernel` and `copy` are left out.
    """
    cuda = device != "cpu"
    small = torch.zeros(1, 4, 4, 4, device=device)
    module, wait = nn.LeakyReLU(0.1, inplace=True), torch.cuda.synchronize if cuda else _nothing
    with torch.no_grad():
        call = _seconds(lambda: F.leaky_relu_(small, 0.1), wait)
        found = {
            "view": _seconds(lambda: small[:, :2], wait) / 2,  # a slice of two dimensions
            "module": max(0.0, _seconds(lambda: module(small), wait) - call),
            "cpu": _worked(),
        }
        if cuda:
            doubled = _seconds(lambda: torch.roll(small, (1, 1), (2, 3)), wait)
            kernel = max(0.0, doubled - _seconds(lambda: torch.roll(small, 1, 2), wait))
            found |= {"op": max(0.0, call - kernel), "kernel": kernel, "copy": _copied(device)}
    return found


def _nothing() -> None:
    """There is nothing to wait for."""


def _seconds(call: Callable[[], object], wait: Callable[[], object]) -> float:
    """The median sample's seconds of one call, of many in a row."""
    taken = []
    for _ in range(_SAMPLES):
        wait()
        began = time.perf_counter()
        for _ in range(_CALLS):
            call()
        wait()
        taken.append((time.perf_counter() - began) / _CALLS)
    return median(taken)


def _worked() -> float:
    """Bytes a second, read and written, of an element-wise call into fresh memory."""
    tensor = torch.zeros(_BYTES // 4)
    return 2 * _BYTES / _fastest(lambda: tensor + 1.0)


def _copied(device: str) -> float:
    """Bytes a second of a copy to the device from memory that is not pinned."""
    tensor = torch.zeros(_BYTES // 4)

    def copy() -> None:
        tensor.to(device)
        torch.cuda.synchronize()

    return _BYTES / _fastest(copy)


def _fastest(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)
