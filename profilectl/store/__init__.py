"""The file on disk, and the DuckDB session beside it; imports `files`, `rules` and `codes`."""
