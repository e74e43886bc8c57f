import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import top_k
from spotify_engine.learning.trainers.base import TrainingDiverged, Worker
from spotify_engine.learning.trainers.playlist import PlaylistTrainer, TrainingConfig
from spotify_engine.playlists.encoding import encode_tracks, fold_in, score_tracks
from spotify_engine.playlists.graph import playlist_features
from spotify_engine.playlists.model import GraphShape, PlaylistGAT, PlaylistGATConfig
from spotify_engine.playlists.schema import CONTAINS, IN, PLAYLIST, TRACK
from spotify_engine.ragged import Ragged

MODEL = {"embedding_dim": 8, "layers": (8, 8, 8), "heads": (2, 2, 2), "dropout": 0.0}
TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "negatives": 20,
    "fanouts": (-1, -1, -1),
    "warmup_steps": 2,
}


def make_trainer(world, worker=None, graph=None, model=None, data=None, **training):
    if data is None:
        data, _ = world.graph(**(graph or {}))
    torch.manual_seed(0)
    gat = PlaylistGAT(GraphShape.of(data), PlaylistGATConfig(**(MODEL | (model or {}))))
    config = TrainingConfig(**(TRAINING | training))
    return PlaylistTrainer(gat, data, world.train, world.val, config, worker)


def first_step(trainer, epoch=0):
    return next(iter(trainer.steps(epoch)))


class Seen:
    """What reaches the model in one call of the loss, in ids of the whole graph."""

    def __init__(self, trainer, step, seed=0):
        self.candidates = np.zeros(0, dtype=np.int64)
        sample = trainer.sampler.sample

        def watched(kind, roots, late):
            self.candidates, self.sample = roots, sample(kind, roots, late)
            return self.sample

        trainer.sampler.sample = watched
        trainer.sampler.rng = np.random.default_rng(seed)
        hook = trainer.model.register_forward_pre_hook(self._keep)
        self.loss = trainer.loss(step, np.random.default_rng(seed))
        hook.remove()
        trainer.sampler.sample = sample

    def _keep(self, _, arguments):
        self.states, self.neighbours, _, self.playlist_states, self.seeds = arguments

    def pairs(self, kind):
        """(playlist, track) of the edges of one relation that the model gets."""
        source = self.sample.node[kind[0]][self.neighbours[kind].source].tolist()
        destination = self.sample.node[kind[2]][self.neighbours[kind].destination].tolist()
        pairs = list(zip(source, destination, strict=True))
        return pairs if kind == CONTAINS else [pair[::-1] for pair in pairs]


def pairs_of(playlists, lists):
    return set(zip(playlists[lists.rows].tolist(), lists.values.tolist(), strict=True))


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
@pytest.mark.parametrize("fanout", [-1, 3])
def test_no_target_edge_reaches_the_model_either_way_round(world, loss, fanout):
    trainer = make_trainer(world, loss=loss, fanouts=(fanout,) * 3)
    for step in trainer.steps(0):
        targets = pairs_of(step.playlists, step.targets)
        edges = pairs_of(step.playlists, Ragged(step.targets.offsets, step.target_edges))
        assert edges == {(p, e) for p, e in edges if trainer.train.rows[e] == p}
        assert (trainer.train.values[step.target_edges] == step.targets.values).all()
        seen = Seen(trainer, step)
        for kind in (CONTAINS, IN):
            assert seen.pairs(kind)
            assert not targets & set(seen.pairs(kind))
        assert not trainer.dropped.any(), "the mask is clean between steps"


def test_seeds_are_what_a_playlist_is_made_of(world):
    trainer = make_trainer(world)
    step = first_step(trainer)
    seen = Seen(trainer, step)
    tracks = seen.sample.node[TRACK][seen.seeds.source].tolist()
    rows = seen.seeds.destination.tolist()
    assert [(r, t) for r, t in zip(rows, tracks, strict=True)] == list(
        zip(step.seeds.rows.tolist(), step.seeds.values.tolist(), strict=True)
    )
    expected = torch.from_numpy(playlist_features(step.seeds, trainer.audio))
    torch.testing.assert_close(seen.playlist_states, expected)
    # In the sampled graph, too, a playlist of the batch has the features of its seeds.
    place = {int(id_): row for row, id_ in enumerate(seen.sample.node[PLAYLIST])}
    rows = [place[id_] for id_ in step.playlists.tolist()]
    torch.testing.assert_close(seen.states[PLAYLIST][rows], expected)
    others = [row for id_, row in place.items() if id_ not in step.playlists]
    ids = seen.sample.node[PLAYLIST][others]
    assert torch.equal(seen.states[PLAYLIST][others], trainer.data[PLAYLIST].x[ids])


