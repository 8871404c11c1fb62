"""Our figures beside others': published ones."""
