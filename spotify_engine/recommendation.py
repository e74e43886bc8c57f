"""What every recommender answers with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reason:
    """One term of a score.

    Attributes:
        kind: which term; the terms of one recommendation sum to its score. Of a playlist: ``seed``,
            ``other_seeds`` (similar listening), ``item_item`` (often in playlists with), ``genre``
            (the track's artists and their genres), ``title`` (similarly named playlists) or
            ``popularity``. Of a session: one of ``sessions.mixture.TERMS``, or ``collaborative``
            and ``genre`` of a GAT.
        text: in words.
        contribution: the term, in the score's unit.
        attention: a seed's share of the playlist's attention, 0 to 1, mean over heads.
        track: id row of the seed, for ``seed``; None for a seed that the catalogue doesn't have.
        name: of the seed, for ``seed``.
    """

    kind: str
    text: str
    contribution: float
    attention: float | None = None
    track: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Recommendation:
    """One track or song that is recommended.

    Attributes:
        id: as in the input files, or ``key:...`` for a track that the features file doesn't have.
        score: of a playlist, ``p . t + bias`` and the item-item term, or with the fallback
            ``title`` a term for popularity; with ``title genres`` and ``popularity``, the number of
            training playlists. Of a session, the probability to be next; with ``popularity``, the
            number of training plays.
        reasons: their contributions sum to the score.
        fallback: None, or what stood in for the playlist's tracks:

            - ``artist``: no seed is in a training playlist; the seeds' artists (and audio) are
            - ``title``: nothing is known of the tracks; playlists with similar titles are
            - ``title genres``: the title is like no other, and popular within genres it names
            - ``popularity``: none of these, or of a session: neither its user nor a song is known

            or, in a session:

            - ``session``: the user is not known, the songs of the session are
            - ``history``: the user is new since training, plays that were recorded since are known
            - ``similar users``: the user's few plays are supplemented by those of similar users
            - ``new song``: nobody has played this song; it stands where its artist does
    """

    id: str
    name: str
    artist: str
    score: float
    reasons: list[Reason] = field(default_factory=list)
    fallback: str | None = None
