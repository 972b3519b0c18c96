"""One event of a batch, its fields and conditions on it; it imports `rules.text` and `codes`."""
