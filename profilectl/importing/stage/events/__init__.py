"""The events of a file become staged events."""
