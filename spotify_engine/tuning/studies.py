"""Trials as Optuna knows them: to suggest by, and to tell which parameter matters."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from spotify_engine.tuning.space import Objective, Range, Space, Values
from spotify_engine.tuning.trials import DEFAULT, Trial

log = logging.getLogger(__name__)

DIRECTIONS: dict[Objective, Literal["maximize", "minimize"]] = {
    "quality": "maximize",
    "seconds": "minimize",
}
FIRST_DRAWN = 10  # random trials before the estimator knows enough
FEWEST = 10  # trials below which an importance says nothing

optuna.logging.set_verbosity(optuna.logging.ERROR)


def new_study(objectives: Sequence[Objective]) -> optuna.Study:
    """A study in memory; the trials on disk are what lasts."""
    return optuna.create_study(directions=[DIRECTIONS[each] for each in objectives])


def sampler(seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler, which draws at random to begin with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=min(FIRST_DRAWN, max(3, trials // 3)),
            multivariate=True,
            # Trials that still run count as bad, so that the next one is not right beside them.
            constant_liar=True,
        )


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Values of a list are known by their JSON text: Optuna takes no lists as categories."""
    found: dict[str, BaseDistribution] = {}
    for key, values in space.config.space.items():
        if not isinstance(values, Range):
            found[key] = CategoricalDistribution(
                list(dict.fromkeys(json.dumps(each) for each in values))
            )
        elif space.whole[key]:
            low, high = values.between(0, whole=True), values.between(1, whole=True)
            found[key] = IntDistribution(int(low), int(high), log=values.log)
        else:
            found[key] = FloatDistribution(values.low, values.high, log=values.log)
    return found


def plain_values(space: Space, params: Values) -> Values:
    """Optuna's suggestion in the form that the configuration takes."""
    return {
        key: params[key] if isinstance(values, Range) else json.loads(params[key])
        for key, values in space.config.space.items()
    }


def outcome(objectives: Sequence[Objective], trial: Trial) -> tuple[TrialState, list[float] | None]:
    """How a trial ended and its objectives. A stopped one counts with what it had reached."""
    if trial.state not in ("done", "stopped") or trial.quality is None:
        return TrialState.FAIL, None
    return TrialState.COMPLETE, [float(getattr(trial, name)) for name in objectives]


def add_trial(
    study: optuna.Study, space: Space, trial: Trial, objectives: Sequence[Objective]
) -> bool:
    """Add an ended trial; False for a default that lies outside of the space."""
    values = trial.values if trial.number != DEFAULT else space.default()
    params = {
        key: values[key] if isinstance(given, Range) else json.dumps(values[key])
        for key, given in space.config.space.items()
    }
    known = distributions(space)
    state, reached = outcome(objectives, trial)
    try:
        study.add_trial(
            create_trial(params=params, distributions=known, values=reached, state=state)
        )
    except ValueError as error:
        log.debug("trial %d is outside of the space: %s", trial.number, error)
        return False
    return True


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, float] | None:
    """How much each parameter decides whether a trial is among the better half.

    As shares of 1, the largest first (PED-ANOVA, Watanabe et al., IJCAI 2023).

    Stopped trials count with what they had reached. None when too few trials were measured.
    """
    study = new_study(("quality",))
    for trial in trials:
        add_trial(study, space, trial, ("quality",))
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST or len({each.value for each in complete}) < 2:
        return None
    varied = [
        key
        for key in space.config.space
        if len({json.dumps(each.params[key]) for each in complete}) > 1
    ]
    if not varied:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.5)
        found = get_param_importances(study, evaluator=evaluator, params=varied)
    return dict(found)
