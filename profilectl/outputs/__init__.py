"""What leaves: batches and audiences to outputs, to the platform, to a UID2 operator; it imports
`reading` and what is below it.
"""
