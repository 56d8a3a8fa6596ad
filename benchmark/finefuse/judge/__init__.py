"""What the results mean: statistics, leaderboards and comparisons. Reads only records, no torch."""
