import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.ragged import Ragged

lists = st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=8)


def as_lists(ragged):
    return [row.tolist() for row in ragged]


@given(lists)
def test_holds_the_lists_it_was_made_from(rows):
    ragged = Ragged.from_lists(rows)
    assert as_lists(ragged) == rows
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert ragged.rows.tolist() == [i for i, row in enumerate(rows) for _ in row]


@given(lists, st.randoms(use_true_random=False))
def test_from_pairs_groups_and_keeps_the_order_within_a_list(rows, random):
    pairs = [(i, value) for i, row in enumerate(rows) for value in row]
    # Shuffle which list comes next, not the order within a list.
    queue = [i for i, _ in pairs]
    random.shuffle(queue)
    left = [list(row) for row in rows]
    values = np.array([left[i].pop(0) for i in queue], dtype=np.int64)
    ragged = Ragged.from_pairs(np.array(queue, dtype=np.int64), values, len(rows))
    assert as_lists(ragged) == rows


@given(lists.filter(bool), st.data())
def test_select_takes_lists_in_the_order_asked_with_repeats(rows, data):
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    chosen = Ragged.from_lists(rows).select(np.array(index, dtype=np.int64))
    assert as_lists(chosen) == [rows[i] for i in index]


@given(lists)
def test_filter_keeps_every_list(rows):
    ragged = Ragged.from_lists(rows)
    even = ragged.filter(ragged.values % 2 == 0)
    assert as_lists(even) == [[v for v in row if v % 2 == 0] for row in rows]


def test_indexing_counts_from_the_end_and_ends():
    ragged = Ragged.from_lists([[1], [2, 3]])
    assert ragged[-1].tolist() == [2, 3]
    for i in (2, -3):
        with pytest.raises(IndexError):
            ragged[i]
    with pytest.raises(IndexError):
        Ragged.from_lists([])[0]


@pytest.mark.parametrize("offsets", [[], [1, 2], [0, 3]])
def test_offsets_must_span_the_values(offsets):
    with pytest.raises(ValueError, match="offsets must run from 0 to 2"):
        Ragged(np.array(offsets, dtype=np.int64), np.array([5, 6]))
