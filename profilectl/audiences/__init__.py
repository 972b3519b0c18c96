"""Calculated attributes and audiences, for everybody at once and kept up to date; it imports
`profiles` and what is below it.
"""
