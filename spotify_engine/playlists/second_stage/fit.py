"""Fitting the second stage on what the first has not seen, and choosing whether it helps.

The first stage and the counts of pairs know each playlist's training part alone, so what was held
out for validation is new to them, as what people add next will be: the head learns to rank it on
most playlists, and is chosen by the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.arrays import Ids
from spotify_engine.evaluation.ranking import (
    NOTHING,
    ScoreFunction,
    per_playlist_metrics,
    ranking_metrics,
    top_k,
)
from spotify_engine.evaluation.splits import Split
from spotify_engine.learning.edge_attention import EdgeAttention, Edges, next_loss
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.second_stage.features import (
    Question,
    TrackFeatures,
    batch_of,
)
from spotify_engine.playlists.second_stage.stage import (
    CANDIDATES,
    LEAST_SEEDS,
    HeadShape,
    SecondStage,
    batches,
    new_head,
    question_of,
)
from spotify_engine.ragged import Ragged
from spotify_engine.watching import Watch, unwatched

LISTS_AT_ONCE = 128  # whose first-stage scores are in memory
K = 10
MOST_TO_CHOOSE_BY = 500  # playlists
SEEDS_TO_CHOOSE_BY = 100  # the last ones of each: their edges stay in memory
TOO_FEW = 40  # playlists with something held out


class SecondStageConfig(BaseModel):
    """The second stage; whether it is used is chosen on validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heads: int = Field(4, ge=0, le=64)
    """Of attention; 0 leaves the second stage out."""
    hidden: int = Field(16, ge=1, le=1024)
    """Width of what attention is read from."""
    neighbours: int = Field(100, ge=1, le=10_000)
    """Tracks that each track is remembered together with, beside those that came soon after."""
    epochs: int = Field(10, ge=1)
    learning_rate: float = Field(0.02, gt=0, le=1)
    """Of Adam; falls to a twentieth, linearly."""
    playlists: int = Field(4000, ge=2)
    """Playlists to learn from and choose by, at most; a fifth of them, 500 at most, are for
    choosing."""
    learn_candidates: int = Field(60, ge=1)
    """Of each playlist to learn from: half of them the first stage's best, half drawn."""
    learn_seeds: int = Field(50, ge=1)
    """Of each playlist to learn from, the last ones."""
    seed: int = Field(0, ge=0)


class Fitted(TypedDict):
    """What came of it: recall and NDCG at 10 on the playlists that it was chosen by."""

    used: bool
    why: str
    learned_from: int
    chosen_by: int
    first_stage: dict[str, float] | None
    epochs: list[dict[str, float]]
    candidates_hold: float | None
    """Share of what was held out that is among the candidates: what can be found at most."""


@dataclass(frozen=True)
class _Part:
    """Questions of some playlists.

    Attributes:
        truth: what was held out.
        hits: for each question, bool ``[candidates]``.
        first: int ``[playlists, 10]``, the first stage's lists.
    """

    questions: list[Question]
    truth: Ragged
    hits: list[np.ndarray]
    first: np.ndarray


