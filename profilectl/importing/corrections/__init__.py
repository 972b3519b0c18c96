"""Changes by hand, made as imports of a few rows; it imports the steps of an import."""
