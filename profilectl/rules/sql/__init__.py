"""The rules as SQL expressions, each made from the table of its rule; it imports `rules` only."""
