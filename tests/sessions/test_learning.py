"""Models, tasks and trainers of the session pipeline, on a world small enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from spotify_engine.errors import InputError
from spotify_engine.learning.attention import GAT, Neighbours
from spotify_engine.learning.trainers.advanced import AdvancedTrainer
from spotify_engine.learning.trainers.base import EpochReport, Worker
from spotify_engine.learning.trainers.simple import SimpleTrainer
from spotify_engine.learning.trainers.task import SessionTrainingConfig
from spotify_engine.sessions.measure.leaderboard import HeldOut, SessionEvaluationConfig
from spotify_engine.sessions.measure.splits import EventSplit, TemporalSplitConfig, split_events
from spotify_engine.sessions.model.basic_gat import BasicGAT, BasicGATConfig, Relations
from spotify_engine.sessions.model.enhanced_gat import EnhancedGAT, EnhancedGATConfig
from spotify_engine.sessions.model.graph import SessionGraphConfig, build_session_graph
from spotify_engine.sessions.model.session_aware import (
    Counts,
    SessionModel,
    SessionModelConfig,
    Shares,
)
from spotify_engine.sessions.queries import hour_of_week, queries_of_events
from spotify_engine.sessions.recommender import membership_of
from spotify_engine.sessions.schema import LISTENS_TO, REVERSE
from spotify_engine.sessions.tables.build import edges_of_events
from spotify_engine.sessions.tables.edges import song_artists
from spotify_engine.sessions.training import GATTask, NextSongTask

Tables = dict[str, pa.Table]
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]


@pytest.fixture(scope="module")
def split(tables: Tables) -> EventSplit:
    return split_events(tables["events"], TemporalSplitConfig())


@pytest.fixture(scope="module")
def graph(tables: Tables, split: EventSplit) -> Any:
    train = tables["events"].filter(pa.array(split.train))
    edges = edges_of_events(train, len(tables["songs"]))
    return build_session_graph(tables, edges, SessionGraphConfig())


@pytest.fixture(scope="module")
def next_song(tables: Tables, split: EventSplit) -> Callable[..., NextSongTask]:
    def make(**config: Any) -> NextSongTask:
        events = tables["events"]
        song = events["song"].to_numpy().astype(np.int64)
        rows, val = np.flatnonzero(split.train), np.flatnonzero(split.val)
        settings = SessionModelConfig()
        queries = queries_of_events(events, rows, settings.memory)
        facts = (song_artists(tables), membership_of(tables), len(tables["users"]))
        torch.manual_seed(0)
        model = SessionModel(Counts.of(queries, song[rows], *facts), settings)
        training = SessionTrainingConfig(
            **({"epochs": 3, "batch_size": 256, "learning_rate": 0.03} | config)
        )
        held_out = (queries_of_events(events, val, settings.memory), song[val])
        return NextSongTask(queries, song[rows], *facts, held_out, model, training)

    return make


def gat_task(
    graph: Any, tables: Tables, split: EventSplit, kind: type = BasicGAT, **config: Any
) -> GATTask:
    relations = Relations(graph)
    torch.manual_seed(0)
    model = (
        BasicGAT(relations.nodes, BasicGATConfig(dim=8, heads=2))
        if kind is BasicGAT
        else EnhancedGAT(relations.nodes, relations.kinds, EnhancedGATConfig(dim=8, hidden=16))
    )
    val = HeldOut(tables, split, SessionEvaluationConfig()).new_in_val
    settings = {"epochs": 3, "steps_per_epoch": 4} | config
    return GATTask(model, graph, val, SessionTrainingConfig(**settings))


# Models


def test_basic_gat_has_the_specified_number_of_parameters() -> None:
    model = BasicGAT({"user": 1000, "song": 5000, "artist": 425}, BasicGATConfig())
    embedding = sum(p.numel() for p in model.embedding.parameters())
    assert embedding == 205_600
    assert sum(p.numel() for p in model.gat.parameters()) == 1_088
    assert sum(p.numel() for p in model.parameters()) == 206_688


def test_attention_is_the_softmax_written_down_and_follows_edge_weights() -> None:
    torch.manual_seed(0)
    gat = GAT(4, 4, heads=2)
    states, weight = torch.randn(3, 4), torch.tensor([1.0, 2.0, 0.5])
    neighbours = Neighbours(torch.tensor([0, 3, 3, 3]), torch.tensor([0, 1, 2]))
    out, attention = gat(states, neighbours, weight)
    values = (states @ gat.value.weight.T).view(3, 2, 2)
    logits = torch.stack(
        [(values[j] * gat.source).sum(-1) + (values[0] * gat.destination).sum(-1) for j in range(3)]
    )
    raw = torch.nn.functional.leaky_relu(logits, 0.2).exp() * weight[:, None]
    expected = raw / raw.sum(0)
    torch.testing.assert_close(attention, expected)
    torch.testing.assert_close(out[0], (expected[:, :, None] * values).sum(0).reshape(-1))
    assert (out[1:] == 0).all()


@pytest.mark.parametrize("kind", [BasicGAT, EnhancedGAT])
def test_recommend_leaves_out_what_was_heard_and_attends_to_it(
    graph: Any, tables: Tables, split: EventSplit, kind: type
) -> None:
    model = gat_task(graph, tables, split, kind).model
    songs, scores, (edge_index, attention) = model.recommend(3, model.x_dict(), graph, k=5)
    heard = graph[LISTENS_TO].edge_index[1][graph[LISTENS_TO].edge_index[0] == 3]
    assert len(songs) == 5
    assert not set(songs.tolist()) & set(heard.tolist())
    assert (scores.diff() <= 0).all()
    assert (edge_index[0] == 3).all()
    assert sorted(edge_index[1].tolist()) == sorted(heard.tolist())
    torch.testing.assert_close(attention.sum(), torch.tensor(1.0))
    cold, _, (edges, _) = model.recommend(10_000, model.x_dict(), graph, k=5)
    assert len(cold) == 5
    assert edges.shape[1] == 0
    for user, k in ((0, 0), (-1, 5)):
        with pytest.raises(InputError):
            model.recommend(user, model.x_dict(), graph, k=k)


@pytest.mark.parametrize("kind", [BasicGAT, EnhancedGAT])
def test_hidden_edges_are_in_the_graph_neither_way_round(
    graph: Any, tables: Tables, split: EventSplit, kind: type
) -> None:
    """What is to be predicted can't be seen: the same result as from a graph without it."""
    model = gat_task(graph, tables, split, kind).model.eval()
    hidden = torch.rand(graph[LISTENS_TO].edge_index.shape[1]) < 0.3
    smaller = graph.clone()
    for relation in (LISTENS_TO, REVERSE[LISTENS_TO]):
        smaller[relation].edge_index = graph[relation].edge_index[:, ~hidden]
        smaller[relation].edge_attr = graph[relation].edge_attr[~hidden]
    masked = model.encode(model.x_dict(), Relations(graph), hidden)
    cut = model.encode(model.x_dict(), Relations(smaller))
    torch.testing.assert_close(masked.users, cut.users)
    torch.testing.assert_close(masked.songs, cut.songs)


