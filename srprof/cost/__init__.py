"""What a run costs: the challenge's counts and true multiply-accumulates."""
