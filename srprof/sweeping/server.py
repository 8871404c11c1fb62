"""The process that workers are forked from, once it has loaded torch."""

from __future__ import annotations

import multiprocessing
import os


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_fork() -> bool:
    """Whether the system has such a process."""
    return "forkserver" in multiprocessing.get_all_start_methods()


def start_server() -> None:
    """Start the process that the workers are forked from; it loads torch meanwhile."""
    if can_fork():
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(["srprof.sweeping.preload"])
        forkserver.ensure_running()
