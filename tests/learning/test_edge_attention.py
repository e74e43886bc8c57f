"""Attention over the edges from what was heard to candidates."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.learning.edge_attention import (
    AGES,
    EdgeAttention,
    Edges,
    age_classes,
    next_loss,
)


def questions(n=3, sources=5, candidates=4, edge=6, own=2, seed=0) -> Edges:
    """Random ones, of different numbers of sources and candidates."""
    rng = np.random.default_rng(seed)
    left = torch.from_numpy(np.arange(sources) < rng.integers(1, sources + 1, n)[:, None])
    offered = torch.from_numpy(np.arange(candidates) < rng.integers(1, candidates + 1, n)[:, None])
    edges = torch.from_numpy(rng.normal(size=(n, sources, candidates, edge))).float()
    return Edges(
        edges * left[:, :, None, None] * offered[:, None, :, None],
        left,
        torch.from_numpy(rng.integers(0, len(AGES) + 1, (n, sources))),
        torch.from_numpy(rng.normal(size=(n, candidates, own))).float() * offered[:, :, None],
        offered,
    )


def head(edge=6, own=2, ordered=True, seed=0, heads=3) -> EdgeAttention:
    """One whose parameters are all random."""
    torch.manual_seed(seed)
    made = EdgeAttention(edge, own, heads=heads, hidden=5, ordered=ordered)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
        made.edge_scale.uniform_(0.5, 2)
        made.candidate_scale.uniform_(0.5, 2)
    return made


def test_score_by_hand():
    """Two sources, one candidate, one head that reads the first feature alone."""
    made = EdgeAttention(2, 1, heads=1, hidden=1)
    with torch.no_grad():
        made.read.weight.copy_(torch.tensor([[1.0, 0.0]]))
        made.read.bias.zero_()
        made.key.weight.fill_(2.0)
        made.key.bias.zero_()
        made.age_key[0] = 0.5
        made.value.copy_(torch.tensor([[0.0, 10.0]]))
        made.weight.copy_(torch.tensor([3.0]))
    asked = Edges(
        torch.tensor([[[[1.0, 7.0]], [[2.0, 1.0]]]]),
        torch.tensor([[True, True]]),
        torch.tensor([[1, 0]]),
        torch.tensor([[[4.0]]]),
        torch.tensor([[True]]),
    )
    logits = np.array([2.0 * 1.0, 2.0 * 2.0 + 0.5])
    attention = np.exp(logits) / np.exp(logits).sum()
    expected = attention @ [70.0, 10.0] + 12.0
    assert made(asked).item() == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 1000), st.booleans())
def test_contributions_sum_to_the_score_and_attention_to_one(seed, ordered):
    asked, made = questions(seed=seed), head(ordered=ordered, seed=seed)
    found = made.contributions(asked)
    total = found.edges.sum((1, 3)) + found.candidates.sum(2)
    scores = made(asked)
    torch.testing.assert_close(total[asked.offered], scores[asked.offered])
    assert (scores[~asked.offered] == -torch.inf).all()
    torch.testing.assert_close(
        found.attention.sum(1), torch.ones_like(found.attention[:, 0]), rtol=1e-5, atol=1e-5
    )
    assert not found.edges[~asked.sources].any()


@given(st.integers(0, 1000))
def test_padding_changes_nothing(seed):
    """A question alone, and among longer ones."""
    asked, made = questions(seed=seed), head(seed=seed)
    together = made(asked)
    for i in range(len(asked.edges)):
        s, c = int(asked.sources[i].sum()), int(asked.offered[i].sum())
        alone = Edges(
            asked.edges[i : i + 1, :s, :c], asked.sources[i : i + 1, :s], asked.ages[i : i + 1, :s],
            asked.candidates[i : i + 1, :c], asked.offered[i : i + 1, :c],
        )  # fmt: skip
        torch.testing.assert_close(made(alone)[0], together[i, :c])


def test_attention_depends_on_who_asks():
    found = head().contributions(questions()).attention
    assert (found[0, :, 0] - found[0, :, 1]).abs().max() > 0.01


def test_without_order_age_does_not_matter_and_with_it_does():
    asked = questions()
    older = asked._replace(ages=(asked.ages + 3) % len(AGES))
    plain, ordered = head(ordered=False), head(ordered=True)
    torch.testing.assert_close(plain(asked), plain(older))
    assert not torch.allclose(ordered(asked), ordered(older))


def test_classes_of_age():
    ages = torch.tensor([0, 1, 4, 5, 6, 7, 49, 50, 10_000])
    assert age_classes(ages).tolist() == [0, 1, 4, 5, 5, 6, 9, 10, 10]


def test_features_are_scaled_by_what_is_there_and_zero_stays_zero():
    made, asked = EdgeAttention(6, 2), questions()
    asked.edges[..., 3] = 0
    more = questions(seed=1)
    more.edges[..., 3] = 0
    made.fit_scale([asked, more])
    there = torch.cat([asked.edges[..., 0].flatten(), more.edges[..., 0].flatten()])
    assert made.edge_scale[0] == pytest.approx(there[there != 0].square().mean().sqrt().item())
    assert made.edge_scale[3] == 1
    nothing = asked._replace(
        edges=torch.zeros_like(asked.edges), candidates=torch.zeros_like(asked.candidates)
    )
    assert not made(nothing)[asked.offered].any()


def test_loss_by_hand():
    scores = torch.tensor([[0.0, np.log(3.0), -torch.inf], [1.0, 1.0, 1.0]])
    targets = torch.tensor([[False, True, False], [False, False, False]])
    assert next_loss(scores, targets).item() == pytest.approx(-np.log(0.75))
    assert next_loss(scores, torch.zeros_like(targets)).item() == 0


def test_it_learns_who_came_right_before():
    """The answer is the candidate that the last source leads to, whatever the others say."""
    rng = np.random.default_rng(0)
    n, sources, candidates = 200, 4, 6
    edges = torch.zeros(n, sources, candidates, 1)
    leads = torch.from_numpy(rng.integers(0, candidates, (n, sources)))
    edges.scatter_(2, leads[:, :, None, None], 1.0)
    ages = torch.arange(sources).flip(0).expand(n, -1)
    everyone = torch.ones(n, sources, dtype=torch.bool)
    asked = Edges(
        edges, everyone, ages, torch.zeros(n, candidates, 1),
        torch.ones(n, candidates, dtype=torch.bool),
    )  # fmt: skip
    targets = torch.zeros(n, candidates, dtype=torch.bool)
    targets[torch.arange(n), leads[:, -1]] = True

    def hits(ordered: bool) -> float:
        torch.manual_seed(0)
        made = EdgeAttention(1, 1, heads=2, hidden=4, ordered=ordered)
        optimizer = torch.optim.Adam(made.parameters(), 0.05)
        for _ in range(100):
            optimizer.zero_grad()
            next_loss(made(asked), targets).backward()
            optimizer.step()
        return float(targets[torch.arange(n), made(asked).argmax(1)].float().mean())

    assert hits(ordered=True) > 0.95
    assert hits(ordered=False) < 0.7
