"""Pre-registered experiments, with their results."""
