"""The two pipelines, by name."""

from __future__ import annotations

from typing import Literal, get_args

Pipeline = Literal["playlists", "sessions"]
PIPELINES: tuple[Pipeline, ...] = get_args(Pipeline)
