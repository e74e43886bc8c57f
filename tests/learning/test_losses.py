import math

import pytest
import torch
from torch.nn import functional as F

from spotify_engine.learning.losses import bpr_loss, log_sampling_correction, masked_softmax_loss


def test_bpr_by_hand():
    # -log sigmoid(1) and -log sigmoid(-2)
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    loss = bpr_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 2.0]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_bpr_of_no_pairs_is_zero_and_not_nan():
    positive = torch.zeros(0, requires_grad=True)
    loss = bpr_loss(positive, torch.zeros(0))
    loss.backward()
    assert loss.item() == 0


def test_masked_softmax_by_hand():
    scores = torch.tensor([[1.0, 2.0, 3.0, 0.5], [0.0, 1.0, 0.0, -1.0]])
    row, column = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    hidden = (torch.tensor([0, 1]), torch.tensor([2, 3]))
    # The first playlist's seed (score 3) and the second's (score -1) are no competitors.
    first = math.log(math.exp(1) + math.exp(2) + math.exp(0.5))
    second = math.log(1 + math.exp(1) + 1)
    expected = (first - 1 + first - 2 + second - 1) / 3
    loss = masked_softmax_loss(scores, row, column, hidden)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_masked_softmax_with_one_target_a_row_is_cross_entropy():
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 3, 6, 2, 2])
    loss = masked_softmax_loss(scores, torch.arange(5), target)
    torch.testing.assert_close(loss, F.cross_entropy(scores, target))


def test_hidden_cells_get_no_gradient():
    scores = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    hidden = (torch.tensor([0]), torch.tensor([2]))
    loss = masked_softmax_loss(scores, torch.tensor([0, 1]), torch.tensor([1, 1]), hidden)
    loss.backward()
    assert scores.grad[0, 2] == 0
    assert (scores.grad[1] != 0).all()
    # Each row's gradient is softmax - target share, which sums to 0.
    torch.testing.assert_close(scores.grad.sum(1), torch.zeros(2), atol=1e-6, rtol=0)


def test_correction_is_the_log_of_the_expected_count_and_nothing_from_one_on():
    found = log_sampling_correction(torch.tensor([1.0, 2.5, 0.5, 0.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, math.log(0.5), math.log(1e-9)]))


def test_corrected_sampled_softmax_estimates_the_full_normaliser():
    """E[sum over the sample of exp(s - log q)] is the sum over all, whatever the popularity."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, generator=generator)
    chance = torch.rand(200, generator=generator) * 0.5 + 0.05
    offered = torch.rand(4000, 200, generator=generator) < chance
    terms = (scores - log_sampling_correction(chance)).exp()
    estimate = (offered * terms).sum(1).mean()
    assert estimate.item() == pytest.approx(scores.exp().sum().item(), rel=0.01)
