"""Files become staged rows, all text, and rejects.

It imports `store`, `files`, `rules` and `codes`.
"""
