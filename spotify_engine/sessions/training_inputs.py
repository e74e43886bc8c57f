"""The files of a run that a training on sessions opens, on whichever machine it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spotify_engine.dotted import Tree
from spotify_engine.learning.trainers.advanced import AdvancedTrainer
from spotify_engine.learning.trainers.base import load_state
from spotify_engine.learning.trainers.simple import SimpleTrainer
from spotify_engine.learning.trainers.task import TaskTrainer
from spotify_engine.pipelines import MONITOR
from spotify_engine.sessions.measure.leaderboard import HeldOut
from spotify_engine.sessions.measure.splits import TRAIN, EventSplit, load_event_split
from spotify_engine.sessions.model.basic_gat import BasicGAT, Relations, SessionGAT
from spotify_engine.sessions.model.enhanced_gat import EnhancedGAT
from spotify_engine.sessions.model.graph import load_session_graph
from spotify_engine.sessions.model.session_aware import Counts, SessionModel
from spotify_engine.sessions.model.start import spectral_embeddings
from spotify_engine.sessions.queries import queries_of_events
from spotify_engine.sessions.recommender import membership_of
from spotify_engine.sessions.settings import ModelName, SyntheticJob
from spotify_engine.sessions.tables.build import load_tables
from spotify_engine.sessions.tables.edges import song_artists
from spotify_engine.sessions.training import GATTask, NextSongTask


@dataclass(frozen=True)
class SessionTraining:
    """One model's training, from the files of a run.

    Attributes:
        tables, graph, split: of the run; ``split`` is None where all data is trained on.
        validated: whether the split's validation part says how good the model is.
    """

    model: ModelName
    tables: Path
    graph: Path
    split: Path | None
    config: SyntheticJob
    validated: bool

    @property
    def monitor(self) -> str:
        """The metric by which an epoch is the best."""
        return MONITOR if self.validated else "train_recall@10"

    @property
    def settings(self) -> Tree:
        """The whole configuration, as plain values."""
        return self.config.model_dump(mode="json")

    def open(self) -> TaskTrainer:
        """The trainer, at its start."""
        training = getattr(self.config.training, self.model)
        torch.manual_seed(training.seed)
        task: GATTask | NextSongTask
        if self.model == "session":
            task = self._next_song()
        else:
            data = load_session_graph(self.graph)
            network = self._gat(Relations(data))
            embeddings = spectral_embeddings(data, network.config.dim)
            network.start_from({k: v * training.start_scale for k, v in embeddings.items()})
            val = None
            if self.validated:
                assert self.split is not None
                tables = load_tables(self.tables)
                split = load_event_split(self.split, tables["events"])
                val = HeldOut(tables, split, self.config.evaluation).new_in_val
            task = GATTask(network, data, val, training)
        trainer = AdvancedTrainer if self.validated else SimpleTrainer
        return trainer(task, training)

    def _gat(self, relations: Relations) -> BasicGAT | EnhancedGAT:
        if self.model == "basic":
            return BasicGAT(relations.nodes, self.config.basic)
        return EnhancedGAT(relations.nodes, relations.kinds, self.config.enhanced)

    def _next_song(self) -> NextSongTask:
        tables = load_tables(self.tables)
        events, memory = tables["events"], self.config.session.memory
        song = events["song"].to_numpy().astype(np.int64)
        if self.split is None:
            split = EventSplit(np.full(len(events), TRAIN, np.int8))
        else:
            split = load_event_split(self.split, events)
        rows, val = np.flatnonzero(split.train), np.flatnonzero(split.val)
        queries = queries_of_events(events, rows, memory)
        artist, membership, n = song_artists(tables), membership_of(tables), len(tables["users"])
        counts = Counts.of(queries, song[rows], artist, membership, n)
        training = self.config.training.session
        held_out = (queries_of_events(events, val, memory), song[val]) if len(val) else None
        model = SessionModel(counts, self.config.session)
        return NextSongTask(queries, song[rows], artist, membership, n, held_out, model, training)

    def load_gat(self, checkpoint: Path) -> tuple[SessionGAT, Relations]:
        """The trained GAT of a checkpoint, and the relations that it runs over."""
        relations = Relations(load_session_graph(self.graph))
        network = self._gat(relations)
        network.load_state_dict(load_state(checkpoint)["model"])
        return network, relations

    def load_session(self, checkpoint: Path) -> SessionModel:
        """The trained session model of a checkpoint, with the counts that belong to it."""
        task, state = self._next_song(), load_state(checkpoint)
        task.model.load_state_dict(state["model"])
        task.load_extra_state(state["extra"]["task"])
        task.model.eval()
        return task.model
