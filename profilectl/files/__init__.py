"""Files written whole, private files and folders, secrets, sinks; it imports `codes` only."""
