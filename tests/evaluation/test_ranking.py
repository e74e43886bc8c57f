import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.metrics import (
    LinkPredMRR,
    LinkPredNDCG,
    LinkPredPrecision,
    LinkPredRecall,
)

from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import (
    hit_matrix,
    load_predictions,
    per_playlist_metrics,
    ranking_metrics,
    save_predictions,
    top_k,
)
from spotify_engine.ragged import Ragged

N_TRACKS = 25


@st.composite
def rankings(draw, longest_truth=8, padded=True):
    """(predictions [playlists, 6], truth), at least one track held out."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_playlists = draw(st.integers(1, 6))
    predictions = np.stack([rng.permutation(N_TRACKS)[:6] for _ in range(n_playlists)])
    if padded:
        lengths = rng.integers(0, 7, n_playlists)
        predictions[np.arange(6) >= lengths[:, None]] = -1
    sizes = rng.integers(0, longest_truth + 1, n_playlists)
    sizes[0] = max(sizes[0], 1)
    truth = Ragged.from_lists([rng.permutation(N_TRACKS)[:n].tolist() for n in sizes])
    return predictions.astype(np.int32), truth


def reference_metrics(predicted, wanted, k):
    """One playlist, written out."""
    listed = [track for track in predicted[:k] if track != -1]
    hits = [track in wanted for track in listed]
    possible = min(k, len(wanted))
    gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
    ideal = sum(1 / math.log2(place + 2) for place in range(possible))
    return {
        f"recall@{k}": sum(hits) / possible,
        f"precision@{k}": sum(hits) / k,
        f"ndcg@{k}": gain / ideal,
        f"mrr@{k}": 1 / (hits.index(True) + 1) if any(hits) else 0.0,
        f"hit_rate@{k}": float(any(hits)),
    }


def test_metrics_by_hand():
    predictions = np.array([[4, 7, 1, 0], [5, 6, 2, 3], [1, 2, 3, 4]])
    truth = Ragged.from_lists([[1, 4, 9], [3], []])
    metrics = per_playlist_metrics(predictions, truth, [2, 4])
    expected = {
        "recall@2": [1 / 2, 0],
        "precision@2": [1 / 2, 0],
        "ndcg@2": [1 / (1 + 1 / math.log2(3)), 0],
        "mrr@2": [1, 0],
        "hit_rate@2": [1, 0],
        "recall@4": [2 / 3, 1],
        "precision@4": [2 / 4, 1 / 4],
        "ndcg@4": [1.5 / (1 + 1 / math.log2(3) + 1 / 2), 1 / math.log2(5)],
        "mrr@4": [1, 1 / 4],
        "hit_rate@4": [1, 1],
    }
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], [*value, np.nan], err_msg=name)
    means = ranking_metrics(predictions, truth, [2, 4])
    assert means == pytest.approx({name: np.mean(value) for name, value in expected.items()})


@given(rankings())
def test_metrics_equal_the_written_out_reference(ranking):
    predictions, truth = ranking
    metrics = per_playlist_metrics(predictions, truth, [1, 3, 6], N_TRACKS)
    for i, wanted in enumerate(truth):
        for k in (1, 3, 6):
            for name, value in (
                reference_metrics(predictions[i].tolist(), set(wanted.tolist()), k).items()
                if len(wanted)
                else ()
            ):
                assert metrics[name][i] == pytest.approx(value), name
        if len(wanted) == 0:
            assert all(np.isnan(value[i]) for value in metrics.values())


@settings(max_examples=30)
@given(rankings(longest_truth=5, padded=False), st.sampled_from([5, 6]))
def test_metrics_equal_those_of_pyg(ranking, k):
    """PyG divides recall by all that is held out: the same as long as that is at most k."""
    predictions, truth = ranking
    wanted = torch.from_numpy(np.stack([truth.rows, truth.values]).astype(np.int64))
    means = ranking_metrics(predictions, truth, [k])
    for name, metric in {
        "recall": LinkPredRecall(k),
        "precision": LinkPredPrecision(k),
        "ndcg": LinkPredNDCG(k),
        "mrr": LinkPredMRR(k),
    }.items():
        metric.update(torch.from_numpy(predictions[:, :k].astype(np.int64)), wanted)
        assert means[f"{name}@{k}"] == pytest.approx(float(metric.compute()), abs=1e-6), name


def test_a_perfect_list_scores_one():
    truth = Ragged.from_lists([[3, 1], list(range(15))])
    predictions = np.array([[1, 3, 5, -1, -1], [14, 0, 7, 2, 9]])
    means = ranking_metrics(predictions, truth, [2, 5])
    for name in ("recall@2", "recall@5", "ndcg@2", "ndcg@5", "mrr@5", "hit_rate@5"):
        assert means[name] == pytest.approx(1), name


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (np.zeros((3, 4), int), r"2 playlists.*got \(3, 4\)"),
        (np.zeros(2, int), r"got \(2,\)"),
        (np.zeros((2, 2)), "float64"),
        (np.array([[0, 1], [2, 9]]), r"to 9; .*0\.\.8"),
        (np.array([[0, 1], [-2, 3]]), "from -2"),
        (np.array([[0, 1], [3, 3]]), "track 3 is twice in the list of playlist 1"),
        (np.array([[0, 1], [-1, 3]]), "playlist 1 has a track after padding"),
    ],
)
def test_wrong_predictions_are_refused(predictions, message):
    truth = Ragged.from_lists([[1], [2]])
    with pytest.raises(ValueError, match=message):
        ranking_metrics(predictions, truth, [1], n_tracks=9)


def test_metrics_beyond_the_lists_or_without_truth_are_refused():
    truth = Ragged.from_lists([[1], [2]])
    with pytest.raises(ValueError, match=r"ks \(1, 5\).*\(2, 3\)"):
        ranking_metrics(np.array([[0, 1, 2]] * 2), truth, [1, 5])
    with pytest.raises(ValueError, match="nothing to measure"):
        ranking_metrics(np.array([[0, 1, 2]]), Ragged.from_lists([[]]), [1])
    assert not hit_matrix(np.array([[0, -1]]), Ragged.from_lists([[]])).any()


@given(
    st.integers(0, 10_000),
    st.integers(0, 5),
    st.integers(1, 12),
    st.integers(1, 14),
    st.sampled_from([1, 2, 100]),
)
def test_top_k_equals_a_full_sort(seed, n_rows, n_tracks, k, levels):
    """Few levels make many ties; some scores are -inf and some tracks excluded."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-levels, levels, (n_rows, n_tracks)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    drop = rng.random(scores.shape) < 0.3
    exclude = Ragged.from_pairs(*np.nonzero(drop), n_rows)
    before = scores.copy()
    ids, best = top_k(scores, exclude, k)
    np.testing.assert_array_equal(scores, before)
    assert ids.shape == best.shape == (n_rows, k)
    assert (ids.dtype, best.dtype) == (np.int32, np.float32)
    for i in range(n_rows):
        left = [t for t in range(n_tracks) if not drop[i, t] and scores[i, t] > -np.inf]
        expected = sorted(left, key=lambda t: (-scores[i, t], t))[:k]
        padding = k - len(expected)
        assert ids[i].tolist() == expected + [-1] * padding
        assert best[i].tolist() == scores[i, expected].tolist() + [-np.inf] * padding


