"""The memory of a network as a function of height, width, batch and dtype."""
