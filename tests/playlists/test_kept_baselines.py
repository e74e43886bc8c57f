"""A playlist run's baselines: tasks beside other work, each kept once it is done."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spotify_engine.evaluation.splits import HoldoutConfig, Split, make_split, save_split
from spotify_engine.playlists.measure.leaderboard import EvaluationConfig, baseline_rows
from spotify_engine.ragged import Ragged
from spotify_engine.runtime.pipelines import baselines
from spotify_engine.runtime.pipelines.baselines import Baselines
from spotify_engine.runtime.pipelines.measuring import track_facts
from spotify_engine.watching import unwatched

SMALL = EvaluationConfig(baselines=("popularity", "itemknn"), ks=(5, 10), top_k=10)


def split_of(world) -> Split:
    lists = [[*a, *b, *c] for a, b, c in zip(world.train, world.val, world.test, strict=True)]
    config = HoldoutConfig(n=2, strategy="random")
    return make_split(Ragged.from_lists(lists), len(world.tables["tracks"]), config)


@pytest.fixture
def run(tmp_path: Path, world) -> Path:
    """The tables and the split of a run."""
    (tmp_path / "tables").mkdir()
    for name, table in world.tables.items():
        pq.write_table(table, tmp_path / "tables" / f"{name}.parquet")
    save_split(split_of(world), tmp_path / "split.parquet")
    return tmp_path


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("few", [0, 1 << 30], ids=["as tasks", "in one process"])
def test_tasks_find_what_one_process_finds_and_it_is_kept(
    run: Path, world, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "FEW_ROWS", few)
    first = Baselines(run, SMALL)
    first.start()
    rows = first.rows(unwatched)
    assert [row.name for row in rows] == ["popularity", "itemknn"]
    split = split_of(world)
    for row, alone in zip(
        rows, baseline_rows(split, track_facts(world.tables), SMALL), strict=True
    ):
        assert (row.val, row.test, row.settings) == (alone.val, alone.test, alone.settings)
        assert row.breakdown == alone.breakdown

    # Once more: nothing is fitted, so the seconds are those of then.
    again = Baselines(run, SMALL)
    again.start()
    assert [row.fit_seconds for row in again.rows(unwatched)] == [row.fit_seconds for row in rows]

    # Another setting of one is no reason to fit the other.
    path = run / "baselines" / "popularity.json"
    before = path.read_text()
    other = SMALL.model_copy(update={"itemknn": SMALL.itemknn[:1]})
    Baselines(run, other).start()
    assert path.read_text() == before
    kept = Baselines(run, SMALL.model_copy(update={"seed": 3}))
    assert kept._kept("popularity") is None, "the draw of playlists is another"
    path.write_text(json.dumps("damaged")[:-1])
    assert Baselines(run, SMALL)._kept("popularity") is None
