"""What an import says of single rows: their codes, examples of what changes, answers to callers."""
