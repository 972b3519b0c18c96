"""Files and changes by hand become rows of the store, and are taken back; it imports
`configuration`, `audiences` and what is below them.
"""
