"""Networks that raise, print and end the process where nobody expects it."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.body(x)


# -- what is raised -----------------------------------------------------------------------------


class Halt(BaseException):
    pass


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Liar(Exception):
    @property
    def __class__(self):
        raise RuntimeError("no class")


#: What `fault` raises, by kind.
RAISED = {
    "exit": lambda: SystemExit(0),
    "generator": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "halt": Halt,
    "mute": Mute,
    "liar": Liar,
    "stop": StopIteration,
    "pipe": BrokenPipeError,
    "folder": FileNotFoundError,
    "memory": MemoryError,
}
if sys.version_info >= (3, 11):
    RAISED["group"] = lambda: BaseExceptionGroup("two", [SystemExit(0), ValueError()])  # noqa: F821


def fault(kind):
    if kind == "_exit":
        os._exit(0)
    if kind == "endless":
        fault(kind)
    raise RAISED[kind]()


class Faulty(Net):
    """Raises in its constructor, in forward, or in another method of `nn.Module`."""

    def __init__(self, at="forward", kind="exit"):
        super().__init__()
        self.at, self.kind = at, kind
        self.fail("init")

    def fail(self, at):
        if vars(self).get("at") == at:
            fault(self.kind)

    def forward(self, x):
        self.fail("forward")
        return self.body(x)

    def train(self, mode=True):
        self.fail("train")
        return super().train(mode)

    def parameters(self, recurse=True):
        self.fail("parameters")
        return super().parameters(recurse)

    def modules(self):
        self.fail("modules")
        return super().modules()

    def _apply(self, fn, recurse=True):
        self.fail("_apply")
        return super()._apply(fn, recurse)

    def __hash__(self):
        self.fail("hash")
        return id(self)

    def __eq__(self, other):
        self.fail("eq")
        return self is other

    def __repr__(self):
        self.fail("repr")
        return "Faulty()"

    @property
    def weight(self):
        self.fail("weight")
        return self.body.weight


class HasNoClass(Net):
    @property
    def __class__(self):
        raise ValueError("no class")


class Late(Net):
    """Raises in a later call than the first."""

    calls = 0

    def forward(self, x):
        Late.calls += 1
        if Late.calls > 1:
            fault("halt")
        return self.body(x)


# -- how it is built ----------------------------------------------------------------------------


class WithoutSuper(nn.Module):
    def __init__(self):
        pass

    def forward(self, x):
        return x * 2


class Outer(nn.Module):
    """A network with such a part."""

    def __init__(self):
        super().__init__()
        self.part = WithoutSuper()

    def forward(self, x):
        return self.part(x)


class Cycle(Net):
    """Its part has it for a part, and torch's own `eval` and `to` end in that."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.ReLU())
        self.part.parent = self

    def forward(self, x):
        return self.part[0](self.body(x))


class Nested(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.inner = Nested(depth - 1) if depth else nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.inner(x)


class Recursive(Net):
    """Gives what contains itself."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        image = self.body(x)
        if self.kind == "list":
            result = [image]
            result.append(result)
            return result
        inner = {}
        outer = (image, inner)
        inner["outer"] = outer
        return outer


class Endless(Net):
    def forward(self, x):
        return self(x + 1)


class Leaves(Net):
    """Goes to a folder and deletes it."""

    def __init__(self, at="init"):
        super().__init__()
        self.at = at
        self.leave("init")

    def leave(self, at):
        if self.at == at:
            folder = tempfile.mkdtemp()
            os.chdir(folder)
            shutil.rmtree(folder)

    def forward(self, x):
        self.leave("forward")
        return self.body(x)


class Deletes(Net):
    """Deletes the folder that it finds itself in."""

    def forward(self, x):
        with suppress(OSError):  # of another run
            shutil.rmtree(os.getcwd())
        return self.body(x)


class TiedOnTheCpu(Net):
    """Shares a weight, and needs data in its constructor."""

    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 3, 3, padding=1)
        self.other.weight = self.body.weight
        self.gain = float(self.body.bias.detach().abs().sum())

    def forward(self, x):
        return self.other(self.body(x)) * self.gain


# -- what it does to stdout and stderr ----------------------------------------------------------

NOISE = "NOISE"


class Prints(Net):
    """Prints in its constructor and in forward, by the way that it is told."""

    def __init__(self, way="print", raises=False):
        super().__init__()
        self.way, self.raises = way, raises
        self.make_noise()

    def make_noise(self):
        if self.way == "print":
            print(NOISE)
        elif self.way == "buffer":
            sys.stdout.buffer.write(NOISE.encode() + b"\n")
        elif self.way == "write":
            os.write(1, NOISE.encode() + b"\n")
        elif self.way == "child":
            os.system(f"echo {NOISE}")
        elif self.way == "thread":
            thread = threading.Thread(target=print, args=(NOISE,))
            thread.start()
            thread.join()
        elif self.way == "rebinds":
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        elif self.way == "none":
            sys.stdout = sys.stderr = None
        elif self.way == "closes":
            sys.stdout.close()
            sys.stderr.close()
        elif self.way == "to the end" and not sys.__stdout__.closed:
            sys.__stdout__.write(f"{NOISE}\n")
            sys.__stdout__.close()
            atexit.register(os.write, 1, NOISE.encode())
            threading.Thread(target=self.go_on).start()

    def go_on(self):
        while True:
            os.write(1, NOISE.encode())
            time.sleep(0.01)

    def forward(self, x):
        self.make_noise()
        if self.raises:
            raise ValueError("behind the noise")
        return self.body(x)


# -- what does not end, or is too large ---------------------------------------------------------


class Unending(nn.Module):
    """`kind`: how its forward does not end."""

    def __init__(self, kind="loops", at="forward"):
        super().__init__()
        self.kind = kind
        self.body = nn.Conv2d(3, 3, 3, padding=1)
        if at == "init":
            self.never_ends(None)

    def forward(self, x):
        return self.never_ends(x)

    def never_ends(self, x):
        if self.kind == "loops":
            while True:
                pass
        if self.kind == "catches":
            while True:
                with suppress(Exception):
                    self.loops_for(1000)
        if self.kind == "sleeps":
            time.sleep(1000)
        if self.kind == "waits":
            threading.Event().wait()
        if self.kind == "torch":
            while True:
                x = self.body(x)
        if self.kind == "catches one":
            try:
                self.loops_for(10**12)
            except BaseException:
                self.loops_for(10**12)
        if self.kind == "catches all":
            while True:
                try:
                    self.loops_for(10**9)
                except BaseException:
                    continue
        if self.kind == "in C":
            sum(itertools.repeat(1))

    def loops_for(self, times):
        for _ in range(times):
            pass


class Large(nn.Module):
    """`kind`: how it asks for more memory than there is."""

    def __init__(self, kind="torch", at="forward"):
        super().__init__()
        self.kind = kind
        self.body = nn.Conv2d(3, 3, 3, padding=1)
        if at == "init":
            self.grow()

    def forward(self, x):
        self.grow()
        return self.body(x)

    def grow(self):
        if self.kind == "torch":
            return torch.zeros(2**50, dtype=torch.uint8, device="cpu")
        return bytearray(2**60)
