"""How the lines of a board went over commits, or over dated results, and where they took a step."""
