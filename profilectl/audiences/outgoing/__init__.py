"""The messages that outputs get about audiences: those that wait, their routes, and removals."""
