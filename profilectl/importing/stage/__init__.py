"""Files become staged rows, all text, and rejects; it imports `store`, `files`, `rules` and
`codes`.
"""
