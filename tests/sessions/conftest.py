"""A tiny generated data set and its tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from spotify_engine.sessions.synthetic import SyntheticConfig, write_sessions
from spotify_engine.sessions.tables.build import read_tables


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six files and the oracle of :meth:`SyntheticConfig.tiny`."""
    folder = tmp_path_factory.mktemp("generated") / "data"
    write_sessions(folder, SyntheticConfig.tiny(), oracle=True)
    return folder


@pytest.fixture(scope="session")
def tables(generated: Path) -> dict[str, pa.Table]:
    return read_tables(generated)
