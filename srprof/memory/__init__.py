"""The memory model: pure functions of a trace, without torch."""