def test_final_score_is_the_weighted_sum_of_both(
    graph: Any, tables: Tables, split: EventSplit
) -> None:
    model = gat_task(graph, tables, split, EnhancedGAT).model.eval()
    assert isinstance(model, EnhancedGAT)
    encoded = model.encode(model.x_dict(), Relations(graph))
    users = torch.tensor([0, 4])
    collaborative, genre = model.parts(encoded, users)
    torch.testing.assert_close(model.score(encoded, users), 0.8 * collaborative + 0.2 * genre)
    assert encoded.genres is not None
    torch.testing.assert_close(
        encoded.genres.attention.sum(1), torch.ones(len(encoded.users)), rtol=1e-4, atol=1e-5
    )


# The session model


def test_queries_see_the_session_before_a_play_and_nothing_else(tables: Tables) -> None:
    events = tables["events"]
    rows = np.arange(0, len(events), 7)
    queries = queries_of_events(events, rows, memory=3)
    song, session = events["song"].to_numpy(), events["session"].to_numpy()
    for i, row in enumerate(rows.tolist()):
        before = [song[j] for j in range(row) if session[j] == session[row]]
        assert queries.played[i].tolist() == before
        assert queries.recent[i].tolist() == [*before[::-1][:3], -1, -1, -1][:3]
    assert hour_of_week(np.array([0]))[0] == 3 * 24, "1970 began on a Thursday"
    assert hour_of_week(np.array([4 * 86400]))[0] == 0


def test_scores_are_probabilities_and_addends_of_them(
    next_song: Callable[..., NextSongTask],
) -> None:
    task = next_song()
    some = task.queries.select(np.arange(0, 200))
    terms = task.model.terms(some)
    assert (terms >= 0).all()
    scores = task.model.score(some)
    np.testing.assert_allclose(terms.sum(1), scores, rtol=1e-5)
    assert (scores.sum(1) <= 1 + 1e-4).all()
    assert (scores.sum(1) > 0.3).all()
    fresh = some.recent[:, 0] < 0
    assert (terms[fresh][:, :3] == 0).all(), "no song before: these terms have nothing to say"


def test_a_play_is_predicted_from_counts_without_itself(
    next_song: Callable[..., NextSongTask],
) -> None:
    """A song that a user played once: for that very play, the user has not played it."""
    task = next_song()
    prepared = task.model.prepare(task.queries, task.song, Shares.undecided(task.queries))
    pair = task.queries.user * 1000 + task.song
    _, place, count = np.unique(pair, return_inverse=True, return_counts=True)
    once = count[place] == 1
    assert once.any()
    assert (prepared["mine"].numpy()[once] == 0).all()
    assert (prepared["mine"].numpy()[count[place] >= 2] > 0).all()


