"""The leaderboard: its lines, their bounds, and how it is drawn."""
