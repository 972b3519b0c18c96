"""HTTP over a store: the Profile API, the Events API and IDSync; it imports `reading` and what is
below it.
"""
