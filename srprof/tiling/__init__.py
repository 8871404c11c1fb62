"""Running a network tile by tile, with the same result: the grid, the halo, and the proof."""
