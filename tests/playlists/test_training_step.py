"""One step: what reaches the model, what does not, and the loss that comes of it."""

import numpy as np
import pytest
import torch

from spotify_engine.playlists.model.graph import playlist_features
from spotify_engine.playlists.schema import CONTAINS, IN, PLAYLIST, TRACK
from spotify_engine.ragged import Ragged


def first_step(trainer, epoch=0):
    return next(iter(trainer.steps(epoch)))


class Seen:
    """What reaches the model in one call of the loss, in ids of the whole graph."""

    def __init__(self, trainer, step):
        self.candidates = np.zeros(0, dtype=np.int64)
        sample = trainer.sampler.sample

        def watched(kind, roots, late, draws):
            self.candidates, self.sample = roots, sample(kind, roots, late, draws)
            return self.sample

        trainer.sampler.sample = watched
        hook = trainer.model.register_forward_pre_hook(self._keep)
        self.loss = trainer.loss(trainer.sample(step))
        hook.remove()
        trainer.sampler.sample = sample

    def _keep(self, _, arguments):
        self.states, self.neighbours, _, self.playlist_states, self.seeds, _ = arguments

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
def test_no_target_edge_reaches_the_model_either_way_round(world, loss, fanout, make_trainer):
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


def test_seeds_are_what_a_playlist_is_made_of(world, make_trainer):
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
def test_loss_does_not_depend_on_the_edges_it_predicts(world, loss, make_trainer):
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


def test_every_candidate_loses_an_edge_not_only_the_targets(world, make_trainer):
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


def test_candidates_are_the_targets_and_the_negatives_drawn(world, make_trainer):
    trainer = make_trainer(world, negatives=5)
    step = first_step(trainer)
    seen = Seen(trainer, step)
    drawn = trainer.warm[np.random.default_rng(step.draw).integers(0, len(trainer.warm), 5)]
    assert seen.candidates.tolist() == sorted({*step.targets.values.tolist(), *drawn.tolist()})


def softmax_by_hand(seen_scores, candidates, step):
    """Mean over targets of -log p(target | all but the seeds)."""
    losses = []
    for row in range(len(step.playlists)):
        competes = ~np.isin(candidates, step.seeds[row])
        logits = seen_scores[row][competes]
        target = np.isin(candidates[competes], step.targets[row])
        losses.extend(np.log(np.exp(logits).sum()) - logits[target])
    return np.mean(losses)


@pytest.mark.parametrize("negatives", [300, 8])
def test_softmax_loss_by_hand(world, negatives, make_trainer):
    trainer = make_trainer(world, negatives=negatives, batch_size=4)
    step = first_step(trainer)
    outputs = []
    hook = trainer.model.register_forward_hook(lambda *call: outputs.append(call[2]))
    seen = Seen(trainer, step)
    hook.remove()
    p, t, _ = outputs[0]
    bias = trainer.model.bias.weight.detach().numpy()[seen.candidates, 0]
    scores = (p @ t.T).detach().numpy() + bias
    # How often a step offers each: as a target, by its share of all pairs, or drawn.
    as_target = np.bincount(world.train.values, minlength=26) * len(step.target_edges) / 280
    offered = np.minimum(as_target + negatives / len(trainer.warm), 1)
    offered = offered[seen.candidates]
    assert (offered == 1).all() == (negatives == 300), "many negatives need no correction"
    scores -= np.log(offered)
    assert seen.loss.item() == pytest.approx(
        softmax_by_hand(scores, seen.candidates, step), rel=1e-5
    )
