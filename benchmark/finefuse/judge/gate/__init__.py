"""What became worse between two results folders: tests, exact numbers, times, and one object for all of it."""
