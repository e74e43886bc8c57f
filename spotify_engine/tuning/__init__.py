"""Tuning without Ray: spaces, strategies, trials, studies and reports."""
