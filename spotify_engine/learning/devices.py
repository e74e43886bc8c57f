"""The device that a model computes on, and moving what it reads there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value")
CPU = torch.device("cpu")


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are; the CPU for one without any."""
    first = next(model.parameters(), None)
    return CPU if first is None else first.device


def moved(value: Value, device: torch.device) -> Value:
    """A value with all tensors in it on a device: tensors, mappings, tuples and lists, nested.

    Anything else, and tensors that are there already, are handed on as they are.
    """
    found: Any = value
    if isinstance(value, Tensor):
        found = value.to(device, non_blocking=True)
    elif isinstance(value, Mapping):
        found = {key: moved(each, device) for key, each in value.items()}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        found = type(value)(*(moved(each, device) for each in value))
    elif isinstance(value, tuple | list):
        found = type(value)(moved(each, device) for each in value)
    return found
