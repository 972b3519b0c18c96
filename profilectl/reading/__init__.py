"""What may be asked of a store: find, explain, compare, list, export, check, back up; it imports
`importing` and what is below it.
"""
