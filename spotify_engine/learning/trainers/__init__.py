"""Trainers: epochs, checkpoints, early stopping, and which epoch is served."""
