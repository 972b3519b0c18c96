"""What is right: one row, one person at a time, no input and no output; it imports the standard
library, `codes` and itself.
"""