def test_top_k_refuses_nan_and_wrong_shapes():
    scores = np.zeros((2, 3), np.float32)
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match="row 1 have NaN"):
        top_k(scores, Ragged.from_lists([[], [2]]), 1)
    with pytest.raises(ValueError, match=r"\(2, 3\).*got 1"):
        top_k(scores, Ragged.from_lists([[]]), 1)


def test_predictions_survive_the_file(tmp_path):
    predictions = np.array([[4, 2, -1], [-1, -1, -1], [0, -1, -1]], np.int32)
    scores = np.array([[0.5, 0.25, -np.inf], [-np.inf] * 3, [-1, -np.inf, -np.inf]], np.float32)
    path = tmp_path / "predictions.parquet"
    save_predictions(path, predictions, scores)
    frame = pd.read_parquet(path)
    assert frame.to_numpy().tolist() == [[0, 0, 4, 0.5], [0, 1, 2, 0.25], [2, 0, 0, -1]]
    assert frame.dtypes.astype(str).tolist() == ["int32", "int32", "int32", "float32"]
    loaded = load_predictions(path, 3, 5)
    np.testing.assert_array_equal(loaded[0], predictions)
    np.testing.assert_array_equal(loaded[1], scores)
    frame.sample(frac=1, random_state=0).to_parquet(path)  # rows of any order, no k noted
    np.testing.assert_array_equal(load_predictions(path, 3, 5)[0], predictions[:, :2])
    with pytest.raises(ValueError, match="must agree"):
        save_predictions(path, predictions, scores[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": [0, 2, 0]}, "ranks of playlist 0"),
        ({"rank": [0, 0, 0]}, "ranks of playlist 0"),
        ({"rank": [-1, 0, 0]}, "ranks of playlist 0"),
        ({"track": [4, 5, 0]}, r"track is 5, outside 0\.\.4"),
        ({"playlist": [0, 0, 7]}, r"playlist is 7, outside 0\.\.2"),
        ({"score": [0.5, None, 1]}, "'score' has nulls"),
    ],
)
def test_bad_prediction_files_are_refused(tmp_path, change, message):
    good = {"playlist": [0, 0, 2], "rank": [0, 1, 0], "track": [4, 2, 0], "score": [0.5, 0.2, 1]}
    path = tmp_path / "predictions.parquet"
    pd.DataFrame(good | change).to_parquet(path)
    with pytest.raises(InputError, match=message):
        load_predictions(path, 3, 5)
