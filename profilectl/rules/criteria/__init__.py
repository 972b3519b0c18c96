"""The criteria of an audience: their tree and its two written forms; it imports `rules` only."""
