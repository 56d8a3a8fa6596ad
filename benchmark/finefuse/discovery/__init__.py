"""Finding and loading plugins, and what they declare."""
