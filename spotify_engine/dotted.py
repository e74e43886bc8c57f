"""Trees of settings or figures, addressed by dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Tree = dict[str, Any]
"""Nested settings or figures, as YAML and JSON have them."""
Flat = dict[str, Any]
"""The same as one, by dotted key."""


def flatten(tree: Any, prefix: str = "") -> Flat:
    """Nested dicts as one, keys joined by dots."""
    if not isinstance(tree, dict):
        return {prefix.removesuffix("."): tree}
    flat: Flat = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.")
    return flat


def nested(values: Mapping[str, Any]) -> Tree:
    """The tree whose values by dotted key these are."""
    tree: Tree = {}
    for path, value in values.items():
        *sections, key = path.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return tree


def laid_over(tree: Mapping[str, Any], values: Mapping[str, Any]) -> Tree:
    """A tree with another's leaves in place of its own."""
    merged = dict(tree)
    for key, value in values.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = laid_over(below, value)
        merged[key] = value
    return merged
