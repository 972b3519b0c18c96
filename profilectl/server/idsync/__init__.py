"""IDSync as the platform's HTTP API speaks it."""