def rewired(data, edges, seed=0):
    """The same graph with some contains edges leading from other playlists."""
    changed = data.clone()
    generator = torch.Generator().manual_seed(seed)
    elsewhere = torch.randint(data[PLAYLIST].num_nodes, (len(edges),), generator=generator)
    pairs = data[CONTAINS].edge_index.clone()
    pairs[0, edges] = elsewhere
    changed[CONTAINS].edge_index = pairs
    changed[IN].edge_index = pairs.flip(0).contiguous()
    return changed


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_loss_does_not_depend_on_the_edges_it_predicts(world, loss):
    data, _ = world.graph()
    trainer = make_trainer(world, data=data, loss=loss)
    step = first_step(trainer)
    expected = Seen(trainer, step).loss.item()

    blind = rewired(data, torch.from_numpy(step.target_edges))
    blind[PLAYLIST].x[torch.from_numpy(step.playlists)] = 1e3
    found = Seen(make_trainer(world, data=blind, loss=loss), step).loss.item()
    assert found == pytest.approx(expected, rel=1e-5)

    others = np.setdiff1d(np.arange(len(world.train.values)), step.target_edges)
    moved = rewired(data, torch.from_numpy(others[:40]))
    found = Seen(make_trainer(world, data=moved, loss=loss), step).loss.item()
    assert abs(found - expected) > 1e-4, "other edges do matter"


def test_every_candidate_loses_an_edge_not_only_the_targets(world):
    """Else a track with a missing edge would be recognisable as held out."""
    trainer = make_trainer(world, batch_size=6)
    degree = np.bincount(world.train.values, minlength=26)
    some_negative = False
    for step in trainer.steps(0):
        seen = Seen(trainer, step)
        local = {id_: row for row, id_ in enumerate(seen.sample.node[TRACK].tolist())}
        left = seen.neighbours[CONTAINS].indptr.diff().numpy()
        hidden = np.bincount(step.targets.values, minlength=26)
        assert (seen.sample.node[TRACK][: len(seen.candidates)].numpy() == seen.candidates).all()
        for track in seen.candidates.tolist():
            lost = min(max(hidden[track], 1), degree[track])
            assert left[local[track]] == degree[track] - lost
            some_negative |= hidden[track] == 0 and degree[track] > 0
        # The edge is gone in both directions.
        assert set(seen.pairs(CONTAINS)) <= set(seen.pairs(IN))
    assert some_negative


def test_candidates_are_the_targets_and_the_negatives_drawn(world):
    trainer = make_trainer(world, negatives=5)
    step = first_step(trainer)
    seen = Seen(trainer, step, seed=4)
    drawn = np.random.default_rng(4).integers(0, 26, 5)
    assert seen.candidates.tolist() == sorted({*step.targets.values.tolist(), *drawn.tolist()})


def softmax_by_hand(seen_scores, candidates, step):
    """Mean over playlists and their targets of -log p(target | all but the seeds)."""
    losses = []
    for row in range(len(step.playlists)):
        competes = ~np.isin(candidates, step.seeds[row])
        logits = seen_scores[row][competes]
        target = np.isin(candidates[competes], step.targets[row])
        losses.append(np.mean(np.log(np.exp(logits).sum()) - logits[target]))
    return np.mean(losses)


def test_softmax_loss_by_hand(world):
    # As many negatives as make every expected count 1 or more: then nothing is corrected.
    trainer = make_trainer(world, negatives=300)
    step = first_step(trainer)
    outputs = []
    hook = trainer.model.register_forward_hook(lambda *call: outputs.append(call[2]))
    seen = Seen(trainer, step)
    hook.remove()
    assert seen.candidates.tolist() == list(range(26))
    p, t, _ = outputs[0]
    scores = (p @ t.T).detach().numpy() + trainer.model.bias.weight.detach().numpy()[:, 0]
    assert seen.loss.item() == pytest.approx(
        softmax_by_hand(scores, seen.candidates, step), rel=1e-5
    )


