"""The store for Python programs: the calls of the command line, with plain values in and out."""
