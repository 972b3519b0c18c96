"""JSON lines and documents become staged rows."""
