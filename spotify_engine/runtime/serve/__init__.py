"""Both recommenders as one Ray Serve application."""

from spotify_engine.runtime.serve.deployment import build

__all__ = ["build"]
