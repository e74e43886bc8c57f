"""The pipelines as a search sees them: which there are, and what of each may vary."""

from __future__ import annotations

from typing import Any

from spotify_engine.config import JobConfig
from spotify_engine.errors import InputError
from spotify_engine.pipelines import Pipeline
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.pipelines.pipeline import TrainingPipeline
from spotify_engine.runtime.pipelines.playlists import PlaylistPipeline
from spotify_engine.runtime.pipelines.sessions import SessionPipeline
from spotify_engine.sessions.settings import MODELS, SyntheticJob
from spotify_engine.tuning.scope import OTHER_MEASURE, Scope

NO_RESULT = "it changes no result"
PIPELINE_CLASSES: dict[Pipeline, type[TrainingPipeline[Any]]] = {
    "playlists": PlaylistPipeline,
    "sessions": SessionPipeline,
}


def scope_of(pipeline: Pipeline, base: JobConfig) -> Scope:
    """The keys of a configuration that a search may vary.

    Raises:
        InputError: the configuration is of no use to a search.
    """
    left_out = _of_playlists() if isinstance(base, KaggleJob) else _of_sessions(base)
    return Scope(PIPELINE_CLASSES[pipeline].stages_of(base), left_out)


def _of_playlists() -> dict[str, str]:
    return {
        **dict.fromkeys(
            ("training.validate_playlists", "item_item.validate_playlists"), OTHER_MEASURE
        ),
        **dict.fromkeys(("mode", "cluster", "tracking", "training.checkpoint_every"), NO_RESULT),
    }


def _of_sessions(base: JobConfig) -> dict[str, str]:
    assert isinstance(base, SyntheticJob)
    if base.trainer == "simple":
        raise InputError("trainer: simple measures nothing on validation; search with advanced")
    if len(base.models) != 1:
        raise InputError(
            f"models: a search improves one model, these are {', '.join(base.models)}; set "
            "models: [session] in the space's base, or --set models=[session]"
        )
    (model,) = base.models
    others = [name for name in MODELS if name != model]
    sections = [*others, *(f"training.{name}" for name in others)]
    return {
        **dict.fromkeys(sections, f"it is not part of the model that is searched, {model}"),
        f"training.{model}.validate_on": OTHER_MEASURE,
        **dict.fromkeys(
            ("models", "trainer", "cluster", "tracking", f"training.{model}.checkpoint_every"),
            NO_RESULT,
        ),
    }
