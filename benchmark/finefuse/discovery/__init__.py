"""How plugins come in, and what is known of them."""
