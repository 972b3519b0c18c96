"""One profile, or many, put together from their rows; it imports `store` and what is below it."""
