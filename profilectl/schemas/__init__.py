"""The documents that commands print as JSON: their members, declared, and the schemas of them."""
