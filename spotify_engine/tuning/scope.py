"""Which keys of a configuration a search may vary, and which of those remake what is shared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spotify_engine.config import JobConfig, KaggleJob
from spotify_engine.errors import InputError
from spotify_engine.pipelines import Pipeline
from spotify_engine.sessions.settings import MODELS, SyntheticJob

OTHER_DATA = "it changes the data or the split, and trials on different data can't be compared"
OTHER_MEASURE = "it changes what a trial is measured on"
NO_PART = "it has no part in what the search measures"
NO_RESULT = "it changes no result"


@dataclass(frozen=True)
class Scope:
    """What a search over one pipeline's configuration may vary.

    Attributes:
        model: the configuration.
        left_out: keys, or sections of keys, that may not vary, and why.
        shared: keys or sections that decide what trials share (genres, graph, start): trials that
            agree in them use one copy.
    """

    pipeline: Pipeline
    model: type[JobConfig]
    left_out: Mapping[str, str]
    shared: tuple[str, ...]

    def check(self, key: str) -> None:
        """
        Raises:
            InputError: the key may not vary.
        """
        for prefix, reason in self.left_out.items():
            if _within(key, prefix):
                raise InputError(f"space: {key} can't be searched: {reason}")

    def shared_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a trial's values that decide what it shares."""
        return {k: v for k, v in values.items() if any(_within(k, p) for p in self.shared)}


def _within(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}.")


PLAYLISTS = Scope(
    "playlists",
    KaggleJob,
    {
        **dict.fromkeys(("inputs", "data", "holdout"), OTHER_DATA),
        **dict.fromkeys(
            ("training.validate_playlists", "item_item.validate_playlists"), OTHER_MEASURE
        ),
        **dict.fromkeys(("evaluation", "titles", "cold_start"), NO_PART),
        **dict.fromkeys(("mode", "cluster", "tracking", "training.checkpoint_every"), NO_RESULT),
    },
    # All that `playlists.start.find_start` reads, beside graph and split.
    ("genres", "graph", "start", "model.embedding_dim", "model.temperature"),
)


def scope_of(pipeline: Pipeline, base: JobConfig) -> Scope:
    """What may vary around a configuration.

    Raises:
        InputError: the configuration is of no use to a search.
    """
    if pipeline == "playlists":
        return PLAYLISTS
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
    return Scope(
        "sessions",
        SyntheticJob,
        {
            **dict.fromkeys(("inputs", "generator", "data", "split"), OTHER_DATA),
            **dict.fromkeys(sections, f"it is not part of the model that is searched, {model}"),
            f"training.{model}.validate_on": OTHER_MEASURE,
            **dict.fromkeys(("evaluation", "cold"), NO_PART),
            **dict.fromkeys(
                ("models", "trainer", "cluster", "tracking", f"training.{model}.checkpoint_every"),
                NO_RESULT,
            ),
        },
        ("graph",),
    )
