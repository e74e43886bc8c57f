"""Completes playlists from a bundle, with reasons that add up to the score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy import sparse

from spotify_engine.arrays import Ids, Scores
from spotify_engine.catalogue import Catalogue
from spotify_engine.errors import InputError
from spotify_engine.learning.attention import Projected
from spotify_engine.learning.item_item import add_item_item_scores, playlists_with_both
from spotify_engine.playlists.model.encoding import (
    EncodedTracks,
    encode_with_stand_ins,
    fold_in,
    score_tracks,
)
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import AudioScale, audio_matrix, playlist_features
from spotify_engine.playlists.recommend import bundling
from spotify_engine.playlists.recommend.explain import Explainer, Seeds, TrackExplanation
from spotify_engine.playlists.recommend.fallbacks import Fallbacks, best_of
from spotify_engine.playlists.recommend.lookup import Asked, Lookup, ResolvedTracks, readings
from spotify_engine.playlists.recommend.recognising import Recogniser
from spotify_engine.playlists.recommend.stand_ins import StandIns
from spotify_engine.playlists.recommend.titles import TitleModel
from spotify_engine.playlists.schema import PLAYLIST, TRACK
from spotify_engine.playlists.second_stage.counts import PairCounts
from spotify_engine.playlists.second_stage.features import Question, TrackFeatures
from spotify_engine.playlists.second_stage.stage import LEAST_SEEDS, SecondStage
from spotify_engine.playlists.tables.genre_vocabulary import TitleGenres, load_vocabulary
from spotify_engine.ragged import Ragged
from spotify_engine.reading.formats.writer import Written
from spotify_engine.recommendation import Reason, Recommendation
from spotify_engine.store.bundle import fitting_parts, open_bundle
from spotify_engine.track_ids import is_spotify_id, track_id

MAX_SEEDS = 10_000


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
        popularity: Ids,
        items: sparse.csr_array | None = None,
        stand_ins: StandIns | None = None,
        titles: TitleModel | None = None,
        together: sparse.csr_array | None = None,
        second: SecondStage | None = None,
    ) -> None:
        """Put a trained network together with what it recommends from.

        Args:
            tables: as ``schema.TABLES``, those of ``bundling.BUNDLED_TABLES``.
            popularity: int ``[tracks]``, training playlists that hold each track.
            items: float32 ``[seed, track]``, weights of the item-item term; None: there is none.
            stand_ins: None: a track that isn't in the catalogue is unknown, whoever made it.
            titles: None: of a title, only the genres that it names count.
            together: int32, for each weight of ``items`` the training playlists that hold both;
                None: not counted, so that the item-item term gives no reasons.
            second: scores anew what the model and ``items`` find; None: they are best alone.
        """
        self.items, self.stand_ins, self.together = items, stand_ins, together
        self.second = second
        self._train: Ragged | None = None
        self.model, self.encoded, self.scale = model, encoded, scale
        self.tables = {name: tables[name] for name in bundling.BUNDLED_TABLES}
        self.popularity = popularity
        tracks = self.tables["tracks"]
        self.audio = None if scale is None else scale.apply(audio_matrix(tracks))
        self.ids: list[str] = tracks["id"].to_pylist()
        self.names: list[str] = tracks["name"].to_pylist()
        self.artists: list[str] = tracks["artist_name"].to_pylist()
        self.lookup = Lookup(tracks, self.tables["artists"], self._heard_artists())
        self.explainer = Explainer(self.tables, self.names, self.artists, popularity)
        genres = TitleGenres(self.tables["genres"]["name"].to_pylist(), load_vocabulary())
        self.fallbacks = Fallbacks(encoded, popularity, titles, genres, self.explainer)

    def _heard_artists(self) -> np.ndarray:
        """Bool ``[artists]``: whose vector has learned from a training playlist, and stands in."""
        heard = np.zeros(len(self.tables["artists"]), bool)
        if self.stand_ins is not None:
            by = self.tables["track_artists"]
            in_training = self.popularity[by["track"].to_numpy()] > 0
            heard[by["artist"].to_numpy()[in_training]] = True
        return heard

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
        unknown = np.zeros((1, 0), np.float32) if scale is None else scale.unknown
        encoded, values = encode_with_stand_ins(model, data, unknown)
        stand_ins = StandIns.of(model, values)
        made = cls(model, encoded, tables, scale, popularity, None, stand_ins)
        made._train = train
        return made.with_items(items)

    def with_items(self, items: sparse.csr_array | None) -> Self:
        """The same model with another item-item term, or without one; without second stage."""
        other = self.with_second_stage(None)
        other.items, other.together = items, None
        if items is not None and self._train is not None:
            other.together = playlists_with_both(self._train, items)
        return other

    def with_second_stage(self, second: SecondStage | None) -> Self:
        """The same model and item-item term with a second stage, or without one."""
        other = copy(self)
        other.second = second
        return other

    def track_features(self, pairs: PairCounts) -> TrackFeatures:
        """What a second stage goes by, with what was counted of pairs of tracks."""
        vectors, artist = self.encoded.vectors.numpy(), self.explainer.first_artist
        album, year = (self.tables["tracks"][name] for name in ("album", "year"))
        return TrackFeatures(
            pairs,
            self.popularity,
            vectors,
            artist,
            self.audio,
            None if album.null_count == len(album) else pc.fill_null(album, -1).to_numpy(),
            None if year.null_count == len(year) else year.to_numpy(),
        )

    def with_titles(self, titles: TitleModel | None) -> Self:
        """The same model, knowing training playlists by these titles, or by none."""
        other = copy(self)
        other.fallbacks = replace(self.fallbacks, titles=titles)
        return other

    def save(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Write a bundle; ``manifest`` brings config, data fingerprint and metrics."""
        parts = bundling.Parts(
            self.model, self.encoded, self.tables, self.scale, self.popularity,
            self.items, self.stand_ins, self.fallbacks.titles, self.together, self.second,
        )  # fmt: skip
        bundling.save(parts, folder, manifest)

    @classmethod
    def load(cls, bundle: Path | str) -> Self:
        """Open a bundle.

        Raises:
            InputError: it is damaged, of another pipeline or release; names the file.
        """
        with fitting_parts(bundle):
            opened = open_bundle(bundle, bundling.PIPELINE)
            found = cls(*bundling.load(opened))
            arrays, shape = bundling.second_stage(opened)
            if shape is None:
                return found
            pairs = PairCounts.of_arrays(arrays)
            second = SecondStage.of_arrays(arrays, shape, found.track_features(pairs))
            return found.with_second_stage(second)

    def recogniser(self, catalogue: Catalogue | None = None) -> Recogniser:
        """Tells which tracks people mean by what they wrote."""
        return Recogniser(
            self.lookup, self.ids, self.names, self.artists, self.popularity, catalogue
        )

    def written(self, track: Asked) -> Written | None:
        """A track as it goes into a file; None: it is neither of the catalogue nor named."""
        row = self.lookup.by_id(track) if isinstance(track, str) else None
        if row is None:
            read = readings(track)
            found = [self.lookup.by_name(each.artist, each.name) for each in read]
            row = next((each for each in found if each is not None), None)
            if row is None and read:
                return Written(None, read[0].name.strip(), read[0].artist.strip())
        if row is not None:
            return Written(self.ids[row], self.names[row], self.artists[row])
        assert isinstance(track, str)
        bare = track_id(track)
        return Written(bare) if is_spotify_id(bare) else None

    def resolve(self, tracks: Iterable[Asked]) -> ResolvedTracks:
        """Find tracks by id, by (artist, name), or by a text like ``Artist - Title``.

        Tells those of the catalogue, those of which only the artist is known, and unknown ones
        apart.
        """
        return self.lookup.resolve(tracks)

    def score(self, seeds: Ragged) -> Scores:
        """Scores of all tracks from seeds alone, float32 ``[playlists, tracks]``.

        Seeds are in order, the last one last. With a second stage, tracks that are no candidate of
        it come after those that are.
        """
        scores = self._score(self._fold(seeds)[0], seeds)
        if self.second is not None:
            self.second.over_all(scores, seeds)
        return scores

    def score_one(self, seeds: Ragged, track: int) -> Scores:
        """A track's score in each of some playlists, whether it is a candidate there or not."""
        found = self._score(self._fold(seeds)[0], seeds)[:, track].copy()
        asked = np.flatnonzero(seeds.lengths >= LEAST_SEEDS)
        if self.second is not None and len(asked):
            chosen = np.array([track])
            questions = [
                Question(seeds[row].astype(np.int64), chosen, found[[row]])
                for row in asked.tolist()
            ]
            found[asked] = np.concatenate(self.second.scores(questions))
        return found

    def playlist_vectors(self, seeds: Ragged) -> np.ndarray:
        """p of each playlist, float32 ``[playlists, out]``."""
        return self._fold(seeds)[0].numpy()

    def score_by_artist(self, seeds: Ragged) -> Scores:
        """Scores as :meth:`score` gives them, had the seeds' first artists been all that is known.

        Raises:
            ValueError: the model has no artists.
        """
        if self.stand_ins is None:
            raise ValueError("a model without artists can't score by artist")
        tracks, local = np.unique(seeds.values, return_inverse=True)
        artists = self.explainer.first_artist[tracks]
        folds = self.stand_ins.folds(artists, [self.ids[track] for track in tracks])
        lists = Ragged(seeds.offsets, local)
        audio = None if self.scale is None else self.scale.unknown.repeat(len(tracks), axis=0)
        vectors, _ = fold_in(self.model, folds, lists, playlist_features(lists, audio))
        return score_tracks(vectors, self.encoded)

    def _score(self, vectors: torch.Tensor, seeds: Ragged) -> Scores:
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
        tracks: Sequence[Asked],
        title: str | None = None,
        k: int = 10,
        exclude: Iterable[Asked] = (),
    ) -> list[Recommendation]:
        """The k best tracks for a playlist, best first.

        Args:
            tracks: what :meth:`resolve` understands. One that isn't found is replaced by its
                artist, or left out when the artist isn't found either.
            title: what is fallen back on when that leaves no track.
            k: at least 1; fewer come back when the catalogue is exhausted.
            exclude: more tracks not to recommend, as in ``tracks``.

        Raises:
            InputError: k below 1, or more than 10,000 tracks.
        """
        if k < 1:
            raise InputError(f"k is {k}; ask for at least 1 recommendation")
        if len(tracks) > MAX_SEEDS:
            raise InputError(f"tracks has {len(tracks):,} entries; the limit is {MAX_SEEDS:,}")
        found = self.resolve(tracks)
        hidden = Ragged.from_lists([np.union1d(found.rows, self.resolve(exclude).rows)])
        k = min(k, len(self.ids))
        if not len(found):
            return [
                self.recommendation(*each) for each in self.fallbacks.complete(title, k, hidden)
            ]
        seeds = self.seeds(found)
        vectors, attention = self.fold([seeds])
        known = Ragged.from_lists([seeds.known])
        scores = self._score(vectors, known)
        if self.second is not None:
            self.second.over_all(scores, known, hidden)
        chosen, best = best_of(scores, hidden, k)
        explained = self.explain_seeds(seeds, attention[0], np.array(chosen))
        return [
            self.recommendation(row, score, explanation.reasons, seeds.fallback)
            for row, score, explanation in zip(chosen, best, explained, strict=True)
        ]

    def explain(
        self, tracks: Sequence[Asked], recommended: Sequence[str]
    ) -> list[TrackExplanation]:
        """Why each of ``recommended`` (ids) suits a playlist of ``tracks``.

        Raises:
            InputError: nothing is known of the playlist's tracks, or a recommended one is not in
                the catalogue.
        """
        found = self.resolve(tracks)
        if not len(found):
            raise InputError("none of the playlist's tracks is known; there is nothing to explain")
        chosen = self.resolve(recommended)
        if chosen.by_artist or chosen.unknown:
            missing = [*(each.asked for each in chosen.by_artist), *chosen.unknown]
            raise InputError(f"{missing[0]!r} is not in the catalogue")
        seeds = self.seeds(found)
        _, attention = self.fold([seeds])
        return self.explain_seeds(seeds, attention[0], chosen.rows)

    def seeds(self, found: ResolvedTracks) -> Seeds:
        """The seeds that a playlist is completed from; at least one track must be found."""
        rows, others = found.rows, found.by_artist
        folds = [Projected(each.values[rows], each.keys[rows]) for each in self.encoded.folds]
        if others:
            assert self.stand_ins is not None
            artists = np.array([each.artist for each in others])
            new = self.stand_ins.folds(artists, [each.key for each in others])
            folds = [
                Projected(*(torch.cat(pair) for pair in zip(known, added, strict=True)))
                for known, added in zip(folds, new, strict=True)
            ]
        return Seeds(
            rows=np.append(rows, np.full(len(others), -1)),
            names=[*(self.names[row] for row in rows), *(each.name for each in others)],
            artists=np.append(
                self.explainer.first_artist[rows], [each.artist for each in others]
            ).astype(np.int64),
            approximated=np.append(self.popularity[rows] == 0, np.ones(len(others), bool)),
            folds=folds,
        )

    def fold(self, playlists: Sequence[Seeds]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Vectors of playlists, all at once.

        Returns:
            (p ``[playlists, out]`` of length 1; of each playlist, the last layer's attention
            ``[seeds, heads]``)
        """
        lengths = [len(each) for each in playlists]
        audio = None
        if self.audio is not None and self.scale is not None:
            new = self.scale.unknown
            audio = np.concatenate(
                [
                    part
                    for each, length in zip(playlists, lengths, strict=True)
                    for part in (
                        self.audio[each.known],
                        new.repeat(length - len(each.known), axis=0),
                    )
                ]
            )
        folds = [
            Projected(*(torch.cat(part) for part in zip(*layer, strict=True)))
            for layer in zip(*(each.folds for each in playlists), strict=True)
        ]
        whole = Ragged(np.cumsum([0, *lengths]), np.arange(sum(lengths)))
        vectors, attention = fold_in(self.model, folds, whole, playlist_features(whole, audio))
        return vectors, list(attention.split(lengths))

    def explain_seeds(
        self, seeds: Seeds, attention: torch.Tensor, chosen: Ids
    ) -> list[TrackExplanation]:
        """Why each of ``chosen`` (rows) suits a playlist, from :meth:`fold`'s attention."""
        together = np.zeros((len(seeds), len(chosen)), np.float32)
        playlists = np.zeros((len(seeds), len(chosen)), np.int32)
        if self.items is not None and len(seeds.known):
            # Every seed alone, as the score adds them up.
            share = self.items[seeds.known][:, chosen].toarray() / np.sqrt(len(seeds.known))
            together[seeds.rows >= 0] = share
            if self.together is not None:
                playlists[seeds.rows >= 0] = self.together[seeds.known][:, chosen].toarray()
        shares = None
        if self.second is not None and len(seeds.known) >= LEAST_SEEDS and len(chosen):
            shares = self.second.shares(seeds.known, np.asarray(chosen))
        return self.explainer.explain(
            self.encoded, seeds, attention, chosen, together, playlists, shares
        )

    def recommendation(
        self, row: int, score: float, reasons: list[Reason], fallback: str | None
    ) -> Recommendation:
        """A row of the catalogue as it is answered."""
        return Recommendation(
            self.ids[row], self.names[row], self.artists[row], score, reasons, fallback
        )
