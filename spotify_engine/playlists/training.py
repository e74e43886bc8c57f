"""Masked-target training of PlaylistGAT on sampled neighbourhoods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from spotify_engine.evaluation.ranking import NOTHING
from spotify_engine.evaluation.validation_sample import ValidationSample
from spotify_engine.learning.attention import Neighbours
from spotify_engine.learning.devices import moved
from spotify_engine.learning.draws import NodeDraws
from spotify_engine.learning.exchange import gather_rows, sum_gradients, sum_over_workers
from spotify_engine.learning.losses import bpr_loss, log_sampling_correction, masked_softmax_loss
from spotify_engine.learning.masking import mask_targets
from spotify_engine.learning.prefetch import prepared_ahead
from spotify_engine.learning.sampler import NeighbourSampler, neighbours_of
from spotify_engine.learning.trainers.base import BaseTrainer, EpochReport, TrainingDiverged, Worker
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.model.encoding import encode_tracks, fold_in, track_scores
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import playlist_features
from spotify_engine.playlists.schema import CONTAINS, IN, PLAYLIST, TRACK, EdgeType
from spotify_engine.ragged import Ragged

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData


class TrainingConfig(BaseModel):
    """Training settings of PlaylistGAT."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(8, ge=1)
    min_steps_per_epoch: int = Field(100, ge=1)
    """An epoch passes over the playlists as often as it takes to make this many steps, every time
    with other random masks, so that a small data set still trains."""
    batch_size: int = Field(256, ge=1)
    """Playlists a step, over all workers together."""
    loss: Literal["softmax", "bpr"] = "softmax"
    negatives: int = Field(4096, ge=1)
    """Tracks drawn uniformly to rank the targets against, beside the targets of the batch."""
    keep: tuple[float, float] = (0.5, 0.9)
    """Range from which each playlist draws the share of its tracks that are seeds."""
    max_tracks: int = Field(200, ge=2)
    """A longer playlist shows a random part of this many tracks at each visit."""
    fanouts: tuple[int, ...] = (4,)
    """Neighbours drawn by each relation at each hop; one hop for each layer of the model."""
    learning_rate: float = Field(0.0003, gt=0, le=1)
    """Of layers, with AdamW."""
    embedding_learning_rate: float = Field(0.001, gt=0, le=1)
    """Of embeddings, with sparse Adam: only touched rows move."""
    weight_decay: float = Field(0.0, ge=0)
    """Of layers."""
    forget: float = Field(0.0, ge=0, lt=1)
    """Least share of the tracks that a step sees without their embedding, by artists and features
    alone: what a track never seen in training has."""
    forget_rare: float = Field(1.0, ge=0)
    """A candidate in c playlists is seen without its embedding with probability c to the minus
    this. The embedding of a track in a single playlist knows nothing but what is to be predicted;
    0 switches this off."""
    warmup_steps: int = Field(20, ge=0)
    """Steps of linear warm-up; a cosine to a tenth of the rate follows."""
    clip_norm: float = Field(1.0, gt=0)
    """Gradients of layers are scaled down to this norm."""
    patience: int = Field(5, ge=1)
    """Epochs without a better validation metric before training stops."""
    validate_playlists: int = Field(2000, ge=1)
    """Playlists scored after each epoch: the first of a seeded order."""
    checkpoint_every: int = Field(1, ge=1)
    """Epochs between regular checkpoints; the best and the last epoch always write one."""
    seed: int = 0

    @model_validator(mode="after")
    def _range_is_ordered(self) -> TrainingConfig:
        low, high = self.keep
        if not 0 < low <= high < 1:
            raise ValueError(f"keep must be 0 < low <= high < 1, got {self.keep}")
        return self


class Step(NamedTuple):
    """One worker's part of a batch, and what it must know of the others'.

    Attributes:
        playlists: int64 ``[B]``.
        seeds, targets: Ragged over them.
        batch: int64, playlists of the whole batch.
        batch_seeds: Ragged over them.
        target_edges: int64, places in the training pairs of the whole batch's targets: no worker
            may see what another has to predict, or it would learn from another graph than one
            worker alone.
        draw: seeds all that is random in the step, alike on all workers.
        share: this worker's part of the whole batch's targets.
    """

    playlists: np.ndarray
    seeds: Ragged
    targets: Ragged
    batch: np.ndarray
    batch_seeds: Ragged
    target_edges: np.ndarray
    draw: tuple[int, ...]
    share: float


