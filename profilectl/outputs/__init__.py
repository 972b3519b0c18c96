"""What leaves: batches and audiences, to outputs, to the platform, to a UID2 operator.

It imports `reading` and what is below it.
"""
