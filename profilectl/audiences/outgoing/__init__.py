"""What outputs are told of audiences: the messages that wait, their routes, and removals."""
