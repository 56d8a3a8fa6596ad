"""What things cost, how good they are, and what bounds them."""
