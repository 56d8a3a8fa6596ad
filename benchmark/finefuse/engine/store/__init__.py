"""Artifacts by content address, their origin, and finished rows."""