def test_an_epoch_visits_each_playlist_once_a_pass_with_another_mask(world):
    trainer = make_trainer(world, passes_per_epoch=2, batch_size=7)
    steps = list(trainer.steps(0))
    assert len(steps) == trainer.steps_per_epoch == 12
    visits = np.concatenate([step.playlists for step in steps])
    assert np.bincount(visits).tolist() == [2] * 40
    masks = {}
    for step in steps:
        for row, playlist in enumerate(step.playlists.tolist()):
            together = sorted([*step.seeds[row], *step.targets[row]])
            assert together == sorted(world.train[playlist])
            masks.setdefault(playlist, []).append(sorted(step.targets[row].tolist()))
    assert sum(first != second for first, second in masks.values()) > 30
    again = list(make_trainer(world, passes_per_epoch=2, batch_size=7).steps(0))
    assert all((a.target_edges == b.target_edges).all() for a, b in zip(steps, again, strict=True))
    other = list(trainer.steps(1))
    assert any((a.playlists != b.playlists).any() for a, b in zip(steps, other, strict=True))


def test_long_playlists_show_a_part(world):
    trainer = make_trainer(world, max_tracks=4)
    for step in trainer.steps(0):
        assert (step.seeds.lengths + step.targets.lengths == 4).all()
        for playlist, seeds in zip(step.playlists, step.seeds, strict=True):
            assert np.isin(seeds, world.train[playlist]).all()
    parts = [set(np.concatenate([s.seeds[0], s.targets[0]])) for s in trainer.steps(0)]
    assert len({frozenset(part) for part in parts}) > 1


def test_playlists_without_a_target_are_not_visited(world):
    lists = [row[: (0, 1, 7)[i % 3]] for i, row in enumerate(world.train)]
    short = replace(world, train=Ragged.from_lists(lists))
    visited = np.concatenate([step.playlists for step in make_trainer(short).steps(0)])
    assert sorted(visited.tolist()) == list(range(2, 40, 3))


