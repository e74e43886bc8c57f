"""Taking out the evidence that explains most, of a session model and of GATs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spotify_engine.evaluation.faithfulness import described, summarised
from spotify_engine.evaluation.ranking import top_k
from spotify_engine.ragged import Ragged
from spotify_engine.sessions.measure.faithfulness import gat_faithfulness, session_faithfulness
from spotify_engine.sessions.model.basic_gat import BasicGAT, BasicGATConfig, Relations
from spotify_engine.sessions.model.enhanced_gat import EnhancedGAT, EnhancedGATConfig
from spotify_engine.sessions.model.graph import SessionGraphConfig, build_session_graph
from spotify_engine.sessions.model.session_aware import Counts, SessionModel, SessionModelConfig
from spotify_engine.sessions.queries import Queries, queries_of_events
from spotify_engine.sessions.recommender import membership_of
from spotify_engine.sessions.schema import LISTENS_TO
from spotify_engine.sessions.tables.edges import song_artists


@pytest.fixture(scope="module")
def asked(tables: Any) -> tuple[SessionModel, Queries]:
    events = tables["events"]
    queries = queries_of_events(events, np.arange(len(events)), 6)
    song = events["song"].to_numpy().astype(np.int64)
    facts = (song_artists(tables), membership_of(tables), len(tables["users"]))
    return SessionModel(Counts.of(queries, song, *facts), SessionModelConfig()), queries


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_what_the_session_model_is_said_to_go_by_moves_its_scores(
    asked: tuple[SessionModel, Queries],
) -> None:
    found = session_faithfulness(*asked, rng())
    assert found["plays"] == 200
    assert found["removed"] == 1
    assert found["passed"] > 0.9
    assert found["mean_change_explained"] > 3 * found["mean_change_random"]
    assert session_faithfulness(*asked, rng()) == found, "the same each time"


def test_the_wrong_explanation_fails(
    asked: tuple[SessionModel, Queries], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is tested is the explanation: upside down, the same scores fail."""
    model, queries = asked
    right = model.by_place
    monkeypatch.setattr(model, "by_place", lambda q, song: 1 - right(q, song))
    assert session_faithfulness(model, queries, rng())["passed"] < 0.5


def test_the_change_by_hand(asked: tuple[SessionModel, Queries]) -> None:
    """One query of two songs by a user without plays of the best song: either song is the piece."""
    model, queries = asked
    two = np.flatnonzero((queries.recent >= 0).sum(axis=1) == 2)[:40]
    seen = 0
    for row in two:
        query = queries.select(np.array([row]))
        best = int(top_k(model.score(query), query.played, 1)[0][0, 0])
        if model.listens[query.user[0], best]:
            continue
        seen += 1
        added = model.by_place(query, np.array([best]))[0]
        changes = []
        for left in query.recent[0, 1], query.recent[0, 0]:  # without the last, without the other
            recent = np.full_like(query.recent, -1)
            recent[0, 0] = left
            without = Queries(query.user, recent, query.hour, query.played)
            changes.append(abs(model.score(without)[0, best] - model.score(query)[0, best]))
        found = session_faithfulness(model, query, rng())
        first = int(added[:2].argmax())
        assert found["mean_change_explained"] == pytest.approx(changes[first], rel=1e-3, abs=1e-7)
        assert found["mean_change_random"] == pytest.approx(changes[1 - first], rel=1e-3, abs=1e-7)
    assert seen > 3


@pytest.mark.parametrize("kind", [BasicGAT, EnhancedGAT])
def test_what_a_gat_attends_to_moves_its_scores(tables: Any, kind: type) -> None:
    data = build_session_graph(tables, tables["edge_list"], SessionGraphConfig())
    relations = Relations(data)
    edges = relations.edges(LISTENS_TO)
    torch.testing.assert_close(edges, data[LISTENS_TO].edge_index)
    torch.manual_seed(0)
    model = (
        BasicGAT(relations.nodes, BasicGATConfig(dim=8, heads=2))
        if kind is BasicGAT
        else EnhancedGAT(relations.nodes, relations.kinds, EnhancedGATConfig(dim=8, hidden=16))
    )
    n_users, n_songs = len(tables["users"]), len(tables["songs"])
    known = Ragged.from_pairs(edges[0].numpy(), edges[1].numpy(), n_users)
    found = gat_faithfulness(model, relations, known, rng())
    eligible = (known.lengths >= 6) & (known.lengths < n_songs)
    assert found["users"] == eligible.sum() > 10
    assert found["removed"] == 3
    assert gat_faithfulness(model, relations, known, rng()) == found
    if kind is BasicGAT:
        assert found["mean_change_explained"] > found["mean_change_random"]
    everything = Ragged.from_lists([range(n_songs)] * n_users)
    assert gat_faithfulness(model, relations, everything, rng()) == {"passed": None, "users": 0}


def test_a_finding_in_words() -> None:
    found = summarised("plays", 1, np.array([[0.4, 0.1], [0.2, 0.3]]))
    assert found == {
        "passed": 0.5, "plays": 2, "removed": 1,
        "mean_change_explained": pytest.approx(0.3), "mean_change_random": pytest.approx(0.2),
    }  # fmt: skip
    assert described("x", found) == (
        "x: without its strongest explanation, a score moves by 0.3, without something random by "
        "0.2; more in 50% of 2 plays"
    )
    assert "too little evidence" in described("x", summarised("plays", 1, np.zeros((0, 2))))
