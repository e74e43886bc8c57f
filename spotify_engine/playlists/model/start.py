"""The start of PlaylistGAT: factors of the graph, chosen on validation before any gradient."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse
from torch.nn import functional as F

from spotify_engine.baselines.ials import IALS, IALSConfig
from spotify_engine.baselines.scorer import playlist_matrix
from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import NOTHING
from spotify_engine.evaluation.validation_sample import ValidationSample
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.network import PlaylistGATConfig
from spotify_engine.playlists.schema import ARTIST, BY, PERFORMS, TRACK, EdgeType
from spotify_engine.ragged import Ragged
from spotify_engine.store.atomic import replaced_folder
from spotify_engine.watching import Watch, unwatched

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

SETTINGS = "start.json"
TRIED = ("regularisation", "unobserved", "iterations", "popularity", MONITOR)
# Enough to tell settings apart. With all of them training ends a little higher than with these.
FEW_ITERATIONS = 3


class StartConfig(BaseModel):
    """The starting points to try; the best on validation is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    regularisation: tuple[float, ...] = Field((0.003, 0.01, 0.03, 0.1), min_length=1)
    """Of the factors, as ``IALSConfig.regularisation``."""
    unobserved: tuple[float, ...] = Field((60.0, 20.0), min_length=1)
    """Weight of all that a playlist does not hold together, where one thing that it holds has 1:
    unlike ``IALSConfig.unobserved_weight`` it means the same whatever the catalogue's size. All
    regularisations are tried with the first one, then the others with the best of them."""
    popularity: tuple[float, ...] = Field((0.0, 0.3, 0.6, 1.0, 1.4), min_length=1)
    """Weight of the logarithm of a track's training playlists in its bias."""
    iterations: int = Field(8, ge=1)
    """Passes of alternating least squares."""
    playlists: int = Field(5000, ge=1)
    """Candidates are fitted on at most so many playlists; the chosen one on all."""
    validate_playlists: int = Field(1000, ge=1)
    """Playlists that candidates are measured on."""
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Start:
    """First values of a model's parameters.

    Attributes:
        embeddings: float32 ``[nodes, dim]`` by node type.
        value: float32 ``[dim, dim]``, symmetric: what a playlist reads of a track's embedding.
        popularity: weight of log popularity in the bias.
        counts: int ``[tracks]``, training playlists of each track.
    """

    embeddings: dict[str, np.ndarray]
    value: np.ndarray
    popularity: float
    counts: np.ndarray

    @property
    def bias(self) -> np.ndarray:
        """float32 ``[tracks]``."""
        return (self.popularity * np.log(np.maximum(self.counts, 1))).astype(np.float32)

    def apply(self, model: PlaylistGAT) -> None:
        """Set a model's parameters; see :meth:`PlaylistGAT.start_from`."""
        model.start_from(
            {kind: torch.from_numpy(table) for kind, table in self.embeddings.items()},
            torch.from_numpy(self.value),
            torch.from_numpy(self.bias),
        )

    def save(self, folder: Path) -> None:
        """Write it to a folder, which is made where there is none."""
        content = {"popularity": self.popularity, "embeddings": sorted(self.embeddings)}
        with replaced_folder(folder) as partial:
            np.save(partial / "value.npy", self.value)
            np.save(partial / "counts.npy", self.counts)
            for kind, table in self.embeddings.items():
                np.save(partial / f"embedding__{kind}.npy", table)
            (partial / SETTINGS).write_text(json.dumps(content))

    @classmethod
    def load(cls, folder: Path) -> Start:
        """Read it from a folder.

        Raises:
            InputError: the folder holds no start.
        """
        if not (folder / SETTINGS).exists():
            raise InputError(f"{folder}: no start here ({SETTINGS} is missing); run the job again")
        content = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))

        def array(name: str) -> np.ndarray:
            found: np.ndarray = np.load(folder / f"{name}.npy", allow_pickle=False)
            return found

        embeddings = {kind: array(f"embedding__{kind}") for kind in content["embeddings"]}
        return cls(embeddings, array("value"), content["popularity"], array("counts"))


def find_start(
    data: HeteroData,
    train: Ragged,
    val: Ragged,
    model: PlaylistGATConfig,
    config: StartConfig,
    watch: Watch = unwatched,
) -> tuple[Start, list[dict[str, float]]]:
    """Fit the candidates of ``config`` and keep the best in recall@10 on val.

    Args:
        data: its contains edges are ``train``'s pairs.
        watch: is told of each pair of settings that is fitted.

    Returns:
        (the start, fitted on all playlists; settings and recall of all that were tried)
    """
    rng = np.random.default_rng(config.seed)
    validation = ValidationSample.draw(train, val, config.validate_playlists, rng)
    fitted_on = np.sort(rng.permutation(len(train))[: config.playlists])
    lists, sizes = joint_lists(data, train)
    sample, counts = lists.select(fitted_on), np.bincount(train.values, minlength=sizes[TRACK])
    tried: list[dict[str, float]] = []

    def attempt(regularisation: float, unobserved: float, iterations: int) -> list[Start]:
        start = fit_start(
            sample, sizes, counts, model, config, regularisation, unobserved, iterations
        )
        candidates = [replace(start, popularity=popularity) for popularity in config.popularity]
        recalls = _recalls(candidates, data, model.temperature, validation)
        for candidate, recall in zip(candidates, recalls, strict=True):
            settings = (regularisation, unobserved, iterations, candidate.popularity, recall)
            tried.append(dict(zip(TRIED, settings, strict=True)))
        return candidates

    def settings() -> Iterator[tuple[float, float, int]]:
        """One after the other, as what was tried before decides what comes next."""
        few = min(FEW_ITERATIONS, config.iterations)
        for regularisation in config.regularisation:
            yield regularisation, config.unobserved[0], few
        for unobserved in config.unobserved[1:]:
            yield _best(tried)["regularisation"], unobserved, few
        best = _best(tried)
        yield best["regularisation"], best["unobserved"], config.iterations

    total = len(config.regularisation) + len(config.unobserved)
    for each in watch(settings(), "starts fitted", total):
        found = attempt(*each)
    last = tried[-len(found) :]
    chosen = _best(last)
    start = found[last.index(chosen)]
    if len(fitted_on) == len(train):
        return start, tried
    whole = fit_start(
        lists, sizes, counts, model, config, chosen["regularisation"], chosen["unobserved"],
        config.iterations,
    )  # fmt: skip
    return replace(whole, popularity=chosen["popularity"]), tried


