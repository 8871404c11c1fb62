"""The gate: limits and a recorded baseline, so that a commit that costs memory does not slip in."""
