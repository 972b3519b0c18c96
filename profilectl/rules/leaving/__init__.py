"""What may leave, and in what form: outputs, connections, enrichment; it imports `rules` only."""
