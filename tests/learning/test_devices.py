"""Where a model computes, and what is prepared while it does."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from spotify_engine.learning.attention import Neighbours
from spotify_engine.learning.devices import CPU, device_of, moved
from spotify_engine.learning.prefetch import prepared_ahead

# Holds shapes and no values: whatever lands on it has been moved, on a machine without a GPU too.
META = torch.device("meta")


def test_everything_nested_is_moved_and_the_rest_is_the_same_object() -> None:
    array = np.arange(3)
    value = {
        "edges": Neighbours(torch.tensor([0, 1]), torch.tensor([0])),
        "pairs": [(torch.ones(2), "name"), (array, None)],
    }
    found = moved(value, META)
    assert isinstance(found["edges"], Neighbours)
    assert found["edges"].indptr.device == found["pairs"][0][0].device == META
    assert found["edges"].source.shape == (1,)
    assert found["pairs"][0][1] == "name"
    assert found["pairs"][1][0] is array
    assert value["edges"].indptr.device == CPU, "what was given stays as it was"


def test_a_tensor_that_is_there_already_is_not_copied() -> None:
    tensor = torch.ones(2)
    assert moved((tensor,), CPU)[0] is tensor


def test_a_model_is_where_its_parameters_are() -> None:
    model = nn.Linear(2, 2)
    assert device_of(model) == CPU
    assert device_of(model.to(META)) == META
    assert device_of(nn.ReLU()) == CPU


def test_items_come_in_order_one_prepared_ahead_and_no_more() -> None:
    begun: list[int] = []
    ready = threading.Event()

    def prepare(item: int) -> int:
        begun.append(item)
        if len(begun) == 2:
            ready.set()
        return item * 10

    steps = prepared_ahead(range(5), prepare)
    assert next(steps) == 0
    assert ready.wait(10), "the second is prepared while the first is in use"
    assert begun == [0, 1]
    assert list(steps) == [10, 20, 30, 40]
    assert begun == [0, 1, 2, 3, 4]
    assert list(prepared_ahead([], prepare)) == []


@pytest.mark.parametrize("where", ["items", "prepare"])
def test_trouble_is_raised_in_its_turn(where: str) -> None:
    def items():
        yield 0
        if where == "items":
            raise ValueError("third")
        yield 1

    def prepare(item: int) -> int:
        if item and where == "prepare":
            raise ValueError("third")
        return item

    steps = prepared_ahead(items(), prepare)
    assert next(steps) == 0
    with pytest.raises(ValueError, match="third"):
        next(steps)


def test_who_stops_early_leaves_no_thread() -> None:
    steps = prepared_ahead(range(100), lambda item: item)
    next(steps)
    steps.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("prepare")]
