"""Training: what a step takes, and the paper's recipe run."""
