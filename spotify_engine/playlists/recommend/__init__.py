"""Recommending for playlists: lookup, fallbacks, reasons, pasted lists and export."""
