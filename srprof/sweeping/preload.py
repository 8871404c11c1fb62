"""Imported once by the process that the workers are forked from: torch, and what a trace loads."""

import gc

gc.disable()  # importing torch makes many objects and no garbage worth looking for

from srprof.sweeping.worker import warm_up  # noqa: E402 (only now)

warm_up()
gc.freeze()  # what is loaded stays; workers share its memory and need not look through it
gc.enable()
