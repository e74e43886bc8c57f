"""Asks a running server from Python, with or without asyncio. Knows neither torch nor Ray."""

from spotify_engine.client.clients import AsyncClient, Client
from spotify_engine.client.conversation import ApiError, ClientError, Overloaded, Unreachable

__all__ = ["ApiError", "AsyncClient", "Client", "ClientError", "Overloaded", "Unreachable"]
