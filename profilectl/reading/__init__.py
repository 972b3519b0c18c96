"""Reading a store: find, explain, compare, list, export, check, back up.

It imports `importing` and what is below it.
"""
