"""The notebook's cells on bundles of all kinds; its kernel and pictures are tested with the job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from spotify_engine.sessions.recommender import SessionRecommender
from spotify_engine.sessions.schema import REQUIRED_FILES
from spotify_engine.sessions.synthetic import SyntheticConfig, write_sessions
from spotify_engine.sessions.tables.build import read_tables

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "quick_demo.ipynb"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook") / "data"
    write_sessions(folder, SyntheticConfig.tiny(), oracle=False)
    return folder


@pytest.mark.parametrize("models", ["all", "session", "gat"])
@pytest.mark.parametrize("genres", [True, False], ids=["genres", "no genres"])
def test_every_cell_runs(
    models: str,
    genres: bool,
    data: Path,
    make_session_recommender: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = data
    if not genres:
        folder = tmp_path / "data"
        folder.mkdir()
        for name in REQUIRED_FILES:
            (folder / name).write_bytes((data / name).read_bytes())
    tables: dict[str, pa.Table] = read_tables(folder)
    assert (len(tables["song_genres"]) > 0) == genres
    full = make_session_recommender(tables)
    # The first user came after training.
    listens = full.listens.copy()
    listens.data[: listens.indptr[1]] = 0
    recommender = SessionRecommender(
        tables, full.plays, listens,
        None if models == "gat" else full.session, None if models == "session" else full.vectors,
    )  # fmt: skip
    recommender.save(tmp_path / "bundle", {"config": {}, "metrics": {}, "data_fingerprint": "x"})
    monkeypatch.setenv("SPOTIFY_ENGINE_RUN", str(tmp_path))
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "because:" in names["explained"][0].text
    drawn = (tmp_path / "attention.png").exists()
    assert drawn == (models != "session")
    said = "holds no GAT" in capsys.readouterr().out
    assert said == (models == "session")
