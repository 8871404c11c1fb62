"""The errors that srprof raises on purpose. `cli.main` turns each into an exit code.

Every message is one line that says what is wrong and how to mend it.
"""

from __future__ import annotations

import sys
from typing import Any

from srprof.words import mib_size


class SrprofError(Exception):
    """Base of every error that srprof raises on purpose."""

    exit_code = 2


class InputError(SrprofError):
    """The user's input is wrong: a SPEC, a size, an option, an output path."""


class NoFitError(InputError):
    """What is asked for does not fit the budget, or the device's memory, however it is done."""

    exit_code = 1


class _PlacedError(SrprofError):
    """An error at a place in the model: "" and 0 are not known.

    Attributes:
        file, line: of the user's frame. module: path of what was running, `body.3.conv`.
    """

    def __init__(self, message: str, *, file: str = "", line: int = 0, module: str = "") -> None:
        super().__init__(message)
        self.file, self.line, self.module = file, line, module


class DeviceMemoryError(_PlacedError, NoFitError):
    """The input is too large for the device's memory; its place asked for more than there was.

    Attributes:
        op: of that node, "" if unknown. allocated: bytes that were allocated then.
        largest: shape of the largest input of the same proportions that fits; None if nobody
            looked for it, or none does.
    """

    def __init__(
        self,
        message: str,
        *,
        op: str = "",
        allocated: int = 0,
        largest: tuple[int, ...] | None = None,
        **place: Any,
    ) -> None:
        super().__init__(message, **place)
        self.op, self.allocated, self.largest = op, allocated, largest


class BusyError(SrprofError):
    """Timings spread too widely to be of use: other programs take the device's time."""

    exit_code = 1


class ModelError(_PlacedError):
    """The model itself raised while it was built or run."""

    exit_code = 3


class MainMemoryError(SrprofError):
    """Main memory ran out, for no line of the model's."""

    exit_code = 3


class InternalError(SrprofError):
    """A fault of srprof's own, which nobody has foreseen."""

    exit_code = 3


class Stop(BaseException):
    """Ends a run that has told all that was asked.

    Not an Exception, so that a network's own handlers let it pass.
    """


class TimedOut(BaseException):
    """A network took longer than `--timeout` allows. Not an Exception, as `Stop` is none."""


def user_raised() -> tuple[type[BaseException], ...]:
    """For `except`: whatever a network's own code may raise, and not only an Exception.

    Ctrl-C, `Stop` and `TimedOut` are not its own: they pass. The type is asked for, not the
    exception, which may lie about its class.
    """
    passing = issubclass(type(sys.exc_info()[1]), (KeyboardInterrupt, Stop, TimedOut))
    return () if passing else (BaseException,)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `partial` is the record of what was done until then."""

    def __init__(self, partial: Any) -> None:
        super().__init__()
        self.partial = partial


class OutOfDeviceMemoryError(SrprofError):
    """The device would run out of memory. Sizes are in bytes.

    Attributes:
        requested: what the program asked for when there was not enough.
        allocated, reserved: what it had by then; capacity: what it could have.
        image, node: indices of the image that was run and of the node that asked; None if there
            was none.
    """

    exit_code = 1

    def __init__(
        self,
        requested: int,
        allocated: int,
        reserved: int,
        capacity: int,
        image: int | None = None,
        node: int | None = None,
    ) -> None:
        where = "" if image is None else f"image {image}, "
        where += "" if node is None else f"node {node}, "
        super().__init__(
            f"{where}out of device memory: {mib_size(requested)} requested, "
            f"{mib_size(allocated)} allocated and {mib_size(reserved)} reserved of "
            f"{mib_size(capacity)}; give a smaller input or more memory"
        )
        self.requested, self.allocated = requested, allocated
        self.reserved, self.capacity = reserved, capacity
        self.image, self.node = image, node

    def during(self, image: int | None, node: int | None) -> OutOfDeviceMemoryError:
        """The same error, with where it happened."""
        return OutOfDeviceMemoryError(
            self.requested, self.allocated, self.reserved, self.capacity, image, node
        )
