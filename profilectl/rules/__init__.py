"""The rules for one row and one person; they import the standard library and `codes` only."""
