"""Training tasks of the session models: hidden songs of users, and the next song of sessions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from spotify_engine.evaluation.ranking import ranking_metrics, top_k
from spotify_engine.learning.devices import device_of, moved
from spotify_engine.learning.losses import bpr_loss, masked_softmax_loss
from spotify_engine.learning.trainers.base import Worker
from spotify_engine.learning.trainers.task import Loss, SessionTrainingConfig
from spotify_engine.pipelines import MONITOR
from spotify_engine.ragged import Ragged
from spotify_engine.sessions.measure.next_song import rank_next, single_targets
from spotify_engine.sessions.model.basic_gat import Relations, SessionGAT
from spotify_engine.sessions.model.session_aware import Counts, SessionModel, Shares
from spotify_engine.sessions.queries import Queries
from spotify_engine.sessions.schema import LISTENS_TO

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

TINY = 1e-12


class GATTask:
    """Predict the songs of users whose edges were taken out of the graph.

    Every step hides some edges of a batch of users, both ways round, and ranks their songs against
    all others that the user doesn't have in the graph.
    """

    def __init__(
        self,
        model: SessionGAT,
        data: HeteroData,
        val: Ragged | None,
        config: SessionTrainingConfig,
    ) -> None:
        """``data``'s listens_to edges are what is learned; ``val`` holds other songs by user."""
        self.model, self.config, self.val = model, config, val
        self.relations = Relations(data)
        self.user, self.song = data[LISTENS_TO].edge_index
        self.n_users, self.n_songs = (int(data[kind].num_nodes) for kind in ("user", "song"))
        self.heard = Ragged.from_pairs(self.user.numpy(), self.song.numpy(), self.n_users)
        self.trainable = np.flatnonzero(self.heard.lengths > 1)

    def to(self, device: torch.device) -> None:
        """Move the network and the edges that it attends along."""
        self.model.to(device)
        self.relations.to(device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return device_of(self.model)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self.config.steps_per_epoch or self._batches

    @property
    def _batches(self) -> int:
        return max(math.ceil(len(self.trainable) / self.config.batch_size), 1)

    def losses(self, epoch: int, worker: Worker) -> Iterator[Loss]:
        """The loss of each batch of an epoch, for this worker's part of it."""
        for number in range(self.steps_per_epoch):
            turn, place = divmod(number, self._batches)
            order = np.random.default_rng([self.config.seed, epoch, turn]).permutation(
                self.trainable
            )
            size = self.config.batch_size
            batch = order[place * size : (place + 1) * size]
            yield self._loss(batch, np.random.default_rng([self.config.seed, epoch, number, 1]),
                             worker)  # fmt: skip

    def _loss(self, batch: np.ndarray, rng: np.random.Generator, worker: Worker) -> Loss:
        hidden = self._hide(batch, rng)
        mine = batch[worker.rank :: worker.size]
        row_of = np.full(self.n_users, -1)
        row_of[mine] = np.arange(len(mine))
        row = torch.from_numpy(row_of)[self.user]
        target = hidden & (row >= 0)
        share = int(target.sum()) / max(int(hidden.sum()), 1)
        if not target.any():
            return Loss(None, 0.0)
        encoded = self.model.encode(self.model.x_dict(), self.relations, hidden.to(self.device))
        scores = self.model.score(encoded, torch.from_numpy(mine).to(self.device))
        seen, here = ~hidden & (row >= 0), row >= 0
        at, column = moved((row[target], self.song[target]), self.device)
        if self.config.loss == "softmax":
            known = moved((row[seen], self.song[seen]), self.device)
            loss = masked_softmax_loss(scores, at, column, known)
        else:
            other = torch.from_numpy(rng.integers(0, self.n_songs, len(at))).to(self.device)
            taken = torch.zeros_like(scores, dtype=torch.bool)
            taken[moved((row[here], self.song[here]), self.device)] = True
            usable = ~taken[at, other]
            loss = bpr_loss(scores[at, column][usable], scores[at, other][usable])
        return Loss(loss, share)

    def _hide(self, batch: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """bool ``[edges]``: edges to predict; every user of the batch keeps at least one."""
        share = np.ones(self.n_users)
        share[batch] = rng.uniform(*self.config.keep, len(batch))
        user = self.user.numpy()
        draw = rng.random(len(user))
        lowest = np.full(self.n_users, np.inf)
        np.minimum.at(lowest, user, draw)
        return torch.from_numpy((draw >= share[user]) & (draw > lowest[user]))

    def end_epoch(self) -> None:
        """Nothing."""

    @torch.no_grad()
    def scores(self) -> np.ndarray:
        """float32 ``[users, songs]`` from the whole graph."""
        self.model.eval()
        encoded = self.model.encode(self.model.x_dict(), self.relations)
        everyone = torch.arange(self.n_users, device=self.device)
        scores: np.ndarray = self.model.score(encoded, everyone).cpu().numpy()
        return scores

    def validate(self) -> dict[str, float]:
        """Metrics on the validation part."""
        assert self.val is not None, "the advanced trainer needs a validation part"
        scores = self.scores()
        predictions, _ = top_k(scores, self.heard, 10)
        found = ranking_metrics(predictions, self.val, (10,))
        rng = np.random.default_rng(self.config.seed)
        row, positive = self.val.rows, self.val.values
        margin = scores[row, positive] - scores[row, rng.integers(0, self.n_songs, len(row))]
        return {
            MONITOR: found["recall@10"],
            "val_ndcg@10": found["ndcg@10"],
            "val_loss": _bpr(margin),
        }

    def fit_metrics(self) -> dict[str, float]:
        """Recall on what is learned."""
        nothing = Ragged(np.zeros(self.n_users + 1, np.int64), np.zeros(0, np.int64))
        predictions, _ = top_k(self.scores(), nothing, 10)
        return {"train_recall@10": ranking_metrics(predictions, self.heard, (10,))["recall@10"]}

    def extra_state(self) -> dict[str, torch.Tensor]:
        """Nothing beside the network."""
        return {}

    def load_extra_state(self, state: dict[str, torch.Tensor]) -> None:
        """There is none."""


class NextSongTask:
    """Maximise the probability of the songs that were played.

    Gradient steps move the parameters; after each epoch, every play is shared out among the terms
    that may have caused it, and the counts are made anew from these shares (expectation
    maximisation, Dempster et al. 1977, with a gradient M step for what has no closed form).
    """

    def __init__(
        self,
        queries: Queries,
        song: np.ndarray,
        artist: np.ndarray,
        membership: np.ndarray,
        n_users: int,
        val: tuple[Queries, np.ndarray] | None,
        model: SessionModel,
        config: SessionTrainingConfig,
    ) -> None:
        """Prepare the training plays.

        Args:
            queries, song: the training plays.
            artist, membership: see :meth:`Counts.of`.
            val: moments and what was played there.
            model: made of ``Counts.of`` the same plays.
        """
        self.queries, self.song, self.model, self.config = queries, song, model, config
        self.artist, self.membership, self.n_users = artist, membership, n_users
        self.val = val
        self.shares = Shares.undecided(queries)
        self.prepared = model.prepare(queries, song, self.shares)

    def to(self, device: torch.device) -> None:
        """Stay where it is: its terms are counted tables, its few parameters wait for them."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        whole = max(math.ceil(len(self.song) / self.config.batch_size), 1)
        return self.config.steps_per_epoch or whole

    def losses(self, epoch: int, worker: Worker) -> Iterator[Loss]:
        """The loss of each batch of an epoch."""
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self.song))
        for number in range(self.steps_per_epoch):
            size = self.config.batch_size
            batch = order[number * size : (number + 1) * size]
            mine = batch[worker.rank :: worker.size]
            if not len(mine):
                yield Loss(None, 0.0)
                continue
            places = torch.from_numpy(mine)
            prepared = {name: value[places] for name, value in self.prepared.items()}
            terms, _ = self.model.target_terms(self.queries.select(mine), self.song[mine], prepared)
            surprise = -(terms.sum(1) + TINY).log().mean()
            yield Loss(surprise + self.model.penalty() / len(self.song), len(mine) / len(batch))

    def end_epoch(self) -> None:
        """Fit the shares of the mixture's terms anew."""
        self._use(self.model.shares(self.queries, self.song, self.prepared))

    def _use(self, shares: Shares) -> None:
        self.shares = shares
        counts = Counts.of(
            self.queries, self.song, self.artist, self.membership, self.n_users, shares
        )
        self.model.use(counts)
        self.prepared = self.model.prepare(self.queries, self.song, shares)

    def validate(self) -> dict[str, float]:
        """Metrics on the validation part."""
        assert self.val is not None, "the advanced trainer needs a validation part"
        return {f"val_{name}": value for name, value in self._measure(*self.val).items()}

    def fit_metrics(self) -> dict[str, float]:
        """Recall on what is learned."""
        return {"train_recall@10": self._measure(self.queries, self.song)["recall@10"]}

    def _measure(self, queries: Queries, song: np.ndarray) -> dict[str, float]:
        rng = np.random.default_rng(self.config.seed)
        some = np.sort(rng.permutation(len(song))[: self.config.validate_on])
        queries, song = queries.select(some), song[some]
        other = rng.integers(0, self.model.n_songs, len(song))
        margins = []

        def score(batch: Queries, rows: np.ndarray) -> np.ndarray:
            scores = self.model.score(batch)
            logs = np.log(scores + TINY)
            at = np.arange(len(rows))
            margins.append(logs[at, song[rows]] - logs[at, other[rows]])
            return scores

        predictions, _ = rank_next(score, queries, 10)
        found = ranking_metrics(predictions, single_targets(song), (10,))
        loss = _bpr(np.concatenate(margins))
        return {"recall@10": found["recall@10"], "ndcg@10": found["ndcg@10"], "loss": loss}

    def extra_state(self) -> dict[str, torch.Tensor]:
        """The shares that are in use."""
        return {
            name: torch.from_numpy(value.astype(np.float32))
            for name, value in vars(self.shares).items()
        }

    def load_extra_state(self, state: dict[str, torch.Tensor]) -> None:
        """Use the shares of a checkpoint."""
        self._use(Shares(**{name: value.double().numpy() for name, value in state.items()}))


def _bpr(margin: np.ndarray) -> float:
    difference = torch.from_numpy(margin)
    return float(bpr_loss(difference, torch.zeros_like(difference)))
