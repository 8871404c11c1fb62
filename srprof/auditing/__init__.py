"""Other people's published figures, held against their own lists and against what is predicted."""
