"""Training with Ray Train."""
