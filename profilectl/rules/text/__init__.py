"""What one text says: a value, a moment, a number, an address; it imports `rules` only."""
