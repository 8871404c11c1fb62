"""Code that torch.jit, and so fvcore, does not look into: functions of `torch.autograd.Function`.

Their calls are in the trace, for memory and time, and say of themselves that they are within one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])

_INSIDE: ContextVar[bool] = ContextVar("_INSIDE", default=False)


def is_inside() -> bool:
    """Whether a function is running that torch.jit does not look into."""
    return _INSIDE.get()


def opaque(function: F) -> F:
    """A function that stands in for one which torch.jit does not look into."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        token = _INSIDE.set(True)
        try:
            return function(*args, **kwargs)
        finally:
            _INSIDE.reset(token)

    return called  # type: ignore[return-value]


def patches() -> list[tuple[Any, str, Any]]:
    """What has the network's own subclasses of `torch.autograd.Function` run inside one."""
    run = vars(torch.autograd.Function)["apply"].__func__
    not_seen = opaque(run)

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        own = cls.__module__.partition(".")[0] == __name__.partition(".")[0]
        return (run if own else not_seen)(cls, *args, **kwargs)

    return [(torch.autograd.Function, "apply", classmethod(apply))]
