"""Handing over to an output: a file, a webhook, the Events API."""