def chosen_of(tried: Sequence[dict[str, float]]) -> dict[str, float]:
    """The settings, of those tried, that training begins with: the best of the last fit."""
    fitted = TRIED[:3]
    return _best([each for each in tried if all(each[k] == tried[-1][k] for k in fitted)])


def _best(tried: Sequence[dict[str, float]]) -> dict[str, float]:
    return max(tried, key=lambda each: each[TRIED[-1]])


def joint_lists(data: HeteroData, train: Ragged) -> tuple[Ragged, dict[str, int]]:
    """The contents of each playlist: its tracks, their artists, and those artists' genres.

    Returns:
        (distinct columns of each playlist, in the order tracks, artists, genres; columns of each)
    """
    sizes = {TRACK: int(data[TRACK].num_nodes)}
    found = [playlist_matrix(train, sizes[TRACK])]
    for kind in (BY, PERFORMS):
        if kind not in data.edge_types:
            break
        found.append(sparse.csr_array(found[-1] @ _incidence(data, kind)))
        sizes[kind[2]] = found[-1].shape[1]
    joined = sparse.csr_array(sparse.hstack(found))
    joined.sort_indices()
    return Ragged(joined.indptr.astype(np.int64), joined.indices.astype(np.int64)), sizes


def fit_start(
    lists: Ragged,
    sizes: dict[str, int],
    counts: np.ndarray,
    model: PlaylistGATConfig,
    config: StartConfig,
    regularisation: float,
    unobserved: float,
    iterations: int,
) -> Start:
    """Factorise tracks, artists and genres together by implicit alternating least squares.

    Folding a playlist in solves (M + sum v v') p = sum v over its tracks' factors v, where
    M = weight x (factors' factors) + ridge I. Its first term, M^-1 sum v, is linear in the tracks:
    attention over values M^-1 v.
    """
    columns = sum(sizes.values())
    settings = IALSConfig(
        factors=model.embedding_dim,
        unobserved_weight=unobserved / columns,
        regularisation=regularisation,
        iterations=iterations,
        seed=config.seed,
    )
    factors = IALS(settings).fit(lists, columns).tracks.double().numpy()
    ridge = regularisation * (lists.lengths.mean() + unobserved)
    shared = settings.unobserved_weight * factors.T @ factors + ridge * np.eye(factors.shape[1])
    value = np.linalg.inv(shared)
    # Neither the values' nor the factors' common scale matters to a cosine; gradients like 1.
    value /= np.abs(np.linalg.eigvalsh(value)).mean()
    ends = np.cumsum(list(sizes.values()))[:-1]
    tables = dict(zip(sizes, np.split(factors, ends), strict=True))
    norms = np.linalg.norm(tables[TRACK], axis=1)
    scale = norms[norms > 0].mean() if norms.any() else 1.0
    embeddings = {
        kind: np.ascontiguousarray(table / scale, dtype=np.float32)
        for kind, table in tables.items()
        if kind in (TRACK, ARTIST)
    }
    return Start(embeddings, value.astype(np.float32), 0.0, counts)


def _recalls(
    candidates: Sequence[Start],
    data: HeteroData,
    temperature: float,
    validation: ValidationSample,
) -> list[float]:
    """Recall@10 of candidates that differ in their bias alone, as the model has them at first."""
    start = candidates[0]
    tracks = start.embeddings[TRACK]
    if ARTIST in start.embeddings:
        by = _incidence(data, BY)
        share = 1 / np.maximum(by.sum(axis=1), 1)[:, None]
        tracks = tracks + (by @ start.embeddings[ARTIST]) * share.astype(np.float32)
    directions = F.normalize(torch.from_numpy(tracks)).T / temperature
    found: list[list[np.ndarray]] = [[] for _ in candidates]
    width = min(10, len(tracks))
    for batch in validation.batches():
        part = batch.seeds
        playlists = torch.from_numpy((playlist_matrix(part, len(tracks)) @ tracks) @ start.value)
        scores = F.normalize(playlists) @ directions
        scores[
            torch.from_numpy(part.rows), torch.from_numpy(part.values.astype(np.int64))
        ] = -torch.inf
        for lists, candidate in zip(found, candidates, strict=True):
            # A third of `ranking.top_k`'s time; in what order ties come does not matter here.
            best = (scores + torch.from_numpy(candidate.bias)).topk(width, dim=1).indices
            lists.append(np.full((len(part), 10), NOTHING))
            lists[-1][:, :width] = best.numpy()
    return [validation.recall(lists, 10) for lists in found]


def _incidence(data: HeteroData, kind: EdgeType) -> sparse.csr_array:
    source, target = data[kind].edge_index.numpy()
    shape = (data[kind[0]].num_nodes, data[kind[2]].num_nodes)
    return sparse.csr_array((np.ones(len(source), np.float32), (source, target)), shape=shape)
