"""Ends the process that started this one, if the network that it runs does not come back.

A program of its own, which imports nothing of srprof: `watcher.py PATIENCE SECONDS`. On its stdin
come lines, each with the name of what begins, an empty one if nothing is limited. It waits for
the next for PATIENCE seconds; SECONDS is what the user allowed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

#: Seconds after which a process that ignores its signal is killed.
_PATIENCE = 2.0


def main() -> None:
    """Wait for what begins and does not end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other's
    patience, seconds = float(sys.argv[1]), sys.argv[2]
    parent, name = os.getppid(), ""
    while select.select([0], [], [], patience if name else None)[0]:
        lines = os.read(0, 1 << 16).decode(errors="replace").splitlines()
        if not lines:  # it has ended, or is about to
            return
        name = lines[-1]
    text = f"srprof: {name} did not end within {seconds} s (--timeout), in code that ends for"
    os.write(2, f"{text} nothing; no other network's results are kept\n".encode())
    for ends in (signal.SIGQUIT, signal.SIGKILL):
        if os.getppid() == parent:
            os.kill(parent, ends)
            time.sleep(_PATIENCE)


if __name__ == "__main__":
    main()