@pytest.mark.parametrize("batch_size", [16, 13, 3])
def test_two_workers_share_the_batches_of_one(world, batch_size):
    # 40 playlists in batches of 13 or 3 leave a batch of one: a worker gets an empty step.
    whole = list(make_trainer(world, batch_size=batch_size).steps(2))
    parts = [
        list(make_trainer(world, Worker(rank, 2), batch_size=batch_size).steps(2))
        for rank in range(2)
    ]
    assert len(parts[0]) == len(parts[1]) == len(whole)
    for one, *shares in zip(whole, *parts, strict=True):
        assert one.share == 1
        assert sum(step.share for step in shares) == pytest.approx(1)
        for name in ("seeds", "targets"):
            together = set().union(*(pairs_of(s.playlists, getattr(s, name)) for s in shares))
            assert together == pairs_of(one.playlists, getattr(one, name))
        edges = np.concatenate([step.target_edges for step in shares])
        assert sorted(edges.tolist()) == sorted(one.target_edges.tolist())
        sizes = [len(step.playlists) for step in shares]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_each_playlist_learns_to_rank_its_own_block_first(world, loss):
    trainer = make_trainer(
        world, loss=loss, epochs=10, patience=10, passes_per_epoch=2, fanouts=(3, 3, 3)
    )
    trainer.fit(lambda report: None)
    first, last = trainer.history[0], trainer.history[-1]
    assert last["loss"] < first["loss"]
    assert last["val_loss"] < first["val_loss"]
    encoded = encode_tracks(trainer.model, trainer.data)
    features = playlist_features(world.train, trainer.audio)
    vectors, _ = fold_in(trainer.model, encoded.folds, world.train, features)
    ids, _ = top_k(score_tracks(vectors, encoded), world.train, 5)
    assert (ids // 12 == np.arange(40)[:, None] % 2).mean() > 0.97


def test_resumed_training_gives_exactly_the_same_weights(tmp_path, world):
    settings = {"model": {"dropout": 0.3}, "fanouts": (2, 2, 2), "epochs": 4, "patience": 9}
    whole = make_trainer(world, **settings)
    whole.fit(lambda report: report.save(tmp_path) if report.epoch == 1 else None)
    again = make_trainer(world, **settings)
    again.restore(tmp_path)
    again.fit(lambda report: None)
    expected = whole.model.state_dict()
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    quick = ("train_seconds", "validation_seconds")
    strip = [{k: v for k, v in m.items() if k not in quick} for m in again.history]
    assert strip == [{k: v for k, v in m.items() if k not in quick} for m in whole.history]


def test_checkpoint_of_another_model(tmp_path, world):
    make_trainer(world).save(tmp_path)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: checkpoint of another model")):
        make_trainer(world, model={"embedding_dim": 4}).restore(tmp_path)


def test_diverged_training_names_epoch_and_batch(world):
    trainer = make_trainer(world)
    with torch.no_grad():
        trainer.model.bias.weight[world.train[first_step(trainer).playlists[0]]] = float("nan")
    with pytest.raises(
        TrainingDiverged, match=r"nan in epoch 0, batch 0 \(playlists .*training\.learning_rate"
    ):
        trainer.fit(lambda report: None)


def test_bpr_without_a_usable_negative_is_no_divergence(world):
    """Every track of this catalogue is in the only playlist."""
    one = replace(world, train=Ragged.from_lists([range(26)]), val=Ragged.from_lists([[]]))
    trainer = make_trainer(one, loss="bpr", negatives=1)
    assert trainer.train_epoch(0)["loss"] == 0
    assert all(p.isfinite().all() for p in trainer.model.parameters())


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
@pytest.mark.parametrize(
    ("graph", "model"),
    [
        ({"audio": False}, {}),
        ({"artists": False}, {}),
        ({"genres": False}, {}),
        ({"audio": False, "artists": False}, {}),
        ({}, {"playlist_embedding": True}),
        ({}, {"skip": False}),
        ({}, {"embedding_dropout": 0.2, "attention_dropout": 0.2}),
    ],
)
def test_trains_with_any_inputs(world, loss, graph, model):
    trainer = make_trainer(world, graph=graph, model=model, loss=loss, epochs=1)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.fit(lambda report: None)
    still = [n for n, p in trainer.model.named_parameters() if torch.equal(p, before[n])]
    assert still == [], "every parameter learns"
    assert np.isfinite(list(trainer.history[0].values())).all()


def test_one_layer_learns_too(world):
    trainer = make_trainer(world, model={"layers": (8,), "heads": (2,)}, fanouts=(2,), epochs=1)
    trainer.fit(lambda report: None)
    assert np.isfinite(trainer.history[0]["loss"])


def test_fanouts_must_match_the_layers(world):
    with pytest.raises(ValueError, match="2 hops for 3 layers"):
        make_trainer(world, fanouts=(2, 2))


@pytest.mark.parametrize("keep", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.0)])
def test_range_of_seed_shares_is_checked(keep):
    with pytest.raises(ValidationError, match="keep must be 0 < low <= high < 1"):
        TrainingConfig(keep=keep)


def test_learning_rate_warms_up_and_decays_to_a_tenth(world):
    trainer = make_trainer(world, epochs=10, warmup_steps=5, learning_rate=0.02)
    rates = []
    for step in range(trainer.steps_per_epoch * 10):
        trainer._set_rates(step)
        rates.append([o.param_groups[0]["lr"] for o in trainer.optimizers])
    layers, embeddings = np.array(rates).T
    assert layers[0] == pytest.approx(0.02 / 5)
    assert layers.argmax() == 4
    assert (np.diff(layers[4:]) < 0).all()
    assert layers[-1] == pytest.approx(0.002, rel=0.1)
    np.testing.assert_allclose(embeddings, layers / 2)


def test_validation_measures_a_seeded_part_against_train_alone(world):
    trainer = make_trainer(world, validate_playlists=10)
    first, again = trainer.validate(), trainer.validate()
    assert first == again
    assert set(first) == {"val_recall@10", "val_ndcg@10", "val_loss"}
    whole = make_trainer(world, validate_playlists=1000)
    encoded = encode_tracks(whole.model, whole.data)
    vectors, _ = fold_in(
        whole.model, encoded.folds, world.train, playlist_features(world.train, whole.audio)
    )
    ids, _ = top_k(score_tracks(vectors, encoded), world.train, 10)
    hits = [int(world.val[i][0] in ids[i]) for i in range(40)]
    assert whole.validate()["val_recall@10"] == pytest.approx(np.mean(hits))
