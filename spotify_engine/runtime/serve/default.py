"""The application with default settings, for `serve build`, which takes no builder."""

from spotify_engine.runtime.serve.deployment import application
from spotify_engine.serving.settings import ServeSettings

app = application(ServeSettings())
