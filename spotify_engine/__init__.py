"""Playlist completion and next-song recommendation with graph attention networks on Ray."""

__version__ = "0.1.0"