def lists_to_choose_by(split: Split, config: SecondStageConfig) -> tuple[Ids, Ids]:
    """(playlists to learn from, playlists to choose by), int64, ascending."""
    held = np.flatnonzero((split.val.lengths > 0) & (split.train.lengths >= LEAST_SEEDS))
    drawn = np.random.default_rng(config.seed).permutation(held)[: config.playlists]
    choose = min(len(drawn) // 5, MOST_TO_CHOOSE_BY)
    return np.sort(drawn[choose:]), np.sort(drawn[:choose])


def fit_second_stage(
    score: ScoreFunction,
    tracks: TrackFeatures,
    split: Split,
    config: SecondStageConfig,
    watch: Watch = unwatched,
) -> tuple[SecondStage | None, Fitted]:
    """Learn a head, and keep it if it ranks better than the first stage does.

    Better: by more than two standard errors of the mean of (recall@10 + NDCG@10) on the playlists
    that it is chosen by, list by list.

    Args:
        score: the first stage's float32 ``[playlists, tracks]`` from seeds.
        watch: is told of each epoch.

    Returns:
        (None where the first stage is best alone; what came of it)
    """
    learn, choose = lists_to_choose_by(split, config)
    found: Fitted = {
        "used": False, "why": "left out", "learned_from": len(learn), "chosen_by": len(choose),
        "first_stage": None, "epochs": [], "candidates_hold": None,
    }  # fmt: skip
    if not config.heads:
        return None, found
    if len(learn) + len(choose) < TOO_FEW:
        return None, found | {"why": "too few playlists to learn from"}
    torch.manual_seed(config.seed)
    shape = HeadShape(config.heads, config.hidden, ordered=split.ordered)
    head = new_head(tracks, shape)
    stage = SecondStage.of(tracks, head)
    rng = np.random.default_rng([config.seed, 1])
    lessons = _lessons(_part(score, split, learn), tracks, config, rng)
    test = _part(score, split, choose)
    last = [each._replace(seeds=each.seeds[-SEEDS_TO_CHOOSE_BY:]) for each in test.questions]
    exam = [(rows, batch_of([last[i] for i in rows], tracks)) for rows in batches(last)]
    alone = found["first_stage"] = _figures(test.first, test.truth)
    found["candidates_hold"] = float(
        sum(each.sum() for each in test.hits) / max(len(test.truth.values), 1)
    )
    if not lessons:
        return None, found | {"why": "nothing that was held out is among the candidates"}
    before, best, parameters = _each(test.first, test.truth), _value(alone), None
    gain = np.zeros(len(before))
    _begin(head, [edges for edges, _ in lessons])
    optimizer = torch.optim.Adam(head.parameters(), config.learning_rate)
    steps = config.epochs * len(lessons)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in watch(range(config.epochs), "epochs of the second stage", config.epochs):
        for number in rng.permutation(len(lessons)):
            edges, hits = lessons[number]
            loss = next_loss(head(edges), hits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        lists = _lists(head, test, exam)
        figures = _figures(lists, test.truth)
        found["epochs"].append(figures)
        if _value(figures) > best:
            best, gain = _value(figures), _each(lists, test.truth) - before
            parameters = {name: value.clone() for name, value in head.state_dict().items()}
    # Of many epochs one is always lucky: what is not clearly better is left out.
    if parameters is None or gain.mean() <= 2 * gain.std() / np.sqrt(len(gain)):
        return None, found | {"why": "not clearly better than the first stage alone"}
    head.load_state_dict(parameters)
    return stage, found | {"used": True, "why": "ranks better than the first stage alone"}


def _part(score: ScoreFunction, split: Split, playlists: Ids) -> _Part:
    """Questions of playlists whose training parts are the seeds."""
    seeds, truth = split.train.select(playlists), split.val.select(playlists)
    questions, hits, lists = [], [], []
    for start in range(0, len(playlists), LISTS_AT_ONCE):
        rows = np.arange(start, min(start + LISTS_AT_ONCE, len(playlists)))
        known = seeds.select(rows)
        scores = score(known)
        first, values = top_k(scores, known, CANDIDATES)
        lists.append(first[:, :K])
        for row in range(len(rows)):
            question = question_of(known[row].astype(np.int64), first[row], values[row])
            questions.append(question)
            hits.append(np.isin(question.candidates, truth[start + row]))
    width = np.full((0, K), NOTHING, np.int32)
    return _Part(questions, truth, hits, np.concatenate([width, *lists]))


def _lessons(
    part: _Part, tracks: TrackFeatures, config: SecondStageConfig, rng: np.random.Generator
) -> list[tuple[Edges, torch.Tensor]]:
    """Batches to learn from: (questions with some of their candidates, bool ``[Q, C]`` hits)."""
    questions, hits = [], []
    half = config.learn_candidates // 2
    for question, hit in zip(part.questions, part.hits, strict=True):
        if not hit.any():
            continue
        others = np.flatnonzero(~hit)
        others = others[np.argsort(-question.first[others], kind="stable")]
        drawn = rng.permutation(others[half:])[: config.learn_candidates - half]
        places = np.sort(np.concatenate([np.flatnonzero(hit), others[:half], drawn]))
        questions.append(
            Question(
                question.seeds[-config.learn_seeds :],
                question.candidates[places],
                question.first[places],
            )
        )
        hits.append(hit[places])
    found = []
    for rows in batches(questions):
        edges = batch_of([questions[i] for i in rows], tracks)
        targets = torch.zeros(edges.offered.shape, dtype=torch.bool)
        for place, i in enumerate(rows):
            targets[place, : len(hits[i])] = torch.from_numpy(hits[i])
        found.append((edges, targets))
    return found


def _begin(head: EdgeAttention, questions: Sequence[Edges]) -> None:
    """Scale features by what is learned from, and begin as the first stage, with a spread of 1."""
    head.fit_scale(questions)
    first = torch.cat([each.candidates[:, :, 0][each.offered] for each in questions])
    with torch.no_grad():
        head.weight[0] = head.candidate_scale[0] / first.std().clamp(min=1e-6)


@torch.no_grad()
def _lists(
    head: EdgeAttention, part: _Part, batches: Sequence[tuple[np.ndarray, Edges]]
) -> np.ndarray:
    """int ``[playlists, 10]``, padded with -1."""
    found = np.full((len(part.questions), K), NOTHING, np.int64)
    for rows, edges in batches:
        scores = head(edges)
        best = scores.topk(min(K, scores.shape[1]), dim=1)
        for i, places, values in zip(rows, best.indices.numpy(), best.values.numpy(), strict=True):
            there = places[values > -np.inf]
            found[i, : len(there)] = part.questions[i].candidates[there]
    return found


def _figures(lists: np.ndarray, truth: Ragged) -> dict[str, float]:
    found = ranking_metrics(lists, truth, (K,))
    return {MONITOR: found[f"recall@{K}"], "val_ndcg@10": found[f"ndcg@{K}"]}


def _each(lists: np.ndarray, truth: Ragged) -> np.ndarray:
    """What is chosen by, of each playlist."""
    found = per_playlist_metrics(lists, truth, (K,))
    each: np.ndarray = found[f"recall@{K}"] + found[f"ndcg@{K}"]
    return each


def _value(figures: dict[str, float]) -> float:
    """What is chosen by: recall and NDCG count alike."""
    return sum(figures.values())