class Sampled(NamedTuple):
    """A step as the network takes it: a sampled neighbourhood, and which scores the loss reads.

    Attributes:
        step: what was sampled for.
        nodes: of each type sampled: (features ``[n, features]``, int64 ids ``[n]``, bool ``[n]``
            which of them are seen with their embedding; None: all).
        neighbours: sampled edges by relation.
        reach: see :meth:`PlaylistNetwork.reach`.
        playlists: ``[B, features]`` of the playlists to complete.
        seeds: their seed tracks, as rows of the sampled tracks.
        parts: how many candidates each worker encodes; this one's come first among its tracks.
        candidates: int64, ascending, of all workers.
        targets: (rows, columns) among the scores ``[B, candidates]``.
        members: (rows, columns) of what the playlists' seeds are.
        rivals: for the BPR loss, int64 ``[targets]``: the column that each target is held against.
        correction: for the softmax loss, float ``[candidates]``.
    """

    step: Step
    nodes: Mapping[str, tuple[Tensor, Tensor, Tensor | None]]
    neighbours: Mapping[EdgeType, Neighbours]
    reach: list[dict[str, int]]
    playlists: Tensor
    seeds: Neighbours
    parts: list[int]
    candidates: Tensor
    targets: tuple[Tensor, Tensor]
    members: tuple[Tensor, Tensor]
    rivals: Tensor | None
    correction: Tensor | None

    def to(self, device: torch.device) -> Sampled:
        """All of its tensors on a device."""
        return moved(self, device)


# What NodeDraws are for, beside the neighbours that the sampler draws for each relation.
KNOWN, HIDDEN, RANKED = 1000, 1001, 1002


