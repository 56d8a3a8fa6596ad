"""How the lines of a board changed over commits, or over dated results, and where they took a step."""
