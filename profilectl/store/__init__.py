"""The one file on disk, and the DuckDB session beside it; it imports `files`, `rules` and `codes`."""
