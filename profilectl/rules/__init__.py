"""What is right for one row and one person; it imports the standard library and `codes` only."""
