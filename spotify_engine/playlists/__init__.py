"""Playlist completion: tables, model, training, recommending, measuring and reports."""
