"""A machine without a GPU and without network, for code that is built in it.

What the code asks for is refused as such a machine would, and noted with its line. Programs that
it would start are refused too: a compiler of kernels is no part of building a network.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch

from srprof.blame import blame, message
from srprof.redirect import NO_GPU, listening
from srprof.running import replaced
from srprof.tracing.recorder import user_line
from srprof.words import one_line

_INTERNET = (socket.AF_INET, socket.AF_INET6)

Asked = Literal["gpu", "network", "program"]
_Note = Callable[[Asked, object], None]
_Patches = list[tuple[Any, str, Any]]


class Refusal(NamedTuple):
    """Something that was not given: what, and by which line it was asked for."""

    kind: Asked
    what: str
    file: str
    line: int


@contextmanager
def refusing(*, gpu: bool = False) -> Iterator[list[Refusal]]:
    """No network and no other program for code that runs in here, and no GPU unless one is there.

    Gives what was asked for.
    """
    found: list[Refusal] = []

    def note(kind: Asked, what: object) -> None:
        file, line, _ = user_line()
        found.append(Refusal(kind, one_line(what), file, line))

    def failed(error: BaseException) -> None:
        where = blame(error)
        if NO_GPU.search(message(error)):
            found.append(Refusal("gpu", one_line(message(error)), where.file, where.line))

    patches = [*_without_network(note), *_without_programs(note)]
    with replaced([*patches, *([] if gpu else _without_gpu())]), listening(failed):
        yield found


def _without_gpu() -> _Patches:
    def no_gpu(*_: Any) -> None:
        raise RuntimeError("there is no CUDA GPU here")

    cuda = torch.cuda
    return [
        (cuda, "_lazy_init", no_gpu),
        (cuda, "is_available", lambda: False),
        (cuda, "device_count", lambda: 0),
    ]


def _without_network(note: _Note) -> _Patches:
    own = socket.socket.connect

    def refused(what: object) -> OSError:
        note("network", what)
        return OSError(errno.ENETUNREACH, f"srprof gives no network here, for {what}")

    def connect(self: socket.socket, address: Any) -> None:
        if self.family not in _INTERNET:
            return own(self, address)
        raise refused(address[0] if isinstance(address, tuple) else address)

    def look_up(host: Any, *_: Any, **__: Any) -> Any:
        raise refused(host)

    return [
        (socket.socket, "connect", connect),
        (socket.socket, "connect_ex", connect),
        (socket, "getaddrinfo", look_up),
        (socket, "gethostbyname", look_up),
    ]


def _without_programs(note: _Note) -> _Patches:
    def start(arguments: Any, *_: Any, **__: Any) -> Any:
        listed = isinstance(arguments, (list, tuple))
        words = " ".join(map(str, arguments)) if listed else str(arguments)
        note("program", words)
        raise PermissionError(errno.EPERM, f"srprof starts no program here: {words}")

    return [(subprocess, "Popen", start), (os, "system", start), (os, "popen", start)]
