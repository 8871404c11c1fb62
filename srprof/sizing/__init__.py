"""How large an image, a tile or a batch fits a budget of memory."""
