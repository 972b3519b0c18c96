"""Files and changes by hand become rows of the store, and are taken back.

It may import `configuration`, `audiences` and what is below them.
"""
