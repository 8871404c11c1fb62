"""Imported once by the process that the workers are forked from: torch, and what a trace loads."""

import atexit
import gc
import os

gc.disable()  # importing torch makes many objects and no garbage worth looking for

from srprof.sweeping.worker import warm_up  # noqa: E402 (only now)

warm_up()
# This process holds the stdout and stderr of who started it, and nothing that must be put in
# order: taking torch down would have a pipe's reader wait for a fifth of a second.
atexit.register(os._exit, 0)
gc.freeze()  # what is loaded stays; workers share its memory and need not look through it
gc.enable()
