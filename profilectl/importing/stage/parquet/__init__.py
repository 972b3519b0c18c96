"""Parquet becomes staged rows, each value as the text that says it exactly."""
