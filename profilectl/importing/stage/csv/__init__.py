"""CSV becomes a relation of cells."""
