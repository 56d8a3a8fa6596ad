"""One job in a worker."""
