"""JSON as its standard has it, for every file that somebody else may read."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(content: Any, indent: int | None = 2, sort_keys: bool = False) -> str:
    """``content`` as JSON; NaN and infinity, for which JSON has no word, as null."""
    return json.dumps(known(content), indent=indent, sort_keys=sort_keys, allow_nan=False)


def known(content: Any) -> Any:
    """Plain values with None in place of every float that is no finite number."""
    if isinstance(content, float):
        return float(content) if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: known(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [known(value) for value in content]
    return content
