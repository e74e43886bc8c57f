"""From a session job's flags to its checked configuration and run directory."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spotify_engine.config import CONFIGS, load_config, read_yaml
from spotify_engine.dotted import Tree
from spotify_engine.errors import InputError
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.runtime.pipelines.sessions import SessionPipeline
from spotify_engine.sessions.schema import REQUIRED_FILES
from spotify_engine.sessions.settings import MODELS, SyntheticJob
from spotify_engine.sessions.tables.build import check_files


def open_session_run(arguments: argparse.Namespace) -> Run[SyntheticJob]:
    """Resolve the configuration and open the run directory.

    Raises:
        InputError: an input is missing, a key is unknown, or the directory holds another run.
    """
    config = session_config(arguments)
    return Run(arguments.out or Path("runs/synthetic"), config, SessionPipeline.stages_of(config))


def session_config(
    arguments: argparse.Namespace, base: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> SyntheticJob:
    """Resolve the configuration.

    Args:
        base: (where it comes from, values) over configs/synthetic.yaml, under ``--config``.

    Raises:
        InputError: an input is missing or can't be read, or a key is unknown.
    """
    flags: Tree = {}
    if arguments.model:
        flags["models"] = [name for name in MODELS if name in arguments.model]
    if arguments.trainer:
        flags["trainer"] = arguments.trainer
    if arguments.data:
        flags["inputs"] = {"data": str(arguments.data)}
        for name in REQUIRED_FILES:
            if "://" not in str(arguments.data) and not (Path(arguments.data) / name).exists():
                raise InputError(
                    f"{Path(arguments.data) / name}: no such file; give --data a folder of session "
                    "CSVs (spotify-engine generate sessions makes one), or leave it out"
                )
    if arguments.workers is not None:
        flags["cluster"] = {"workers": arguments.workers}
    layers = [("configs/synthetic.yaml", read_yaml(CONFIGS / "synthetic.yaml")), *base]
    if arguments.config:
        layers.append((str(arguments.config), read_yaml(arguments.config)))
    layers.append(("flags", flags))
    config = load_config(SyntheticJob, layers, arguments.settings)
    if config.inputs.data is not None:
        check_files(config.inputs.data, config.data)
    return config
