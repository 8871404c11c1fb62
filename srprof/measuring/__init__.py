"""Real runs, on the CPU or on a GPU: memory node by node, latency with its doubt, one record."""
