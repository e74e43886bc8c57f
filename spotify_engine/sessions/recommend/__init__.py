"""Recommending of songs: bundles, reasons, and a supplement for those with few plays."""
