"""Playlists as people have them: read from any of their files, and written for other programs."""
