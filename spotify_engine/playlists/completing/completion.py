"""A playlist completed for a person to read: table, texts and heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from spotify_engine.errors import InputError
from spotify_engine.names import normalise
from spotify_engine.playlists.completing.heatmap import plot_attention
from spotify_engine.playlists.recommend.explain import TrackExplanation
from spotify_engine.playlists.recommend.lookup import Asked, ResolvedTracks
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.recommendation import REST, Recommendation, counted

FALLBACKS = {
    "artist": "no track is in a training playlist; by what is known of their artists and sound",
    "title": "no track is known; by playlists with similar titles",
    "title genres": "no track is known; popular tracks of the genres that the title names",
    "popularity": "neither tracks nor title say anything; popular tracks",
}


class Record(TypedDict):
    """A recommendation in plain values; ``reasons`` are texts, the strongest first."""

    rank: int
    id: str
    name: str
    artist: str
    score: float
    fallback: str | None
    reasons: list[str]


@dataclass(frozen=True)
class Completion:
    """Recommendations for one playlist, and what was found of it.

    Attributes:
        tracks: as asked for.
        found: of them.
    """

    recommender: PlaylistRecommender
    tracks: Sequence[Asked]
    title: str | None
    found: ResolvedTracks
    recommended: list[Recommendation]

    @cached_property
    def explanations(self) -> list[TrackExplanation]:
        """One each; none where nothing is known of the tracks."""
        if not len(self.found):
            return []
        return self.recommender.explain(self.tracks, [each.id for each in self.recommended])

    def table(self) -> Table:
        """The recommended tracks as a table to print."""
        known, by_artist = len(self.found.rows), len(self.found.by_artist)
        tracks = counted(known, "known track") + f", {by_artist} known by artist" * bool(by_artist)
        # Titles and names may hold what rich would read as markup.
        title = Text(f"{self.title or 'New playlist'}: {tracks}")
        table = Table(title=title, caption=self._said_of_fallbacks(), expand=True)
        for column in ("#", "track", "artist", "score", "because"):
            table.add_column(column, justify="right" if column in "#score" else "left")
        because = [self._in_short(each) for each in self.explanations] or [
            f"[{each.fallback}] {each.reasons[0] if each.reasons else 'no playlist holds it'}"
            for each in self.recommended
        ]
        for number, (each, why) in enumerate(zip(self.recommended, because, strict=True), start=1):
            cells = (str(number), each.name, each.artist, f"{each.score:.2f}", why)
            table.add_row(*(Text(cell) for cell in cells))
        return table

    def records(self) -> list[Record]:
        """Plain values, a recommendation each; ``reasons`` are texts, the strongest first."""
        explained = [each.reasons for each in self.explanations]
        reasons = explained or [each.reasons for each in self.recommended]
        return [
            {
                "rank": rank,
                "id": each.id,
                "name": each.name,
                "artist": each.artist,
                "score": each.score,
                "fallback": each.fallback,
                "reasons": [str(reason) for reason in why],
            }
            for rank, (each, why) in enumerate(zip(self.recommended, reasons, strict=True), start=1)
        ]

    def remarks(self) -> list[str]:
        """The tracks asked for that are unknown or only partly known, a line each."""
        artists, names = self.recommender.tables["artists"]["name"], self.recommender.names
        heard = self.recommender.popularity
        unheard = [names[row] for row in self.found.rows if not heard[row]]
        some = ", ".join(unheard[:3]) + ", ..." * (len(unheard) > 3)
        in_part = f"in no training playlist, known by artist and sound: {len(unheard)} ({some})"
        return [
            *([in_part] if unheard else []),
            *(
                f"not in the catalogue, its artist {artists[each.artist]} stands in: {each.asked}"
                for each in self.found.by_artist
            ),
            *(f"not in the catalogue: {text}" for text in self.found.unknown),
        ]

    def _said_of_fallbacks(self) -> Text | None:
        """Which fallbacks answered, in words."""
        used = dict.fromkeys(each.fallback for each in self.recommended if each.fallback)
        return Text("; ".join(f"{name}: {FALLBACKS[name]}" for name in used)) if used else None

    def _in_short(self, explanation: TrackExplanation) -> str:
        """The strongest seed and shared genre, for a line of a table."""
        seeds = [each.name for each in explanation.reasons if each.name is not None]
        parts = [f'like "{seeds[0]}"'] if seeds else []
        if explanation.matched_genres:
            parts.append(explanation.matched_genres[0])
        if parts or explanation.reasons[0].kind == REST:
            return "; ".join(parts) or "no reason in particular"
        return str(explanation.reasons[0])

    def texts(self) -> list[str]:
        """Each recommendation explained in the words of similar listening, genre, popularity."""
        if self.explanations:
            return [explanation.text for explanation in self.explanations]
        return [
            "\n   - ".join(
                [
                    f'Recommending "{each.name}" by {each.artist} because:',
                    *(map(str, each.reasons) if each.reasons else ["no playlist holds it"]),
                ]
            )
            for each in self.recommended
        ]

    def plot(self, path: Path) -> None:
        """Write the attention heatmap as PNG.

        Raises:
            InputError: a fallback answered, so nothing was attended; or the path can't be written.
        """
        if not self.explanations:
            raise InputError(f"{path}: no track of the playlist is known, so there is no attention")
        names = [self.recommender.names[row] for row in self.found.rows]
        names += [f"({each.name})" for each in self.found.by_artist]
        labels = [f"{each.artist} - {each.name}" for each in self.recommended]
        try:
            plot_attention(self.explanations, names, labels, path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: can't be written ({error})") from error


def complete_playlist(
    recommender: PlaylistRecommender, tracks: Sequence[Asked], title: str | None, k: int
) -> Completion:
    """Complete a playlist given by ids or ``Artist - Title`` texts."""
    recommended = recommender.complete(tracks, title=title, k=k)
    return Completion(recommender, tracks, title, recommender.resolve(tracks), recommended)


def find_playlist(run: Path, wanted: str) -> tuple[list[str], str]:
    """Track ids and name of a run's playlist, by number or by name.

    A name that several playlists share means the longest of them.

    Raises:
        InputError: there is no such playlist; names some that are alike.
    """
    path = run / "tables" / "playlists.parquet"
    if not path.exists():
        raise InputError(f"{path}: not there; give --run the directory of a finished run")
    playlists = pq.read_table(path)
    names: list[str] = playlists["name"].to_pylist()
    if wanted.isdecimal() and int(wanted) < len(names):
        row = int(wanted)
    else:
        asked, spelled = normalise(wanted), [normalise(name) for name in names]
        same = [i for i, name in enumerate(spelled) if name == asked]
        if not same:
            alike = [names[i] for i, name in enumerate(spelled) if asked in name][:5]
            hint = f"alike: {', '.join(map(repr, alike))}" if alike else f"0 to {len(names) - 1}"
            raise InputError(f"no playlist {wanted!r} in {run}; give a name or a number ({hint})")
        lengths = playlists["n_tracks"].to_pylist()
        row = max(same, key=lambda i: lengths[i])
    pairs = pq.read_table(
        run / "tables" / "playlist_tracks.parquet", filters=pc.field("playlist") == row
    )
    ids = pq.read_table(run / "tables" / "tracks.parquet", columns=["id"])["id"]
    return ids.take(pairs["track"]).to_pylist(), names[row]


def judgeable_playlist(run: Path) -> int:
    """The number of a playlist by which most readers can judge a completion.

    Its title names a genre, and its tracks' names are in Latin letters.
    """

    def column(table: str, name: str) -> list[Any]:
        found = pq.read_table(run / "tables" / f"{table}.parquet", columns=[name])
        return found[name].to_pylist()

    names, genres = column("tracks", "name"), column("genres", "name")
    legible: dict[int, list[bool]] = {}
    for playlist, track in zip(
        column("playlist_tracks", "playlist"), column("playlist_tracks", "track"), strict=True
    ):
        legible.setdefault(playlist, []).append(names[track].isascii())

    def worth(playlist: int) -> tuple[bool, float]:
        title, tracks = (titles[playlist] or "").lower(), legible.get(playlist, [])
        named = any(genre in title for genre in genres) and 8 <= len(tracks) <= 20
        return named, sum(tracks) / max(len(tracks), 1)

    titles = column("playlists", "name")
    return max(range(len(titles)), key=worth)
