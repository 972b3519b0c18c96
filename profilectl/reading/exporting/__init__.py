"""What a store holds, written to files of any size."""
