"""Carries out a plan: the driver, one job in a worker, training, measuring, the store."""
