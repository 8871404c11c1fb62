"""Calibration: a device's profile from a short microbenchmark that runs on it."""
