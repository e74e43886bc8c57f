"""A search as its YAML file says it: how to search, and which values of which keys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from spotify_engine.config import JobConfig, check_known, read_yaml
from spotify_engine.dotted import Flat, Tree, flatten, laid_over, nested
from spotify_engine.errors import InputError, problem
from spotify_engine.tuning.scope import Scope

Objective = Literal["quality", "seconds"]
Values = Flat
"""What a trial tries: values of any kind, by key."""
DRAWS_CHECKED = 200  # combinations that are tried out before the first trial
MAX_GRID = 10_000


class Range(BaseModel):
    """Numbers from ``low`` to ``high``, both included; whole ones where the key takes whole ones.

    ``points`` are for grids: so many values, evenly spaced (on a logarithmic scale with ``log``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    high: float
    log: bool = False
    points: int | None = Field(None, ge=2)

    @model_validator(mode="after")
    def _ends_fit(self) -> Range:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError("low and high must be finite")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low:g}) must be above 0 on a logarithmic scale")
        return self

    def between(self, share: float, whole: bool) -> float | int:
        """The value at a share in 0..1 of the way."""
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        value = min(max(value, self.low), self.high)
        return round(value) if whole else value


class Stopping(BaseModel):
    """Asynchronous successive halving (ASHA).

    Of the trials that have come as far, all but the best are stopped, again and again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: int = Field(2, ge=1)
    """Epochs that every trial gets."""
    factor: int = Field(3, ge=2)
    """One of so many trials goes on, each time that the epochs have grown by this factor."""


def _kind(given: Any) -> str:
    return "list" if isinstance(given, list) else "range"


def _list_or_range(given: Any) -> Any:
    if not isinstance(given, list | Mapping | Range):
        raise ValueError("give a list of values, or {low: ..., high: ...}")
    return given


Given = Annotated[
    Annotated[list[Any], Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(_kind),
    BeforeValidator(_list_or_range),
]


class SearchConfig(BaseModel):
    """The method of a search and the space it searches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["grid", "random", "optuna"]
    """optuna: a tree-structured Parzen estimator that learns from the trials so far."""
    trials: int | None = Field(None, ge=1)
    """Beside the default, which is always tried first. None for a grid, which has as many as it
    has combinations."""
    minutes: float | None = Field(None, gt=0)
    """No trial begins later than this; those that run then run to their end."""
    objectives: tuple[Objective, ...] = ("quality",)
    """quality: recall@10 on validation, maximised. seconds: of training, minimised."""
    stopping: Stopping | None = None
    """None: every trial runs to its end."""
    concurrent: int | None = Field(None, ge=1)
    """Most trials at a time; None: as many as the cluster has CPUs for."""
    seed: int = Field(0, ge=0)
    base: Tree = {}
    """Configuration that all trials and the default have in common."""
    space: dict[str, Given]
    """By dotted key: a list of values to choose from, or a range."""

    @model_validator(mode="after")
    def _fits_together(self) -> SearchConfig:
        if "quality" not in self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives: give [quality] or [quality, seconds]")
        if len(self.objectives) > 1 and self.method != "optuna":
            raise ValueError(f"objectives: {self.method} search has no objectives; leave them out")
        if not self.space:
            raise ValueError("space: names no key; there is nothing to search")
        if self.method == "grid":
            if self.trials is not None:
                raise ValueError("trials: a grid tries every combination once; leave it out")
            for key, values in self.space.items():
                if isinstance(values, Range) and values.points is None:
                    raise ValueError(f"space.{key}: a range in a grid needs points")
        elif self.trials is None:
            raise ValueError(f"trials: {self.method} search needs a number of them")
        for key, values in self.space.items():
            if not values:
                raise ValueError(f"space.{key}: an empty list; the grid is empty")
            within = [other for other in self.space if other.startswith(f"{key}.")]
            if within:
                raise ValueError(f"space.{key}: holds {within[0]}, which is also listed by itself")
        return self


