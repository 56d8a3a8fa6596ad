"""The leaderboard: its lines, their bounds, and its rendering."""
