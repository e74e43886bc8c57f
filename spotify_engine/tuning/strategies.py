"""Strategies that choose the next trial: a grid in order, random draws, or Optuna's suggestions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import optuna

from spotify_engine.tuning.space import Space, Values
from spotify_engine.tuning.studies import (
    add_trial,
    distributions,
    new_study,
    outcome,
    plain_values,
    sampler,
)
from spotify_engine.tuning.trials import Trial


class Strategy(Protocol):
    """Suggests values, trial by trial."""

    def ask(self, number: int) -> Values | None:
        """Values for a trial, numbered from 1; None when all has been tried."""

    def tell(self, trial: Trial) -> None:
        """Take in how a trial ended; also one that this object has never suggested."""


class Listed:
    """Values that are known beforehand."""

    def __init__(self, values: Sequence[Values]) -> None:
        self.values = values

    def ask(self, number: int) -> Values | None:
        """The values of a trial, from 1 on; None after the last."""
        return self.values[number - 1] if number <= len(self.values) else None

    def tell(self, trial: Trial) -> None:
        """Nothing follows from it."""


class Parzen:
    """Optuna's tree-structured Parzen estimator, with one objective or several.

    Bergstra et al., NIPS 2011.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.study = new_study(space.config.objectives)
        self._asked: dict[int, optuna.Trial] = {}
        self._seeded = False

    def ask(self, number: int) -> Values | None:
        """Values that the trials so far suggest; None after the last trial."""
        config = self.space.config
        assert config.trials is not None
        if number > config.trials:
            return None
        if not self._seeded:
            # After a resume the sampler must not draw what it drew at first.
            self.study.sampler = sampler(config.seed + len(self.study.trials), config.trials)
            self._seeded = True
        asked = self.study.ask(distributions(self.space))
        self._asked[number] = asked
        return plain_values(self.space, asked.params)

    def tell(self, trial: Trial) -> None:
        """Learn from a trial that has ended."""
        asked = self._asked.pop(trial.number, None)
        if asked is None:
            add_trial(self.study, self.space, trial, self.space.config.objectives)
        else:
            state, objectives = outcome(self.space.config.objectives, trial)
            self.study.tell(asked, objectives, state)


def strategy_of(space: Space) -> Strategy:
    """The strategy that a space's search asks for."""
    config = space.config
    if config.method == "grid":
        return Listed(space.grid())
    if config.method == "random":
        assert config.trials is not None
        return Listed([space.draw(number) for number in range(1, config.trials + 1)])
    return Parzen(space)
