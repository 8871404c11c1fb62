"""Memory that a CPU run has freed, kept by the process.

glibc gives large blocks back to the kernel as they are freed and zeroes fresh pages for the next
ones: at 1.5 us a page (measured on a virtual machine), more than most kernels take to fill them.
How often that happens hangs on the order of all earlier allocations, so a kernel timed alone
says little about the same kernel in a network. With the freed memory kept, both agree.
"""

from __future__ import annotations

import ctypes

#: Parameters of glibc's mallopt: malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, for the rest of the process; False where it cannot."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return False
    return bool(mallopt(_TRIM_THRESHOLD, -1)) and bool(mallopt(_MMAP_MAX, 0))
