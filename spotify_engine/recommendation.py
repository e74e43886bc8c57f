"""What every recommender answers with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reason:
    """One term of a score.

    Attributes:
        kind: which term. Of a playlist: ``seed``, ``other_seeds`` (similar listening),
            ``item_item`` (often in playlists with), ``genre`` (the track's artists and their
            genres) or ``popularity``. Of a session: one of ``sessions.mixture.TERMS``, or
            ``collaborative`` and ``genre`` of a GAT. The terms sum to the score.
        text: in words.
        contribution: the term, in the score's unit.
        attention: a seed's share of the playlist's attention, 0 to 1, mean over heads.
        track: id row of the seed, for ``seed``.
    """

    kind: str
    text: str
    contribution: float
    attention: float | None = None
    track: int | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Recommendation:
    """One track or song that is recommended.

    Attributes:
        id: as in the input files, or ``key:...`` for a track that the features file doesn't have.
        score: higher is better. Of a playlist: ``p . t + bias`` and the item-item term; of a
            session: the probability to be next. With a fallback on popularity: the plays or
            playlists in training.
        reasons: their contributions sum to the score, unless there is a fallback.
        fallback: None, or what stood in for what was not known: ``title`` (popular within the
            genres that a playlist's title names), ``popularity``, ``session`` (the user is not
            known), ``similar users`` (the user's few plays were supplemented by theirs) or
            ``new song`` (nobody has played it: it stands where its artist does).
    """

    id: str
    name: str
    artist: str
    score: float
    reasons: list[Reason] = field(default_factory=list)
    fallback: str | None = None
