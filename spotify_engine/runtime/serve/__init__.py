"""Both recommenders as one Ray Serve application."""

from spotify_engine.runtime.serve.deployment import application, build

__all__ = ["application", "build"]
