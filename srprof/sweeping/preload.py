"""Imported once by the process that the workers are forked from: torch, and what a trace loads."""

from srprof.sweeping.worker import warm_up

warm_up()
