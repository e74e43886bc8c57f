"""Baselines of playlist completion: popularity, factors, item neighbours and linear models."""
