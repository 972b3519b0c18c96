"""The rules for everything that leaves: outputs, connections, enrichment; imports `rules` only."""
