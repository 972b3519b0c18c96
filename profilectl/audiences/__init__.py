"""Calculated attributes and audiences, for everybody at once; it imports `profiles` and below."""
