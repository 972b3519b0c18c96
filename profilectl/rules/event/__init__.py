"""One event of a batch, its fields, and conditions on it; it imports `rules` only."""
