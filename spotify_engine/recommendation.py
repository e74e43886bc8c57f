"""The answer of every recommender: recommended tracks, each with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LEAST_SHARE = 0.01  # of a score; what adds less is no reason for it
REST = "rest"
NOISE = 1e-6  # of the largest term: what sums of float32 differ by


@dataclass(frozen=True)
class Reason:
    """One term of a score.

    Attributes:
        kind: which term; the terms of one recommendation sum to its score. Of a playlist: ``seed``,
            ``other_seeds`` (similar listening), ``item_item`` (in playlists with), ``genre``
            (the track's artists and their genres), ``title`` (similarly named playlists) or
            ``popularity``. Of a session: one of ``sessions.mixture.TERMS``, or ``collaborative``
            and ``genre`` of a GAT. Of both: ``rest``, what is not said by the others.
        text: in words.
        contribution: the term, in the score's unit.
        attention: the seeds' share of the playlist's attention, 0 to 1, mean over heads.
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
            - ``popularity``: none of these, or in a session nothing that the model goes by is known

            or, in a session:

            - ``session``: no user is named or known, the songs of the session are
            - ``history``: the user is new since training, plays that were recorded since are known
            - ``similar users``: the user's few plays are supplemented by those of similar users
            - ``new song``: nobody has played this song; its artist and genres stand in
    """

    id: str
    name: str
    artist: str
    score: float
    reasons: list[Reason] = field(default_factory=list)
    fallback: str | None = None


def reasons_for(
    score: float, candidates: Sequence[Reason], attention: float | None = None
) -> list[Reason]:
    """Those that may be said of a score, in their order, and what then remains of it.

    What adds less than 1 % of the score, nothing, or takes away, is no reason: all of that is in
    the ``rest``, so that contributions sum to the score.

    Args:
        candidates: only such as hold.
        attention: of all of the score; the rest has what the reasons leave of it.
    """
    said = [
        each
        for each in candidates
        if each.contribution > 0 and each.contribution >= LEAST_SHARE * abs(score)
    ]
    rest = score - sum(each.contribution for each in said)
    largest = max([abs(score), *(each.contribution for each in said)])
    left = None
    if attention is not None:
        left = attention - sum(each.attention or 0.0 for each in said)
    if abs(rest) > NOISE * largest or (left or 0.0) > NOISE:
        said.append(Reason(REST, "Everything else together", rest, left))
    return said


def counted(count: int, one: str) -> str:
    """A number with its noun: 1 track, 2 tracks."""
    return f"{count:,} {one}{'s' * (count != 1)}"


def part_of(count: int, total: int, whose: str, one: str) -> str:
    """Some of somebody's: 2 of your 5 plays; your only play."""
    return f"{whose} only {one}" if total == 1 else f"{count:,} of {whose} {counted(total, one)}"


def written(value: float, sign: str = "") -> str:
    """Two decimals, or as many as it takes to show more than zeros; ``sign``: as in formats."""
    digits = 2
    while value and digits < 9 and float(f"{value:.{digits}f}") == 0:
        digits += 1
    return f"{value:{sign}.{digits}f}"
