"""The criteria of an audience: the tree, and the two forms it is written in; it imports `rules`
only.
"""
