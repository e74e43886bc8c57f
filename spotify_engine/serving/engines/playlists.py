"""Completes many playlists at once from one version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from torch import Tensor

from spotify_engine.catalogue import Catalogue
from spotify_engine.errors import InputError
from spotify_engine.learning.item_item import item_item_scores
from spotify_engine.playlists.model.graph import audio_matrix
from spotify_engine.playlists.recommend.explain import Seeds, TrackExplanation
from spotify_engine.playlists.recommend.lookup import Asked, ResolvedTracks, as_text
from spotify_engine.playlists.recommend.outcomes import Outcome, summary
from spotify_engine.playlists.recommend.recognising import entry_of
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.schema import AUDIO
from spotify_engine.playlists.second_stage.stage import CANDIDATES, LEAST_SEEDS
from spotify_engine.ragged import Ragged
from spotify_engine.reading.formats.reader import read_playlists
from spotify_engine.reading.formats.writer import file_name, write_playlist
from spotify_engine.serving.api.answers import (
    Answer,
    Described,
    EntryOut,
    Exported,
    Path,
    PlaylistExplanation,
    PlaylistOut,
    ReadAnswer,
    RecommendationOut,
    Seed,
    TrackRef,
    UnreadOut,
)
from spotify_engine.serving.api.requests import (
    MAX_TRACKS,
    CompleteRequest,
    ExportRequest,
    PlaylistInput,
    ReadRequest,
    Track,
    TrackName,
)
from spotify_engine.serving.engines.index import ApproximateIndex, ExactIndex, Index
from spotify_engine.serving.settings import EngineSettings
from spotify_engine.shares import is_even
from spotify_engine.store.cache import VectorCache
from spotify_engine.store.events import EventStore, StoreUnavailable

PATHS = 8  # of a recommendation: as many as a drawing can hold
MAX_UNREAD = 100  # lines that are named of those that hold no track
SAMPLES = 100  # playlists of one track that an approximate index is measured on


class Unusable(InputError):
    """A field of a request holds what can't be used.

    Attributes:
        field: which.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class _Ask:
    """A request, with what is known of it."""

    request: CompleteRequest
    learned: int
    recognised: list[EntryOut]
    unmatched: list[str]
    by_artist: list[str]
    hidden: np.ndarray
    seeds: Seeds | None


