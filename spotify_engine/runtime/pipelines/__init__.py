"""Pipelines: their stages in a run directory, from data to bundle, report and audit."""
