"""The configuration of a store, declared as TOML: read, compared, applied, changed, written."""
