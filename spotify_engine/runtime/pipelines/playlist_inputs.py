"""From a job's flags to its checked configuration and run directory."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spotify_engine.config import CONFIGS, load_config, read_yaml
from spotify_engine.console import say
from spotify_engine.dotted import Tree
from spotify_engine.errors import InputError
from spotify_engine.playlists.settings import InputsConfig, KaggleJob
from spotify_engine.playlists.synthetic import SampleConfig, write_sample
from spotify_engine.playlists.tables.features import FEATURE_COLUMNS, OPTIONAL_COLUMNS
from spotify_engine.playlists.tables.genres import open_genres
from spotify_engine.playlists.tables.reading import PLAYLIST_COLUMNS
from spotify_engine.reading.records import BACKSLASH, DOUBLED, open_csv
from spotify_engine.runtime.pipelines.playlists import PlaylistPipeline
from spotify_engine.runtime.pipelines.run import Run

SAMPLE = Path("data/sample")


def open_run(arguments: argparse.Namespace) -> Run[KaggleJob]:
    """Resolve the configuration and open the run directory; makes the sample when asked for.

    Raises:
        InputError: an input is missing, a key is unknown, or the directory holds another run.
    """
    config = playlist_config(arguments)
    return Run(
        arguments.out or Path("runs") / f"kaggle-{config.mode}",
        config,
        PlaylistPipeline.stages_of(config),
    )


def playlist_config(
    arguments: argparse.Namespace, base: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> KaggleJob:
    """Resolve the configuration; makes the sample when asked for.

    Args:
        base: (where it comes from, values) over the mode's configuration, under ``--config``.

    Raises:
        InputError: an input is missing, or a key is unknown.
    """
    if arguments.sample and (arguments.playlists or arguments.features):
        raise InputError("--sample makes its own files; leave out --playlists and --features")
    flags: Tree = {"mode": arguments.mode, "inputs": {}}
    if arguments.sample:
        if not (SAMPLE / "spotify_dataset.csv").exists():
            say(f"Writing a Kaggle-shaped sample to {SAMPLE}")
            write_sample(SAMPLE, SampleConfig.demo())
        flags["inputs"] = {
            "playlists": str(SAMPLE / "spotify_dataset.csv"),
            "features": str(SAMPLE / "tracks_features.csv"),
        }
    for name in ("playlists", "features", "genres"):
        given = getattr(arguments, name)
        if given is not None:
            flags["inputs"][name] = None if given == "none" else given
    if arguments.no_baselines:
        flags["evaluation"] = {"baselines": []}
    if arguments.workers is not None:
        flags["cluster"] = {"workers": arguments.workers}
    layers = [(f"configs/kaggle/{arguments.mode}.yaml", _mode(arguments.mode)), *base]
    if arguments.config:
        layers.append((str(arguments.config), read_yaml(arguments.config)))
    layers.append(("flags", flags))
    config = load_config(KaggleJob, layers, arguments.settings)
    _require_inputs(config.inputs, config.data.max_reject_ratio)
    return config


def _mode(name: str) -> Tree:
    return read_yaml(CONFIGS / "kaggle" / f"{name}.yaml")


def _require_inputs(inputs: InputsConfig, limit: float) -> None:
    """Refuse missing files, other formats and wrong headers before anything is started."""
    for name, path in inputs.model_dump().items():
        if path is None or "://" in path or Path(path).exists():
            continue
        default = InputsConfig.model_fields[name].default
        remedy = (
            "get it from Kaggle (README.md, 'The real files'), name another with "
            f"--{name}, or use --sample for a Kaggle-shaped stand-in"
            if path == default
            else f"check the path given as --{name}"
        )
        raise InputError(f"{path}: no such file; {remedy}")
    open_csv(inputs.playlists, BACKSLASH, PLAYLIST_COLUMNS, limit=limit)
    if inputs.features is not None:
        open_csv(inputs.features, DOUBLED, FEATURE_COLUMNS, OPTIONAL_COLUMNS, limit)
    if inputs.genres is not None:
        open_genres(inputs.genres, limit)
