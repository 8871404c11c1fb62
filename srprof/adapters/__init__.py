"""What other libraries hold of a network, as srprof takes it. None of them has to be installed."""