class PlaylistEngine:
    """Wraps a recommender for serving: answers what it would, in batches.

    Attributes:
        recall: of the index, against an exact one.
    """

    def __init__(
        self,
        recommender: PlaylistRecommender,
        version: str,
        settings: EngineSettings,
        events: EventStore,
        cache: VectorCache,
    ) -> None:
        self.recommender, self.version, self.settings = recommender, version, settings
        self.events, self.cache = events, cache
        self.catalogue = Catalogue(
            recommender.ids, recommender.names, recommender.artists, recommender.popularity
        )
        self._audio = audio_matrix(recommender.tables["tracks"])
        self.recogniser = recommender.recogniser(self.catalogue)
        self.recogniser.prepare()
        vectors = recommender.encoded.vectors.numpy()
        bias = recommender.encoded.bias.numpy()
        self.recall = 1.0
        self.index: Index
        if len(vectors) > settings.approximate_above:
            rows = np.linspace(0, len(vectors) - 1, SAMPLES).astype(np.int64)
            samples = recommender.playlist_vectors(Ragged.from_lists(rows[:, None]))
            self.index = ApproximateIndex(vectors, bias, samples)
            self.recall = self.index.recall
        else:
            self.index = ExactIndex(vectors, bias)

    def answer(self, requests: Sequence[CompleteRequest]) -> list[Answer | StoreUnavailable]:
        """Answer each, in order; one whose events can't be read fails without the others."""
        answers: dict[int, Answer | StoreUnavailable] = {}
        with_seeds: dict[int, _Ask] = {}
        for place, request in enumerate(requests):
            try:
                ask = self._ask(request)
            except StoreUnavailable as error:
                answers[place] = error
                continue
            if ask.seeds is None:
                answers[place] = self._by_fallback(ask)
            else:
                with_seeds[place] = ask
        if with_seeds:
            answers |= zip(with_seeds, self._by_seeds([*with_seeds.values()]), strict=True)
        return [answers[place] for place in range(len(requests))]

    def known(self, given: PlaylistInput) -> tuple[int, int]:
        """(tracks of the playlist that are known, all of them)."""
        tracks, _ = self._tracks(given)
        return len(self._resolve(tracks)[0]), len(tracks)

    def describe(self, row: int) -> Described:
        """The details of a track besides its name."""
        explainer = self.recommender.explainer
        return Described(
            genres=[explainer.genre_names[genre] for genre in explainer.genres_of(row)],
            popularity=int(self.recommender.popularity[row]),
            above=int(explainer.standing[row]),
            audio={
                column.name: round(float(column.low + value * (column.high - column.low)), 3)
                for column, value in zip(AUDIO, self._audio[row], strict=True)
                if not np.isnan(value)
            }
            or None,
        )

    def unknown(self, tracks: Sequence[str]) -> list[str]:
        """Those of which not even the artist is known."""
        return self._resolve(tracks)[0].unknown

    def read(self, request: ReadRequest) -> ReadAnswer:
        """The tracks in a text, and which of them are known.

        Raises:
            Unusable: it can't be read.
        """
        try:
            pasted = read_playlists(request.text, request.filename, MAX_TRACKS)
        except InputError as error:
            raise Unusable("text", str(error)) from error
        outcomes = self.recogniser.recognise(
            entry for playlist in pasted.playlists for entry in playlist.entries
        )
        each = iter(outcomes)
        return ReadAnswer(
            title=pasted.title,
            format=pasted.format,
            playlists=[
                PlaylistOut(
                    title=playlist.title,
                    entries=[self._entry(next(each)) for _ in playlist.entries],
                )
                for playlist in pasted.playlists
            ],
            unread=[UnreadOut(**line._asdict()) for line in pasted.unread[:MAX_UNREAD]],
            summary=summary(outcomes),
            pipeline="playlists",
            version=self.version,
        )

    def export(self, request: ExportRequest) -> Exported:
        """A playlist as a file for another program.

        Raises:
            Unusable: a track isn't in the catalogue, or nothing would be written.
        """
        tracks = []
        for place, given in enumerate(request.tracks):
            written = self.recommender.written(_asked(given))
            if written is None:
                said = f"no track of the catalogue has the id {given!r}; name it as Artist - Title"
                raise Unusable(f"tracks.{place}", said)
            tracks.append(written)
        try:
            text = write_playlist(tracks, request.title, request.format)
        except InputError as error:
            raise Unusable("format", str(error)) from error
        without = sum(each.uri is None for each in tracks) if request.format == "uris" else 0
        name = file_name(request.title, request.format)
        return Exported(text=text, filename=name, left_out=without)

    def _entry(self, outcome: Outcome) -> EntryOut:
        return EntryOut(
            text=outcome.entry.text,
            line=outcome.entry.line,
            how=outcome.how,
            score=outcome.score,
            track=self._ref(outcome.row),
            name=outcome.name,
            artist=outcome.artist,
            nearest=self._ref(outcome.nearest),
        )

    def _ref(self, row: int | None) -> TrackRef | None:
        if row is None:
            return None
        catalogue = self.catalogue
        return TrackRef(
            id=catalogue.ids[row], name=catalogue.names[row], artist=catalogue.artists[row]
        )

    def _ask(self, request: CompleteRequest) -> _Ask:
        tracks, learned = self._tracks(request)
        found, recognised = self._resolve(tracks)
        excluded, others = self._resolve([_asked(track) for track in request.exclude])
        return _Ask(
            request,
            learned,
            recognised=[*recognised, *others],
            unmatched=[*found.unknown, *excluded.unknown],
            by_artist=[each.asked for each in found.by_artist],
            hidden=np.union1d(found.rows, excluded.rows).astype(np.int64),
            seeds=self.recommender.seeds(found) if len(found) else None,
        )

    def _resolve(self, tracks: Sequence[Asked]) -> tuple[ResolvedTracks, list[EntryOut]]:
        """(what is found, also of what is written otherwise than its track; the latter, and how).

        What is found as it is written costs nothing more.
        """
        found = self.recommender.resolve(tracks)
        left = {*found.unknown, *(each.asked for each in found.by_artist)}
        if not left:
            return found, []
        places = [place for place, each in enumerate(tracks) if as_text(each) in left]
        outcomes = self.recogniser.recognise(entry_of(tracks[place], place + 1) for place in places)
        meant, recognised = list(tracks), dict[str, EntryOut]()
        for place, outcome in zip(places, outcomes, strict=True):
            if outcome.row is not None:
                meant[place] = self.recommender.ids[outcome.row]
                recognised.setdefault(outcome.entry.text, self._entry(outcome))
        if recognised:
            found = self.recommender.resolve(meant)
        return found, list(recognised.values())

    def _tracks(self, given: PlaylistInput) -> tuple[list[Asked], int]:
        """(the playlist's tracks, with those that were added since; how many of the latter)."""
        tracks = [_asked(track) for track in given.tracks]
        if given.playlist is None or not self.settings.events:
            return tracks, 0
        added = self.events.added(given.playlist, self.settings.events)
        return [*tracks, *(event.track for event in added)], len(added)

    def _by_fallback(self, ask: _Ask) -> Answer:
        k = min(ask.request.k, len(self.recommender.ids))
        hidden = Ragged.from_lists([ask.hidden])
        found = self.recommender.fallbacks.complete(ask.request.title, k, hidden)
        recommended = [self.recommender.recommendation(*each) for each in found]
        out = [
            RecommendationOut.of(each, self.recommender.ids, reasons=ask.request.explain)
            for each in recommended
        ]
        if ask.request.explain:
            for each, (row, *_) in zip(out, found, strict=True):
                _fill(each, self.describe(row))
        return self._answer(ask, recommended[0].fallback if recommended else "popularity", out)

    def _by_seeds(self, asks: Sequence[_Ask]) -> list[Answer]:
        recommender = self.recommender
        seeds = [ask.seeds for ask in asks if ask.seeds is not None]
        vectors, attention = self._vectors(asks, seeds)
        added: sparse.csr_array | None = None
        if recommender.items is not None:
            known = Ragged.from_lists([each.known for each in seeds])
            added = item_item_scores(recommender.items, known)
        second = recommender.second
        least = 0 if second is None else CANDIDATES
        found = self.index.search(
            vectors,
            added,
            [ask.hidden for ask in asks],
            [max(ask.request.k, least) for ask in asks],
        )
        if second is not None:
            found = [
                second.best(each.known, *first, ask.request.k)
                if len(each.known) >= LEAST_SEEDS
                else (first[0][: ask.request.k], first[1][: ask.request.k])
                for ask, each, first in zip(asks, seeds, found, strict=True)
            ]
        answers = []
        for i, (ask, (rows, scores)) in enumerate(zip(asks, found, strict=True)):
            explained: list[TrackExplanation] | None = None
            if ask.request.explain:
                explained = recommender.explain_seeds(seeds[i], attention[i], rows)
            recommended = []
            for place, (row, score) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True)):
                reasons = explained[place].reasons if explained else []
                each = recommender.recommendation(row, score, reasons, seeds[i].fallback)
                out = RecommendationOut.of(each, recommender.ids)
                if explained:
                    out.explanation = _explanation(explained[place])
                    _fill(out, self.describe(row))
                recommended.append(out)
            answer = self._answer(ask, seeds[i].fallback, recommended)
            if ask.request.explain:
                weights = attention[i].mean(1).numpy()
                if explained:  # each recommendation may attend otherwise
                    weights = np.mean([each.attention for each in explained], axis=0)
                self._say_seeds(answer, seeds[i], weights)
            answers.append(answer)
        return answers

    def _vectors(
        self, asks: Sequence[_Ask], seeds: Sequence[Seeds]
    ) -> tuple[np.ndarray, dict[int, Tensor]]:
        """(p ``[asks, width]``, the attention of those that want to be explained)."""
        keys = [self._key(each) for each in seeds]
        cached = self.cache.get(keys)
        width = self.recommender.encoded.vectors.shape[1]
        vectors = np.zeros((len(seeds), width), np.float32)
        wanted = []
        for i, (ask, vector) in enumerate(zip(asks, cached, strict=True)):
            # An attention isn't cached: explaining computes both.
            if vector is None or len(vector) != width or ask.request.explain:
                wanted.append(i)
            else:
                vectors[i] = vector
        attention = {}
        if wanted:
            computed, each = self.recommender.fold([seeds[i] for i in wanted])
            vectors[wanted] = computed.numpy()
            attention = dict(zip(wanted, each, strict=True))
            self.cache.put({keys[i]: vectors[i] for i in wanted})
        return vectors, attention

    def _key(self, seeds: Seeds) -> bytes:
        digest = hashlib.blake2b(self.version.encode(), digest_size=16)
        digest.update(seeds.rows.astype("<i8").tobytes())
        # What stands in for a track that the catalogue doesn't have depends on its name as well.
        for row, artist, name in zip(seeds.rows, seeds.artists, seeds.names, strict=True):
            if row < 0:
                digest.update(f"\0{artist}\0{name}".encode())
        return digest.digest()

    def _answer(
        self, ask: _Ask, fallback: str | None, recommended: list[RecommendationOut]
    ) -> Answer:
        return Answer(
            pipeline="playlists",
            version=self.version,
            fallback=fallback,
            recommendations=recommended,
            unmatched=ask.unmatched,
            by_artist=ask.by_artist,
            recognised=ask.recognised,
            learned=ask.learned,
        )

    def _say_seeds(self, answer: Answer, seeds: Seeds, attention: np.ndarray) -> None:
        explainer = self.recommender.explainer
        answer.even_attention = is_even(attention)
        answer.seeds = [
            Seed(
                id=self.recommender.ids[row] if row >= 0 else None,
                name=name,
                artist=explainer.artist_names[artist],
                attention=weight,
                **(dict(self.describe(row)) if row >= 0 else {}),
            )
            for row, name, artist, weight in zip(
                seeds.rows.tolist(),
                seeds.names,
                seeds.artists.tolist(),
                attention.tolist(),
                strict=True,
            )
        ]
        shares = explainer.genre_shares(seeds)
        order = np.argsort(-shares, kind="stable")
        answer.genres = {
            explainer.genre_names[i]: float(shares[i]) for i in order[: np.count_nonzero(shares)]
        }


def _asked(track: Track) -> Asked:
    return (track.artist, track.name) if isinstance(track, TrackName) else track


def _fill(out: RecommendationOut, known: Described) -> None:
    for name, value in known:
        setattr(out, name, value)


def _explanation(each: TrackExplanation) -> PlaylistExplanation:
    return PlaylistExplanation(
        seeds=each.seeds.tolist(),
        bias=each.bias,
        attention=each.attention.tolist(),
        parts=each.parts,
        influence=each.influence,
        matched_genres=dict(zip(each.matched_genres, each.affinity, strict=True)),
        paths=[
            Path(
                seed=seed,
                listening=float(each.through["track"][seed] + each.through["playlists"][seed]),
                artists=float(each.through["artists"][seed]),
                item_item=float(each.through["item_item"][seed]),
                second_stage=float(each.through["second_stage"][seed])
                if "second_stage" in each.through
                else 0.0,
            )
            for seed in np.argsort(-np.abs(each.seeds), kind="stable")[:PATHS].tolist()
        ],
        text=each.text,
    )