def test_songs_of_the_session_and_the_hour_move_the_prediction(
    next_song: Callable[..., NextSongTask],
) -> None:
    task = next_song()
    trainer = AdvancedTrainer(task, task.config)
    trainer.fit(lambda _: None)
    query = task.queries.select(np.flatnonzero(task.queries.recent[:, 2] >= 0)[:1])
    base = task.model.score(query)
    swapped = query.recent.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    order = type(query)(query.user, swapped, query.hour, query.played)
    later = type(query)(query.user, query.recent, (query.hour + 12) % 168, query.played)
    other = type(query)(query.user + 1, query.recent, query.hour, query.played)
    for changed in (order, later, other):
        assert np.abs(task.model.score(changed) - base).max() > 1e-4


def test_the_session_model_beats_popularity_and_its_own_start(
    next_song: Callable[..., NextSongTask],
) -> None:
    task = next_song()
    before = task.validate()["val_recall@10"]
    trainer = AdvancedTrainer(task, task.config)
    trainer.fit(lambda _: None)
    queries, song = task.val
    popular = np.argsort(-np.bincount(task.song, minlength=task.model.n_songs))
    hits = [
        target in [s for s in popular if s not in played][:10]
        for target, played in zip(song, queries.played, strict=True)
    ]
    assert trainer.stopping.best > before
    assert trainer.stopping.best > np.mean(hits) + 0.05


# Trainers


def test_simple_trains_on_all_and_saves_once(graph: Any, tables: Tables, split: EventSplit) -> None:
    task = gat_task(graph, tables, split)
    trainer = SimpleTrainer(task, task.config)
    saved: list[int] = []

    def on_epoch(report: EpochReport) -> None:
        assert "train_recall@10" in report.metrics
        assert not any(name.startswith("val_") for name in report.metrics)
        if trainer.wants_checkpoint(report):
            saved.append(report.epoch)

    trainer.fit(on_epoch)
    assert saved == [2]
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.01
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_both_losses_learn(graph: Any, tables: Tables, split: EventSplit, loss: str) -> None:
    task = gat_task(graph, tables, split, loss=loss, epochs=6)
    start = task.validate()
    trainer = AdvancedTrainer(task, task.config)
    trainer.fit(lambda _: None)
    assert trainer.stopping.best > start["val_recall@10"]
    assert {"val_recall@10", "val_ndcg@10", "val_loss"} <= trainer.history[0].keys()


class Scripted:
    """A task whose validation follows a script."""

    def __init__(self, values: list[float]) -> None:
        self.model, self.values, self.steps_per_epoch = torch.nn.Linear(1, 1), values, 1

    def losses(self, epoch: int, worker: Any) -> Any:
        from spotify_engine.learning.trainers.task import Loss

        yield Loss(self.model(torch.ones(1, 1)).sum() ** 2, 1.0)

    def end_epoch(self) -> None: ...

    def validate(self) -> dict[str, float]:
        return {"val_recall@10": self.values.pop(0), "val_ndcg@10": 0.0, "val_loss": 0.0}

    def fit_metrics(self) -> dict[str, float]:
        return {"train_recall@10": 0.0}

    def extra_state(self) -> dict[str, Any]:
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None: ...


def test_advanced_slows_down_on_a_plateau_and_stops() -> None:
    config = SessionTrainingConfig(epochs=20, patience=4, plateau_patience=1, checkpoint_every=3)
    trainer = AdvancedTrainer(Scripted([0.1, 0.5, *[0.4] * 18]), config)
    rates, saved = [], []

    def on_epoch(report: EpochReport) -> None:
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        if trainer.wants_checkpoint(report):
            saved.append(report.epoch)

    trainer.fit(on_epoch)
    assert len(trainer.history) == 6, "best at epoch 1, then 4 without a better one"
    assert rates == [0.01, 0.01, 0.01, 0.005, 0.005, 0.0025]
    assert saved == [0, 1, 2, 5], "the best ones, every third, and the last"


@pytest.mark.parametrize("which", ["gat", "session"])
def test_resumed_equals_undisturbed(
    graph: Any,
    tables: Tables,
    split: EventSplit,
    next_song: Callable[..., NextSongTask],
    tmp_path: Path,
    which: str,
) -> None:
    def make() -> AdvancedTrainer:
        task = gat_task(graph, tables, split) if which == "gat" else next_song(patience=9)
        return AdvancedTrainer(task, task.config)

    whole = make()
    whole.fit(lambda report: report.save(tmp_path / str(report.epoch)))
    again = make()
    again.restore(tmp_path / "0")
    again.fit(lambda _: None)
    assert len(again.history) == len(whole.history)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
@pytest.mark.parametrize("kind", [BasicGAT, EnhancedGAT])
def test_a_gat_learns_the_same_on_every_device(
    graph: Any, tables: Tables, split: EventSplit, kind: type, loss: str, device: str
) -> None:
    found = []
    for place in ("cpu", device):
        task = gat_task(graph, tables, split, kind, loss=loss)
        task.to(torch.device(place))
        task.model.eval()  # dropout draws other numbers on another device
        value = next(iter(task.losses(0, Worker()))).value
        assert value is not None
        assert value.device.type == task.device.type == place
        value.backward()
        found.append((value.item(), task.validate()["val_loss"]))
    assert found[1] == pytest.approx(found[0], rel=1e-3)
