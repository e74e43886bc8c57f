"""Do the explanations name what moves the score?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from spotify_engine.arrays import Ids, Scores
from spotify_engine.evaluation.ranking import Figures, ScoreFunction
from spotify_engine.ragged import Ragged
from spotify_engine.watching import Watch, unwatched


def deletion_test(
    score: ScoreFunction,
    score_one: Callable[[Ragged, int], Scores],
    explain: Callable[[Ids, int], np.ndarray],
    playlists: Ragged,
    rng: np.random.Generator,
    remove: int = 3,
    sample: int = 200,
    watch: Watch = unwatched,
) -> Figures:
    """Remove the seeds an explanation ranks highest, and as many random ones, from the playlist.

    For each sampled playlist the best recommendation outside the playlist is explained. The
    explanation passes when dropping its top seeds moves that track's score more than dropping
    random ones (deletion test, DeYoung et al., ERASER, ACL 2020, "comprehensiveness").

    Args:
        score: float32 ``[playlists, tracks]`` from seeds.
        score_one: (seeds, track) to that track's scores ``[playlists]``.
        explain: (seeds int ``[n]``, track) to contributions ``[n]``.
        playlists: those with at least twice as many tracks as are removed are sampled.
        watch: is told of each playlist.

    Returns:
        ``passed`` (share, None if no playlist is long enough), ``playlists``, mean absolute change
        of the score for ``explained`` and ``random`` removals.
    """
    long_enough = np.flatnonzero(playlists.lengths >= 2 * remove)
    chosen = rng.permutation(long_enough)[:sample]
    moved = []
    for row in watch(chosen, "explanations tested", len(chosen)):
        seeds = playlists[row]
        scores = score(Ragged.from_lists([seeds]))[0]
        ranked = scores.copy()
        ranked[seeds] = -np.inf
        track = int(ranked.argmax())
        order = np.argsort(-explain(seeds, track), kind="stable")
        top, other = order[:remove], rng.choice(len(seeds), remove, replace=False)
        without = Ragged.from_lists([np.delete(seeds, top), np.delete(seeds, other)])
        moved.append(np.abs(score_one(without, track) - scores[track]))
    return summarised("playlists", remove, np.array(moved).reshape(-1, 2))


def summarised(of: str, removed: int, change: np.ndarray) -> Figures:
    """The summary of a deletion test.

    Args:
        of: what was sampled, in the plural.
        change: float ``[n, 2]``, absolute change of each score without what explains it most, and
            without something random.

    Returns:
        ``passed``, the share where the former moves it more (None if n is 0), n, and the means.
    """
    if not len(change):
        return {"passed": None, of: 0}
    return {
        "passed": float((change[:, 0] > change[:, 1]).mean()),
        of: len(change),
        "removed": removed,
        "mean_change_explained": float(change[:, 0].mean()),
        "mean_change_random": float(change[:, 1].mean()),
    }


def described(name: str, found: Mapping[str, float | None]) -> str:
    """A deletion test in a line."""
    if found["passed"] is None:
        return f"{name}: too little evidence to take any of it out"
    of = next(key for key in ("playlists", "plays", "users") if key in found)
    return (
        f"{name}: without its strongest explanation, a score moves by "
        f"{found['mean_change_explained']:.3g}, without something random by "
        f"{found['mean_change_random']:.3g}; more in {100 * found['passed']:.0f}% of "
        f"{found[of]:,} {of}"
    )
