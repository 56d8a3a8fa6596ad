"""Costs, scores and bounds."""
