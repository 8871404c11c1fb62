"""What a network computes: the inference form of a training form."""
