"""What a person sees, and the only package that knows Rich; it imports results of the packages
below it, never a store.
"""
