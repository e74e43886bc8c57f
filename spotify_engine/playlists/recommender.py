"""Completes playlists from a bundle, with reasons that add up to the score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import NOTHING, top_k
from spotify_engine.learning.attention import Projected
from spotify_engine.learning.item_item import add_item_item_scores
from spotify_engine.playlists.encoding import EncodedTracks, encode_tracks, fold_in, score_tracks
from spotify_engine.playlists.explain import Explainer, Explanation
from spotify_engine.playlists.genre_vocabulary import TitleGenres, load_vocabulary
from spotify_engine.playlists.graph import AudioScale, audio_matrix, playlist_features
from spotify_engine.playlists.matching import track_key, track_keys
from spotify_engine.playlists.model import GraphShape, PlaylistGAT, PlaylistGATConfig
from spotify_engine.playlists.schema import PLAYLIST, TRACK
from spotify_engine.ragged import Ragged
from spotify_engine.recommendation import Reason, Recommendation
from spotify_engine.store.bundle import Bundle, open_bundle, write_bundle

PIPELINE = "playlists"
TABLES = ("tracks", "artists", "genres", "track_artists", "artist_genres")
MAX_SEEDS = 10_000
ITEMS = ("data", "indices", "indptr")  # arrays of the item-item weights in a bundle


class PlaylistRecommender:
    """A trained playlist model, ready to complete known and unseen playlists.

    It needs no graph: every track's vector and its part in a playlist's attention were computed
    when the bundle was written. Satisfies ``evaluation.baselines.Scorer``'s ``name`` and ``score``.
    """

    name = "playlist-gat"

    def __init__(
        self,
        model: PlaylistGAT,
        encoded: EncodedTracks,
        tables: Mapping[str, pa.Table],
        scale: AudioScale | None,
        popularity: np.ndarray,
        items: sparse.csr_array | None = None,
    ) -> None:
        """
        Args:
            tables: as ``schema.TABLES``, those of :data:`TABLES`.
            popularity: int ``[tracks]``, training playlists that hold each track.
            items: float32 ``[seed, track]``, weights of the item-item term; None: there is none.
        """
        self.items = items
        self.model, self.encoded, self.scale = model, encoded, scale
        self.tables = {name: tables[name] for name in TABLES}
        self.popularity = popularity
        tracks = self.tables["tracks"]
        self.audio = None if scale is None else scale.apply(audio_matrix(tracks))
        self.ids: list[str] = tracks["id"].to_pylist()
        self.names: list[str] = tracks["name"].to_pylist()
        self.artists: list[str] = tracks["artist_name"].to_pylist()
        self._by_id = {id_: row for row, id_ in enumerate(self.ids)}
        # Of tracks that share a key, the first stays: tables hold one track a key.
        self._by_key: dict[str, int] = {}
        names, artists = (tracks[column].combine_chunks() for column in ("name", "artist_name"))
        for row, key in enumerate(track_keys(names, artists).to_pylist()):
            self._by_key.setdefault(key, row)
        self._titles = TitleGenres(self.tables["genres"]["name"].to_pylist(), load_vocabulary())
        self._explainer = Explainer(self.tables, self.names, self.artists, popularity)

    @classmethod
    def from_training(
        cls,
        model: PlaylistGAT,
        data: Any,
        tables: Mapping[str, pa.Table],
        scale: AudioScale | None,
        train: Ragged,
        items: sparse.csr_array | None = None,
    ) -> Self:
        """From a trained model and its graph."""
        popularity = np.bincount(train.values, minlength=data[TRACK].num_nodes).astype(np.int32)
        return cls(model, encode_tracks(model, data), tables, scale, popularity, items)

    def with_items(self, items: sparse.csr_array) -> Self:
        """The same model with an item-item term."""
        tables, popularity = self.tables, self.popularity
        return type(self)(self.model, self.encoded, tables, self.scale, popularity, items)

    def save(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Write a bundle; ``manifest`` brings config, data fingerprint and metrics."""
        arrays = {
            "track_parts": self.encoded.parts.numpy(),
            "item_vectors": self.encoded.vectors.numpy(),
            "item_bias": self.encoded.bias.numpy(),
            "popularity": self.popularity,
        }
        if self.items is not None:
            for part in ITEMS:
                arrays[f"items_{part}"] = getattr(self.items, part)
        for depth, projected in enumerate(self.encoded.folds):
            arrays[f"fold_values_{depth}"] = projected.values.numpy()
            arrays[f"fold_keys_{depth}"] = projected.keys.numpy()
        if self.scale is not None:
            scale = self.scale
            arrays["audio_scale"] = np.stack([scale.median, scale.mean, scale.std])
        shape = self.model.shape
        content = {
            **manifest,
            "pipeline": PIPELINE,
            "model": self.model.config.model_dump(mode="json"),
            "graph": {
                "nodes": shape.nodes,
                "features": shape.features,
                "relations": [list(kind) for kind in shape.relations],
            },
        }
        write_bundle(folder, content, arrays, self.tables, self.model.state_dict())

    @classmethod
    def load(cls, bundle: Path | str) -> Self:
        """Open a bundle.

        Raises:
            InputError: it is damaged, of another pipeline or release; names the file.
        """
        opened = open_bundle(bundle, PIPELINE)
        try:
            return cls._from_bundle(opened)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            first = str(error).splitlines()[0]
            raise InputError(f"{bundle}: parts do not fit each other ({first})") from error

    @classmethod
    def _from_bundle(cls, bundle: Bundle) -> Self:
        config = PlaylistGATConfig.model_validate(bundle.manifest["model"])
        graph = bundle.manifest["graph"]
        relations = tuple((r[0], r[1], r[2]) for r in graph["relations"])
        model = PlaylistGAT(GraphShape(graph["nodes"], graph["features"], relations), config)
        model.load_state_dict(bundle.weights())
        model.eval()

        def tensor(name: str) -> torch.Tensor:
            return torch.from_numpy(bundle.array(name))

        folds = [
            Projected(tensor(f"fold_values_{depth}"), tensor(f"fold_keys_{depth}"))
            for depth in range(len(config.layers))
        ]
        encoded = EncodedTracks(
            folds, tensor("track_parts"), tensor("item_vectors"), tensor("item_bias")
        )
        tables = {name: bundle.table(name) for name in TABLES}
        n = graph["nodes"][TRACK]
        for what, rows in (
            ("item_vectors.npy", len(encoded.vectors)),
            ("item_bias.npy", len(encoded.bias)),
            ("tracks.parquet", len(tables["tracks"])),
        ):
            if rows != n:
                raise InputError(f"{bundle.folder / what}: {rows} rows for {n} tracks")
        has_scale = "audio_scale.npy" in bundle.manifest["files"]
        scale = AudioScale(*bundle.array("audio_scale")) if has_scale else None
        items = None
        if "items_data.npy" in bundle.manifest["files"]:
            data, indices, indptr = (bundle.array(f"items_{part}") for part in ITEMS)
            items = sparse.csr_array((data, indices, indptr), shape=(n, n))
            items.check_format(full_check=True)
        return cls(model, encoded, tables, scale, bundle.array("popularity"), items)

    def resolve(self, tracks: Iterable[str | tuple[str, str]]) -> tuple[np.ndarray, list[str]]:
        """Find tracks by id, by (artist, name), or by a text like ``Artist - Title``.

        Returns:
            (rows int64, distinct, in the order asked; the texts that were not found)
        """
        rows: dict[int, None] = {}
        unknown: list[str] = []
        for track in tracks:
            row = self._find(track)
            if row is None:
                unknown.append(track if isinstance(track, str) else " - ".join(track))
            else:
                rows[row] = None
        return np.fromiter(rows, dtype=np.int64), unknown

    def _find(self, track: str | tuple[str, str]) -> int | None:
        if not isinstance(track, str):
            return self._by_key.get(track_key(track[1], track[0]))
        if track in self._by_id:
            return self._by_id[track]
        # Both names may hold a dash themselves, so every one of them may be the one between.
        pieces = track.split(" - ")
        for cut in range(1, len(pieces)):
            artist, name = " - ".join(pieces[:cut]), " - ".join(pieces[cut:])
            row = self._by_key.get(track_key(name, artist))
            if row is not None:
                return row
        return None

    def score(self, seeds: Ragged) -> np.ndarray:
        """Scores of all tracks from seeds alone, float32 ``[playlists, tracks]``."""
        return self._score(self._fold(seeds)[0], seeds)

    def _score(self, vectors: torch.Tensor, seeds: Ragged) -> np.ndarray:
        scores = score_tracks(vectors, self.encoded)
        if self.items is not None:
            add_item_item_scores(scores, self.items, seeds)
        return scores

    def _fold(self, seeds: Ragged) -> tuple[torch.Tensor, torch.Tensor]:
        features = playlist_features(seeds, self.audio)
        assert features.shape[1] == self.model.shape.features[PLAYLIST]
        return fold_in(self.model, self.encoded.folds, seeds, features)

    def complete(
        self,
        tracks: Sequence[str | tuple[str, str]],
        title: str | None = None,
        k: int = 10,
        exclude: Iterable[str | tuple[str, str]] = (),
    ) -> list[Recommendation]:
        """The k best tracks for a playlist, best first.

        Args:
            tracks: what :meth:`resolve` understands; tracks not found are left out.
            title: names genres to fall back on when no track is known.
            k: at least 1; fewer come back when the catalogue is exhausted.
            exclude: more tracks not to recommend, as in ``tracks``.

        Raises:
            InputError: k below 1, or more than 10,000 tracks.
        """
        if k < 1:
            raise InputError(f"k is {k}; ask for at least 1 recommendation")
        if len(tracks) > MAX_SEEDS:
            raise InputError(f"tracks has {len(tracks):,} entries; the limit is {MAX_SEEDS:,}")
        seeds, _ = self.resolve(tracks)
        hidden = Ragged.from_lists([np.union1d(seeds, self.resolve(exclude)[0])])
        k = min(k, len(self.ids))
        if not len(seeds):
            return self._fall_back(title, k, hidden)
        ragged = Ragged.from_lists([seeds])
        vectors, attention = self._fold(ragged)
        chosen, scores = top_k(self._score(vectors, ragged), hidden, k)
        chosen = chosen[0][chosen[0] != NOTHING]
        explanations = self._explain(seeds, attention, chosen)
        return [
            self._recommendation(row, float(score), explanation.reasons)
            for row, score, explanation in zip(
                chosen.tolist(), scores[0], explanations, strict=False
            )
        ]

    def explain(
        self, tracks: Sequence[str | tuple[str, str]], recommended: Sequence[str]
    ) -> list[Explanation]:
        """Why each of ``recommended`` (ids) suits a playlist of ``tracks``.

        Raises:
            InputError: no track of the playlist, or a recommended one, is not in the catalogue.
        """
        seeds, _ = self.resolve(tracks)
        if not len(seeds):
            raise InputError("none of the playlist's tracks is known; there is nothing to explain")
        chosen, unknown = self.resolve(recommended)
        if unknown:
            raise InputError(f"{unknown[0]!r} is not in the catalogue")
        _, attention = self._fold(Ragged.from_lists([seeds]))
        return self._explain(seeds, attention, chosen)

    def _explain(
        self, seeds: np.ndarray, attention: torch.Tensor, chosen: np.ndarray
    ) -> list[Explanation]:
        together = np.zeros((len(seeds), len(chosen)), np.float32)
        if self.items is not None:
            # Every seed alone, as the score adds them up.
            together = self.items[seeds][:, chosen].toarray() / np.sqrt(len(seeds))
        return self._explainer.explain(self.encoded, seeds, attention, chosen, together)

    def _recommendation(
        self, row: int, score: float, reasons: list[Reason], fallback: str | None = None
    ) -> Recommendation:
        return Recommendation(
            self.ids[row], self.names[row], self.artists[row], score, reasons, fallback
        )

    def _fall_back(self, title: str | None, k: int, hidden: Ragged) -> list[Recommendation]:
        """Popular tracks, of the title's genres first when it names any that the data has."""
        wanted = self._titles.ids(title)
        matching = self._explainer.tracks_of_genres(wanted)
        popularity = self.popularity.astype(np.float32)
        # Tracks of the title's genres stand before all others, each group by popularity.
        first = np.where(matching, popularity + popularity.max(initial=0) + 1, popularity)
        chosen = top_k(first[None], hidden, k)[0][0]
        found = []
        for row in chosen[chosen != NOTHING].tolist():
            fallback = "title" if matching[row] else "popularity"
            score = float(popularity[row])
            reason = self._explainer.popularity_reason(row, score, title if matching[row] else None)
            found.append(self._recommendation(row, score, [reason], fallback))
        return found
