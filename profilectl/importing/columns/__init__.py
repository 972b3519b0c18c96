"""What the columns of files become, shown before anything is imported."""
