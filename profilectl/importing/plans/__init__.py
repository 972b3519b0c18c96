"""Saved plans: an import that is looked at first, then made as it was looked at."""
