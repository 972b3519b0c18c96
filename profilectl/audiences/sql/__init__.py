"""Calculated attributes and memberships of everybody at once, each the twin of a rule."""
