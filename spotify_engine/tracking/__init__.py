"""Tracking of runs: recorder, history, tables, and boards."""