class PlaylistTrainer(BaseTrainer):
    """Learns to predict some of a playlist's tracks from the rest.

    Every worker derives the same batches and masks from (seed, epoch, pass) and takes its slice of
    each batch, so that one worker and several learn from the same global batches.
    """

    measures_start = True

    def __init__(
        self,
        model: PlaylistGAT,
        data: HeteroData,
        train: Ragged,
        val: Ragged,
        config: TrainingConfig,
        worker: Worker | None = None,
    ) -> None:
        """``data``'s contains edges are ``train``'s pairs, in order."""
        super().__init__(config.epochs, config.patience, MONITOR, worker)
        if len(config.fanouts) != len(model.layers):
            raise ValueError(
                f"training.fanouts has {len(config.fanouts)} hops for {len(model.layers)} layers"
            )
        self.model: PlaylistGAT = model
        self.data, self.train, self.val, self.config = data, train, val, config
        embeddings = [*model.embedding.parameters(), *model.bias.parameters()]
        apart = {id(p) for p in embeddings}
        self.layers = [p for p in model.parameters() if id(p) not in apart]
        self.optimizers = [
            torch.optim.AdamW(self.layers, config.learning_rate, weight_decay=config.weight_decay),
            torch.optim.SparseAdam(embeddings, config.embedding_learning_rate),
        ]
        self.rates = [config.learning_rate, config.embedding_learning_rate]
        depths = range(len(model.layers))
        # Sorted: the order decides which random numbers go where, and a set's order changes.
        relations = sorted({kind for depth in depths for kind in model.layer(depth).relations})
        self.sampler = NeighbourSampler.from_data(data, config.fanouts, relations=relations)
        self.relations = relations
        self.trainable = np.flatnonzero(train.lengths > 1)
        self.popularity = np.bincount(train.values, minlength=data[TRACK].num_nodes)
        self.warm = np.flatnonzero(self.popularity)
        rare = np.maximum(self.popularity, 1.0) ** -config.forget_rare
        self.forgotten = np.maximum(rare * (config.forget_rare > 0), config.forget)
        self.dropped = np.zeros(len(train.values), dtype=bool)
        self.audio = data[TRACK].x.numpy() if data[TRACK].x.shape[1] else None

    def wants_checkpoint(self, report: EpochReport) -> bool:
        """Whether an epoch is the best, the last, or one to resume from."""
        last = self.finished or self.next_epoch == self.epochs
        return report.best or last or (report.epoch + 1) % self.config.checkpoint_every == 0

    @property
    def passes_per_epoch(self) -> int:
        """How often an epoch goes through all training playlists."""
        return math.ceil(self.config.min_steps_per_epoch / self.steps_per_pass)

    @property
    def steps_per_pass(self) -> int:
        """How many batches the training playlists make."""
        return max(math.ceil(len(self.trainable) / self.config.batch_size), 1)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self.steps_per_pass * self.passes_per_epoch

    def steps(self, epoch: int) -> Iterator[Step]:
        """This worker's steps of an epoch; every worker gets the same number."""
        config, (rank, size) = self.config, (self.worker.rank, self.worker.size)
        places = Ragged(self.train.offsets, np.arange(len(self.train.values)))
        for turn in range(self.passes_per_epoch):
            rng = np.random.default_rng([config.seed, epoch, turn])
            order = rng.permutation(self.trainable)
            shown = _at_most(places.select(order), config.max_tracks, rng)
            is_seed = mask_targets(shown, config.keep, rng)
            seeds, targets = shown.filter(is_seed), shown.filter(~is_seed)
            for start in range(0, len(order), config.batch_size):
                batch = np.arange(start, min(start + config.batch_size, len(order)))
                mine = batch[rank::size]
                ours, everyones = self._tracks(targets.select(mine)), targets.select(batch).values
                yield Step(
                    order[mine],
                    self._tracks(seeds.select(mine)),
                    ours,
                    order[batch],
                    self._tracks(seeds.select(batch)),
                    everyones,
                    (config.seed, epoch, turn, start),
                    len(ours.values) / max(len(everyones), 1),
                )

    def _tracks(self, places: Ragged) -> Ragged:
        return Ragged(places.offsets, self.train.values[places.values])

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train for an epoch; returns its mean loss by name."""
        self.model.train()
        total, number = 0.0, -1
        steps = prepared_ahead(self.steps(epoch), self.sample)
        for number, sampled in enumerate(self.progress(steps)):
            step = sampled.step
            self._set_rates(epoch * self.steps_per_epoch + number)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            torch.manual_seed(int(np.random.SeedSequence(step.draw).generate_state(1)[0]))
            # A worker without a playlist in this batch still encodes its part of the candidates.
            loss = self.loss(sampled) * step.share
            # All workers find out about trouble in the same step, and none waits for another.
            value = sum_over_workers(loss.item())
            self._require_finite("loss", value, epoch, number, step)
            total += value
            loss.backward()
            sum_gradients(self.model)
            norm = torch.nn.utils.clip_grad_norm_(self.layers, self.config.clip_norm)
            self._require_finite("gradient", norm.item(), epoch, number, step)
            for optimizer in self.optimizers:
                optimizer.step()
        return {"loss": total / max(number + 1, 1)}

    def _require_finite(self, what: str, value: float, epoch: int, number: int, step: Step) -> None:
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"{what} became {value} in epoch {epoch}, batch {number} (playlists "
                f"{step.batch[:5]}...); lower training.learning_rate "
                f"(now {self.config.learning_rate}) or training.embedding_learning_rate",
                {"epoch": epoch, "batch": number, "playlists": step.batch.tolist()},
            )

    def _set_rates(self, step: int) -> None:
        total = self.steps_per_epoch * self.config.epochs
        warm = min(1.0, (step + 1) / max(self.config.warmup_steps, 1))
        factor = warm * (0.55 + 0.45 * math.cos(math.pi * min(step / total, 1.0)))
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor

    def sample(self, step: Step) -> Sampled:
        """A step's neighbourhood, its targets' edges cut out of the graph, on the trainer's device.

        Knows nothing of the network's parameters: while one step is computed, the next is sampled.
        """
        # A track in no training playlist is never a target: as a negative it would only teach that
        # tracks without an embedding are wrong, and such are most of what is new.
        draw = np.random.default_rng(step.draw)
        drawn = self.warm[draw.integers(0, len(self.warm), self.config.negatives)]
        # Every worker ranks its targets among those of the whole batch.
        candidates = np.union1d(self.train.values[step.target_edges], drawn)
        draws = NodeDraws(*step.draw)
        # Encoding the candidates is most of the work: each worker does a part of them for all.
        parts = np.array_split(candidates, self.worker.size)
        part = parts[self.worker.rank]
        seeds = np.unique(step.seeds.values)
        late = seeds[~np.isin(seeds, part, assume_unique=True)]
        if len(self.model.layers) == 1 and self.model.config.skip:
            # The only layer reads the artists of seeds as well: they are expanded like candidates.
            sample = self.sampler.sample(TRACK, np.concatenate([part, late]), draws=draws)
        else:
            sample = self.sampler.sample(TRACK, part, late, draws)
        others = self._edges_of_negatives(step, candidates, draws)
        hidden = np.concatenate([step.target_edges, others])
        self.dropped[hidden] = True
        neighbours = {
            kind: neighbours_of(sample, kind, self.dropped if kind in (CONTAINS, IN) else None)
            for kind in self.relations
        }
        self.dropped[hidden] = False
        tracks = sample.node[TRACK].numpy()
        local = np.empty(len(self.popularity), dtype=np.int64)
        local[tracks] = np.arange(len(tracks))
        column = np.searchsorted(candidates, step.targets.values)
        return Sampled(
            step,
            self._nodes(step, sample.node, candidates, draws),
            neighbours,
            self.model.reach(sample.num_sampled_nodes),
            torch.from_numpy(playlist_features(step.seeds, self.audio)),
            Neighbours(
                torch.from_numpy(step.seeds.offsets), torch.from_numpy(local[step.seeds.values])
            ),
            [len(each) for each in parts],
            torch.from_numpy(candidates),
            (torch.from_numpy(step.targets.rows), torch.from_numpy(column)),
            _cells(candidates, step.seeds),
            self._rivals(step, len(candidates)) if self.config.loss == "bpr" else None,
            self._correction(step, candidates) if self.config.loss == "softmax" else None,
        ).to(self.device)

    def _nodes(
        self, step: Step, sampled: Mapping[str, Tensor], candidates: np.ndarray, draws: NodeDraws
    ) -> dict[str, tuple[Tensor, Tensor, Tensor | None]]:
        """What the network reads of the sampled nodes, as :class:`Sampled` holds it."""
        tracks = sampled[TRACK].numpy()
        ranked = np.isin(tracks, candidates)
        forgotten = np.where(ranked, self.forgotten[tracks], self.config.forget)
        known = torch.from_numpy(draws.uniform(tracks, KNOWN) >= forgotten)
        nodes: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {}
        for kind in sorted({TRACK} | {kind[0] for kind in self.relations}):
            ids = sampled[kind]
            x = self.data[kind].x[ids]
            if kind == PLAYLIST:
                # In the graph, too, a playlist of this batch must not know its targets.
                here, theirs = _matches(ids.numpy(), step.batch)
                features = torch.from_numpy(playlist_features(step.batch_seeds, self.audio))
                x[here] = features[theirs]
            nodes[kind] = (x, ids, known if kind == TRACK else None)
        return nodes

    def _rivals(self, step: Step, candidates: int) -> Tensor:
        ids = step.playlists[step.targets.rows] * len(self.popularity) + step.targets.values
        place = NodeDraws(*step.draw).uniform(ids, RANKED) * candidates
        return torch.from_numpy(place.astype(np.int64))

    def _correction(self, step: Step, candidates: np.ndarray) -> Tensor:
        # How often such a step would offer a track: as somebody's target, or drawn.
        share = len(step.target_edges) / len(self.train.values)
        as_target = self.popularity[candidates] * share
        expected = torch.from_numpy(as_target + self.config.negatives / len(self.warm)).float()
        return log_sampling_correction(expected)

    def loss(self, sampled: Sampled) -> Tensor:
        """The configured loss of one step."""
        vectors, tracks = self._vectors(sampled)
        bias = self.model.bias(sampled.candidates)[:, 0]
        scores = torch.addmm(bias, vectors, tracks.T)
        row, column = sampled.targets
        if sampled.rivals is not None:
            taken = torch.zeros_like(scores, dtype=torch.bool)
            taken[sampled.members] = True
            taken[row, column] = True
            other = sampled.rivals
            usable = ~taken[row, other]
            # Over all targets, so that workers' losses add up to that of the whole batch.
            part = usable.sum() / max(len(usable), 1)
            return bpr_loss(scores[row, column][usable], scores[row, other][usable]) * part
        assert sampled.correction is not None
        return masked_softmax_loss(scores - sampled.correction, row, column, sampled.members)

    def _vectors(self, sampled: Sampled) -> tuple[Tensor, Tensor]:
        """p of the step's playlists and t of the candidates of all workers."""
        states = {
            kind: self.model.inputs(kind, x, ids, known)
            for kind, (x, ids, known) in sampled.nodes.items()
        }
        playlists = self.model.inputs(PLAYLIST, sampled.playlists, None)
        vectors, t, _ = self.model(
            states, sampled.neighbours, sampled.reach, playlists, sampled.seeds,
            sampled.parts[self.worker.rank],
        )  # fmt: skip
        return vectors, gather_rows(t, sampled.parts)

    def _edges_of_negatives(
        self, step: Step, candidates: np.ndarray, draws: NodeDraws
    ) -> np.ndarray:
        """One random edge of each candidate that is nobody's target here.

        Targets lose the edge that is predicted. If the others kept all of theirs, a track with an
        edge less would look like a target, and above all one without any: the model would learn to
        find what was held out by its missing edges, and the catalogue's held-out tracks do lack
        them.
        """
        others = np.setdiff1d(candidates, self.train.values[step.target_edges])
        edges = self.sampler.incoming[CONTAINS]
        degree = edges.indptr[others + 1] - edges.indptr[others]
        pick = (draws.uniform(others, HIDDEN) * degree).astype(np.int64)
        joined = degree > 0
        return edges.edge_id[(edges.indptr[others] + pick)[joined]]

    def validate(self) -> dict[str, float]:
        """Recall and NDCG at 10 and the BPR loss on the validation part."""
        rng = np.random.default_rng(self.config.seed)
        sample = ValidationSample.draw(self.train, self.val, self.config.validate_playlists, rng)
        encoded = encode_tracks(self.model, self.data)
        predictions, margins = [], []
        for batch in sample.batches():
            seeds, truth = batch.seeds, batch.truth
            features = playlist_features(seeds, self.audio)
            vectors, _ = fold_in(self.model, encoded.folds, seeds, features)
            scores = track_scores(vectors, encoded)
            other = rng.integers(0, scores.shape[1], len(truth.values))
            margins.append(scores[truth.rows, truth.values] - scores[truth.rows, other])
            # Where the scores are: they are more than can be fetched from a GPU in the time that
            # ranking them takes there.
            scores[seeds.rows, seeds.values] = -torch.inf
            best = scores.topk(min(10, scores.shape[1]), dim=1)
            listed = best.indices.masked_fill(best.values == -torch.inf, NOTHING)
            predictions.append(listed.cpu().numpy())
        metrics = sample.metrics(predictions, 10)
        margin = torch.cat(margins)
        return {
            MONITOR: metrics["recall@10"],
            "val_ndcg@10": metrics["ndcg@10"],
            "val_loss": float(bpr_loss(margin, torch.zeros_like(margin))),
        }


def _at_most(lists: Ragged, n: int, rng: np.random.Generator) -> Ragged:
    """A random part of the lists that are longer than ``n``."""
    if not len(lists) or lists.lengths.max() <= n:
        return lists
    draw = rng.random(len(lists.values))
    order = np.lexsort((draw, lists.rows))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - lists.offsets[lists.rows[order]]
    return lists.filter(rank < n)


def _matches(ids: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in ``ids`` and in ``wanted`` (both distinct) that hold the same value."""
    _, here, there = np.intersect1d(ids, wanted, assume_unique=True, return_indices=True)
    return here, there


def _cells(candidates: np.ndarray, lists: Ragged) -> tuple[Tensor, Tensor]:
    """(rows, columns) of the lists' tracks that are among the sorted candidates."""
    column = np.searchsorted(candidates, lists.values).clip(max=len(candidates) - 1)
    found = candidates[column] == lists.values
    return torch.from_numpy(lists.rows[found]), torch.from_numpy(column[found])
