"""The errors that srprof raises on purpose. `cli.main` turns each into an exit code.

Every message is one line that says what is wrong and how to mend it.
"""

from __future__ import annotations


class SrprofError(Exception):
    """Base of every error that srprof raises on purpose."""

    exit_code = 2


class InputError(SrprofError):
    """The user's input is wrong: a SPEC, a size, an option, an output path."""


class DeviceMemoryError(InputError):
    """The input is too large for the device's memory.

    Attributes:
        op, module, file, line: the node that asked for more than there was; "" and 0 if unknown.
        allocated: bytes that were allocated then.
        largest: shape of the largest input of the same proportions that fits; None if nobody
            looked for it, or none does.
    """

    def __init__(
        self,
        message: str,
        *,
        op: str = "",
        module: str = "",
        file: str = "",
        line: int = 0,
        allocated: int = 0,
        largest: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.op = op
        self.module = module
        self.file = file
        self.line = line
        self.allocated = allocated
        self.largest = largest


class BusyError(SrprofError):
    """Timings spread too widely to be of use: other programs take the device's time."""

    exit_code = 1


class ModelError(SrprofError):
    """The model itself raised while it was built or run.

    Attributes:
        file: source file of the user's frame that raised, or "" if unknown.
        line: line in that file, or 0.
        module: path of the module that was running (`body.3.conv`), or "".
    """

    exit_code = 3

    def __init__(self, message: str, *, file: str = "", line: int = 0, module: str = "") -> None:
        super().__init__(message)
        self.file = file
        self.line = line
        self.module = module


class OutOfDeviceMemoryError(SrprofError):
    """The device would run out of memory. Sizes are in bytes.

    Attributes:
        requested: what the program asked for when there was not enough.
        allocated, reserved: what it had by then; capacity: what it could have.
        image, node: indices of the image that was run and of the node that asked; None if there
            was none.
    """

    def __init__(
        self,
        requested: int,
        allocated: int,
        reserved: int,
        capacity: int,
        image: int | None = None,
        node: int | None = None,
    ) -> None:
        mib = 2**20
        where = "" if image is None else f"image {image}, "
        where += "" if node is None else f"node {node}, "
        super().__init__(
            f"{where}out of device memory: {requested / mib:.2f} MiB requested, "
            f"{allocated / mib:.2f} MiB allocated and {reserved / mib:.2f} MiB reserved of "
            f"{capacity / mib:.2f} MiB; give a smaller input or more memory"
        )
        self.requested = requested
        self.allocated = allocated
        self.reserved = reserved
        self.capacity = capacity
        self.image = image
        self.node = node

    def during(self, image: int | None, node: int | None) -> OutOfDeviceMemoryError:
        """The same error, with where it happened."""
        return OutOfDeviceMemoryError(
            self.requested, self.allocated, self.reserved, self.capacity, image, node
        )
