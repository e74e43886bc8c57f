"""What is tried next, and that an interrupted search goes on where it was."""

from __future__ import annotations

import math

import pytest
from optuna.trial import TrialState

from spotify_engine.tuning.strategies import Parzen, strategy_of
from spotify_engine.tuning.studies import importances
from spotify_engine.tuning.trials import Trial, ranked

RATE = "training.learning_rate"
TWO = {
    RATE: {"low": 1e-4, "high": 1e-2, "log": True},
    "model.seed_dropout": [0.3, 0.5, 0.7],
}


def quality(values) -> float:
    """Best at a rate of 0.001; the dropout hardly matters."""
    distance = abs(math.log10(values.get(RATE, 1e-4)) + 3)
    return 0.2 - 0.05 * distance + 0.001 * values["model.seed_dropout"]


def run(strategy, start: int, stop: int) -> list[Trial]:
    trials = []
    for number in range(start, stop):
        values = strategy.ask(number)
        if values is None:
            break
        trial = Trial(number, values, "done", quality(values), float(number), 1.0, float(number))
        strategy.tell(trial)
        trials.append(trial)
    return trials


def test_a_grid_ends_and_goes_on_by_number(make_space) -> None:
    space = make_space({"training.epochs": [2, 3], "model.seed_dropout": [0.5, 0.7]}, method="grid")
    trials = run(strategy_of(space), 1, 99)
    assert [each.values for each in trials] == space.grid()
    resumed = strategy_of(space)
    for trial in trials[:2]:
        resumed.tell(trial)
    assert [each.values for each in run(resumed, 3, 99)] == space.grid()[2:]


def test_random_draws_go_on_as_they_would_have(make_space) -> None:
    whole = run(strategy_of(make_space(TWO)), 1, 99)
    assert len(whole) == 20
    assert run(strategy_of(make_space(TWO)), 8, 99) == whole[7:]


def test_the_estimator_finds_what_random_draws_do_not(make_space) -> None:
    found, drawn = (
        run(strategy_of(make_space(TWO, method=method, trials=40)), 1, 99)
        for method in ("optuna", "random")
    )
    assert len(found) == len(drawn) == 40

    def near(trials) -> int:
        return sum(5e-4 < each.values[RATE] < 2e-3 for each in trials[15:])

    assert near(found) > 1.5 * near(drawn)
    assert ranked(found)[0].quality > 0.195


def test_the_estimator_learns_from_trials_of_an_earlier_session(make_space) -> None:
    space = make_space(TWO, method="optuna", trials=40)
    before = run(strategy_of(space), 1, 25)
    resumed = strategy_of(space)
    assert isinstance(resumed, Parzen)
    for trial in before:
        resumed.tell(trial)
    resumed.tell(Trial(25, space.draw(1), "failed", error="lost"))
    assert len(resumed.study.get_trials(states=(TrialState.COMPLETE,))) == 24
    assert len(resumed.study.get_trials(states=(TrialState.FAIL,))) == 1
    after = run(resumed, 26, 99)
    assert [each.number for each in after] == list(range(26, 41))
    # Of random draws, 0.3 would be there.
    assert sum(5e-4 < each.values[RATE] < 2e-3 for each in after) >= 0.45 * 15
    assert {each.values[RATE] for each in after}.isdisjoint(e.values[RATE] for e in before)


def test_the_default_counts_where_it_lies_in_the_space(make_space) -> None:
    default = Trial(0, {}, "done", 0.15, 20.0)
    inside = strategy_of(make_space(TWO, method="optuna"))
    inside.tell(default)
    assert inside.study.trials[0].params[RATE] == 0.0003
    outside = strategy_of(make_space({RATE: [0.01, 0.02]}, method="optuna"))
    outside.tell(default)
    assert outside.study.trials == []


def test_two_objectives_are_both_told(make_space) -> None:
    strategy = strategy_of(make_space(TWO, method="optuna", objectives=["quality", "seconds"]))
    run(strategy, 1, 15)
    assert all(each.values[1] == number for number, each in enumerate(strategy.study.trials, 1))
    assert len(strategy.study.best_trials) >= 1


def test_lists_come_back_as_lists(make_space) -> None:
    strategy = strategy_of(make_space({"model.layers": [[256], [128]]}, method="optuna"))
    assert strategy.ask(1)["model.layers"] in ([256], [128])


def test_importance_tells_what_matters_from_what_does_not(make_space) -> None:
    space = make_space(TWO, trials=60)
    trials = run(strategy_of(space), 1, 99)
    found = importances(space, trials)
    assert list(found) == [RATE, "model.seed_dropout"]
    assert found[RATE] > 0.8
    assert sum(found.values()) == pytest.approx(1)
    assert importances(space, trials[:9]) is None, "too few to tell"
    flat = [Trial(t.number, t.values, "done", 0.1) for t in trials]
    assert importances(space, flat) is None, "all are equally good"
