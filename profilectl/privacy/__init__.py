"""What people ask for, and how long they are kept; it imports `reading` and what is below it."""
