"""Ranking losses over scores of playlists (or users) against candidate items."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking, ``-log sigmoid(s_pos - s_neg)`` (Rendle et al., UAI 2009).

    Shapes:
        both ``[pairs]``; returns the mean, and zero when there are no pairs.
    """
    return -F.logsigmoid(positive - negative).sum() / max(len(positive), 1)


def masked_softmax_loss(
    scores: Tensor, row: Tensor, column: Tensor, hidden: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    r"""Cross-entropy of playlists' targets against all candidates, the mean over targets.

    .. math::
        -\frac{1}{\sum_p |T_p|} \sum_p \sum_{t \in T_p} \log \mathrm{softmax}(s_p)_t

    Args:
        scores: float ``[B, candidates]``.
        row, column: int64 ``[targets]``, where in ``scores`` the targets are; zero without any.
        hidden: (rows, columns) of cells that are neither target nor negative: a playlist's seeds.
    """
    if hidden is not None:
        scores = scores.index_put(hidden, scores.new_tensor(float("-inf")))
    return -scores.log_softmax(dim=1)[row, column].sum() / max(len(row), 1)


def log_sampling_correction(expected_count: Tensor) -> Tensor:
    """A correction of candidates' scores, to subtract: sampled softmax then estimates the full one.

    Args:
        expected_count: float ``[candidates]``, how often the sampler would offer each candidate;
            above 1 counts as 1, since a candidate stands in the batch once.

    Source: Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019.
    """
    return expected_count.clamp(min=1e-9, max=1.0).log()
