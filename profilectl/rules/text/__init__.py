"""The meaning of one text: a value, a moment, a number, an address; it imports `rules` only."""
