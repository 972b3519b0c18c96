"""What the store holds goes to the platform's Events API."""
