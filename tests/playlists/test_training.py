import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import top_k
from spotify_engine.learning.trainers.base import TrainingDiverged, Worker
from spotify_engine.playlists.model.encoding import encode_tracks, fold_in, score_tracks
from spotify_engine.playlists.model.graph import playlist_features
from spotify_engine.playlists.training import TrainingConfig
from spotify_engine.ragged import Ragged


def first_step(trainer, epoch=0):
    return next(iter(trainer.steps(epoch)))


def pairs_of(playlists, lists):
    return set(zip(playlists[lists.rows].tolist(), lists.values.tolist(), strict=True))


def test_an_epoch_visits_each_playlist_once_a_pass_with_another_mask(world, make_trainer):
    trainer = make_trainer(world, min_steps_per_epoch=7, batch_size=7)
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
    again = list(make_trainer(world, min_steps_per_epoch=7, batch_size=7).steps(0))
    assert all((a.target_edges == b.target_edges).all() for a, b in zip(steps, again, strict=True))
    other = list(trainer.steps(1))
    assert any((a.playlists != b.playlists).any() for a, b in zip(steps, other, strict=True))


def test_long_playlists_show_a_part(world, make_trainer):
    trainer = make_trainer(world, max_tracks=4)
    for step in trainer.steps(0):
        assert (step.seeds.lengths + step.targets.lengths == 4).all()
        for playlist, seeds in zip(step.playlists, step.seeds, strict=True):
            assert np.isin(seeds, world.train[playlist]).all()
    parts = [set(np.concatenate([s.seeds[0], s.targets[0]])) for s in trainer.steps(0)]
    assert len({frozenset(part) for part in parts}) > 1


def test_playlists_without_a_target_are_not_visited(world, make_trainer):
    lists = [row[: (0, 1, 7)[i % 3]] for i, row in enumerate(world.train)]
    short = replace(world, train=Ragged.from_lists(lists))
    visited = np.concatenate([step.playlists for step in make_trainer(short).steps(0)])
    assert sorted(visited.tolist()) == list(range(2, 40, 3))


@pytest.mark.parametrize("batch_size", [16, 13, 3])
def test_two_workers_share_the_batches_of_one(world, batch_size, make_trainer):
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
        assert all(step.draw == one.draw for step in shares)
        for step in shares:
            assert (step.batch == one.playlists).all()
            assert (step.batch_seeds.values == one.seeds.values).all()
            assert (step.target_edges == one.target_edges).all()
        for name in ("seeds", "targets"):
            together = set().union(*(pairs_of(s.playlists, getattr(s, name)) for s in shares))
            assert together == pairs_of(one.playlists, getattr(one, name))
        sizes = [len(step.playlists) for step in shares]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_each_playlist_learns_to_rank_its_own_block_first(world, loss, make_trainer):
    trainer = make_trainer(
        world, loss=loss, epochs=10, patience=10, min_steps_per_epoch=6, fanouts=(3, 3, 3)
    )
    trainer.fit(lambda report: None)
    first, last = trainer.history[0], trainer.history[-1]
    assert last["loss"] < first["loss"]
    assert last["val_loss"] < first["val_loss"]
    encoded = encode_tracks(trainer.model, trainer.data)
    features = playlist_features(world.train, trainer.audio)
    vectors, _ = fold_in(trainer.model, encoded.folds, world.train, features)
    scores = score_tracks(vectors, encoded)
    # Tracks without a training playlist are no negatives, and nothing is learned of them.
    scores[:, trainer.popularity == 0] = -np.inf
    ids, _ = top_k(scores, world.train, 5)
    assert (ids // 12 == np.arange(40)[:, None] % 2).mean() > 0.97


def test_resumed_training_gives_exactly_the_same_weights(tmp_path, world, make_trainer):
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


def test_checkpoint_of_another_model(tmp_path, world, make_trainer):
    make_trainer(world).save(tmp_path)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: checkpoint of another model")):
        make_trainer(world, model={"embedding_dim": 4}).restore(tmp_path)


def test_diverged_training_names_epoch_and_batch(world, make_trainer):
    trainer = make_trainer(world)
    with torch.no_grad():
        trainer.model.bias.weight[world.train[first_step(trainer).playlists[0]]] = float("nan")
    with pytest.raises(
        TrainingDiverged, match=r"nan in epoch 0, batch 0 \(playlists .*training\.learning_rate"
    ):
        trainer.train_epoch(0)


def test_bpr_without_a_usable_negative_is_no_divergence(world, make_trainer):
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
        ({}, {"seed_dropout": 0.2, "attention_dropout": 0.2}),
    ],
)
def test_trains_with_any_inputs(world, loss, graph, model, make_trainer):
    trainer = make_trainer(world, graph=graph, model=model, loss=loss, epochs=1)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.fit(lambda report: None)
    still = [n for n, p in trainer.model.named_parameters() if torch.equal(p, before[n])]
    assert still == [], "every parameter learns"
    assert np.isfinite(list(trainer.history[0].values())).all()


def test_one_layer_learns_too(world, make_trainer):
    trainer = make_trainer(world, model={"layers": (8,), "heads": (2,)}, fanouts=(2,), epochs=1)
    trainer.fit(lambda report: None)
    assert np.isfinite(trainer.history[0]["loss"])


def test_fanouts_must_match_the_layers(world, make_trainer):
    with pytest.raises(ValueError, match="2 hops for 3 layers"):
        make_trainer(world, fanouts=(2, 2))


@pytest.mark.parametrize("keep", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.0)])
def test_range_of_seed_shares_is_checked(keep):
    with pytest.raises(ValidationError, match="keep must be 0 < low <= high < 1"):
        TrainingConfig(keep=keep)


def test_learning_rate_warms_up_and_decays_to_a_tenth(world, make_trainer):
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


def test_validation_measures_a_seeded_part_against_train_alone(world, make_trainer):
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