class Space:
    """The values of a search, checked against the configuration that they are to go into."""

    def __init__(self, config: SearchConfig, base: JobConfig, scope: Scope) -> None:
        """Check a search against the configuration that it varies.

        Args:
            base: the default configuration.

        Raises:
            InputError: an unknown key, one that may not vary, a value of a wrong type or out of
                bounds, or a combination that doesn't fit together.
        """
        self.config, self.base, self.scope = config, base, scope
        self.model = type(base)
        self._tree = base.model_dump(mode="json")
        self._flat = flatten(self._tree)
        self.whole = {key: self._takes_whole(key) for key in config.space}
        for key, values in config.space.items():
            check_known(self.model, key.split("."), "space")
            scope.check(key)
            for value in self._ends(key, values):
                self._check_value(key, value)
        for combination in self.grid() if config.method == "grid" else self._draws():
            self.configure(combination)

    def configure(self, values: Mapping[str, Any]) -> Any:
        """The configuration of a trial.

        Raises:
            InputError: the values don't fit together.
        """
        try:
            return self.model.model_validate(self._with(values))
        except ValidationError as error:
            chosen = ", ".join(f"{key}={value}" for key, value in values.items())
            raise InputError(f"space: with {chosen}: {problem(error.errors()[0])}") from error

    def default(self) -> Values:
        """The default's values of the keys that are searched."""
        return {key: self._flat.get(key, self._section(key)) for key in self.config.space}

    def grid(self) -> list[Values]:
        """All combinations, the last key varying fastest; equal ones once.

        Raises:
            InputError: too many to be meant.
        """
        columns = [self._column(key, values) for key, values in self.config.space.items()]
        size = math.prod(len(column) for column in columns)
        if size > MAX_GRID:
            raise InputError(f"space: the grid has {size:,} combinations, at most {MAX_GRID:,}")
        return [dict(zip(self.config.space, each, strict=True)) for each in product(*columns)]

    def draw(self, number: int) -> Values:
        """A random combination, the same one for a number every time."""
        rng = np.random.default_rng((self.config.seed, number))
        values = {}
        for key, each in self.config.space.items():
            if isinstance(each, Range):
                values[key] = each.between(float(rng.random()), self.whole[key])
            else:
                values[key] = each[int(rng.integers(len(each)))]
        return values

    def _draws(self) -> Iterator[Values]:
        wanted = min(self.config.trials or DRAWS_CHECKED, DRAWS_CHECKED)
        # TPE goes its own way, so more than its trials are tried out.
        count = wanted if self.config.method == "random" else DRAWS_CHECKED
        return (self.draw(number) for number in range(1, count + 1))

    def _column(self, key: str, values: list[Any] | Range) -> list[Any]:
        found = values
        if isinstance(values, Range):
            assert values.points is not None
            shares = np.linspace(0, 1, values.points).tolist()
            found = [values.between(share, self.whole[key]) for share in shares]
        assert isinstance(found, list)
        return [each for place, each in enumerate(found) if each not in found[:place]]

    def _ends(self, key: str, values: list[Any] | Range) -> list[Any]:
        if isinstance(values, Range):
            return [values.between(share, self.whole[key]) for share in (0.0, 1.0)]
        return values

    def _check_value(self, key: str, value: Any) -> None:
        """Refuse what the key can't take; what only doesn't fit the other keys' values passes."""
        try:
            self.model.model_validate(self._with({key: value}))
        except ValidationError as error:
            for each in error.errors():
                path = ".".join(str(part) for part in each["loc"])
                if path == key or path.startswith(f"{key}."):
                    raise InputError(f"space: {problem(each)}") from error

    def _with(self, values: Mapping[str, Any]) -> Tree:
        return laid_over(self._tree, nested(values))

    def _section(self, key: str) -> Any:
        found: Any = self._tree
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def _takes_whole(self, key: str) -> bool:
        """Whether a key refuses fractions."""
        try:
            self.model.model_validate(self._with({key: 0.5}))
        except ValidationError as error:
            kinds = {each["type"] for each in error.errors()}
            return bool(kinds & {"int_from_float", "int_type"})
        return False


def read_search(path: Path) -> SearchConfig:
    """A search from its YAML file.

    Raises:
        InputError: unreadable, an unknown key, or settings that don't fit together.
    """
    content = read_yaml(path)
    for key in content:
        check_known(SearchConfig, [str(key)], str(path))
    try:
        return SearchConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        loc = [part for part in first["loc"] if part not in ("range", "list")]
        raise InputError(f"{path}: {problem({**first, 'loc': loc})}") from error
