"""The same suite again: elsewhere, in pairs, and over versions. Starts finefuse in processes of its own."""
