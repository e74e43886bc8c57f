"""The results of a search: a table to read, a table to keep and the best configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.table import Table

from spotify_engine.store.atomic import replaced_file
from spotify_engine.tuning.space import Space, Values
from spotify_engine.tuning.trials import Trial, ranked

NOT_SETTINGS = ("inputs", "mode", "cluster", "tracking")  # of the place a run has, not of the model
STYLES = {"done": "", "stopped": "dim", "running": "cyan"}
COLUMNS = pa.schema(
    [
        ("trial", pa.int32()),
        ("state", pa.string()),
        ("quality", pa.float64()),
        ("seconds", pa.float64()),
        ("wall_seconds", pa.float64()),
        ("ended", pa.float64()),
        ("epochs", pa.int32()),
        ("error", pa.string()),
    ]
)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or the whole of it where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return {k: name if last.count(name) == 1 else k for k, name in zip(keys, last, strict=True)}


def values_of(space: Space, trial: Trial) -> Values:
    """A trial's value of each key that is searched, the default's too."""
    return space.default() | trial.values


def as_text(value: Any) -> str:
    """A value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def results_table(space: Space, trials: Sequence[Trial], most: int | None = None) -> Table:
    """The best on top; the first ``most`` of them."""
    names = short_names(list(space.config.space))
    table = Table(box=SIMPLE_HEAD)
    for head in ("trial", "recall@10", "seconds", "epochs"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in names.values():
        table.add_column(name, justify="right")
    for trial in ranked(trials)[:most]:
        values = values_of(space, trial)
        table.add_row(
            "default" if not trial.number else str(trial.number),
            "" if trial.quality is None else f"{trial.quality:.4f}",
            "" if trial.seconds is None else f"{trial.seconds:.1f}",
            str(trial.epochs_done) if trial.epochs else "",
            trial.state,
            *(as_text(values[key]) for key in names),
            style=STYLES.get(trial.state, "red"),
        )
    return table


def save_results(space: Space, trials: Sequence[Trial], path: Path) -> None:
    """One row a trial as parquet; values are numbers where all of a key's are, else JSON texts."""
    rows = sorted(trials, key=lambda each: each.number)
    table = pa.Table.from_pylist(
        [
            {
                "trial": each.number,
                "epochs": each.epochs_done,
                **{
                    name: getattr(each, name)
                    for name in ("state", "quality", "seconds", "wall_seconds", "ended", "error")
                },
            }
            for each in rows
        ],
        schema=COLUMNS,
    )
    for key in space.config.space:
        column = [values_of(space, each)[key] for each in rows]
        if all(isinstance(each, int | float) and not isinstance(each, bool) for each in column):
            array = pa.array([float(each) for each in column])
        else:
            array = pa.array([json.dumps(each) for each in column])
        table = table.append_column(key, array)
    with replaced_file(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def settings_yaml(config: BaseModel, heading: str) -> str:
    """A configuration for ``--config``.

    All that decides what is learned, but not from which files or on which machine.
    """
    tree = {k: v for k, v in config.model_dump(mode="json").items() if k not in NOT_SETTINGS}
    return f"# {heading}\n{yaml.safe_dump(tree, sort_keys=False)}"
