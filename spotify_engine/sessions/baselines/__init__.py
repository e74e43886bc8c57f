"""Baselines of the next song: Markov chains and session neighbours."""
