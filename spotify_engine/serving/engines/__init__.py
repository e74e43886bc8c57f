"""Engines: a version of a recommender in memory, with its index and batches of requests."""
