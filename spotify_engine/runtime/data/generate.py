"""Generated listening sessions, one task a block of users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from spotify_engine.config import CONFIGS, ClusterConfig, load_config, read_yaml
from spotify_engine.runtime.cluster import ray_session
from spotify_engine.runtime.data.tasks import run_tasks
from spotify_engine.sessions.synthetic import (
    OracleScope,
    SyntheticConfig,
    write_block,
    write_folder,
    write_sessions,
)
from spotify_engine.sessions.synthetic.world import build_world

_BYTES_PER_USER = 500_000  # plays and what they are drawn from, at their peak, with activity 1


def generator_config(
    path: Path | None, flags: Mapping[str, Any], settings: Sequence[str]
) -> SyntheticConfig:
    """The section ``generator`` of configs/synthetic.yaml, laid over by a file's and by flags.

    Args:
        flags: by key; None where a flag wasn't given.
        settings: ``key.path=value`` texts, keys of :class:`SyntheticConfig`.

    Raises:
        InputError: an unknown key, a wrong type, or what can't be, such as 5 genres of 3.
    """
    layers = []
    for each in [CONFIGS / "synthetic.yaml", *([path] if path else [])]:
        layers.append((str(each), read_yaml(each).get("generator", {})))
    layers.append(("flags", {name: value for name, value in flags.items() if value is not None}))
    return load_config(SyntheticConfig, layers, settings)


def generate(
    out: Path,
    config: SyntheticConfig,
    oracle: bool = False,
    workers: int | None = None,
    asked: OracleScope | None = None,
) -> dict[str, int]:
    """Generate in this process if there is one block or one worker, else with Ray.

    Args:
        asked: the plays that the oracle is about; every one by default.

    Raises:
        InputError: ``out`` exists and isn't an empty folder.
    """
    if config.blocks == 1 or workers == 1:
        return write_sessions(out, config, oracle, asked)
    with ray_session(ClusterConfig(workers=workers or 1)):
        return generate_sessions(out, config, oracle, workers, asked)


def generate_sessions(
    out: Path,
    config: SyntheticConfig,
    oracle: bool = False,
    parallelism: int | None = None,
    asked: OracleScope | None = None,
) -> dict[str, int]:
    """As ``synthetic.write_sessions``, and the same bytes, by several processes.

    Needs a running Ray session, and storage that all its nodes see.

    Raises:
        InputError: ``out`` exists and isn't an empty folder.
    """
    most = min(config.users, config.users_per_block) * max(1.0, config.activity)

    def blocks(scratch: Path) -> Iterator[dict[str, int]]:
        rows = run_tasks(
            [{"block": block} for block in range(config.blocks)],
            _write_blocks,
            {
                "scratch": str(scratch.resolve()),
                "config": config,
                "oracle": oracle,
                "asked": asked,
            },
            task_bytes=int(_BYTES_PER_USER * most),
            parallelism=parallelism,
            done=lambda n: f"generate: {n}/{config.blocks} blocks of users",
        )
        for row in rows:
            yield {name: count for name, count in row.items() if name != "block"}

    return write_folder(out, config, build_world(config), blocks)


def _write_blocks(
    blocks: pa.Table, scratch: str, config: SyntheticConfig, oracle: bool, asked: OracleScope | None
) -> Iterator[pa.Table]:
    world = build_world(config)
    for row in blocks.to_pylist():
        counts = write_block(Path(scratch), config, row["block"], oracle, world, asked)
        yield pa.Table.from_pylist([{**row, **counts}])
