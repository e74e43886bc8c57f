"""A pasted list of tracks, completed, shown and exported."""
