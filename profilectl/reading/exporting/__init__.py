"""Exports: the content of a store, written to files of any size."""
