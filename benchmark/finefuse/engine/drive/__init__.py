"""The driver: what is left to do, what runs when and where."""
