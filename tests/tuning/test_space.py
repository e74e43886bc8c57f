"""Spaces: what is refused before anything runs, and which values come out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.config import CONFIGS
from spotify_engine.errors import InputError
from spotify_engine.runtime.tune.searched import scope_of
from spotify_engine.sessions.settings import SyntheticJob
from spotify_engine.tuning.space import Range, SearchConfig, Space, laid_over, read_search


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"training.lerning_rate": [0.1]}, "unknown key training.lerning_rate; did you mean"),
        ({"trainin.epochs": [3]}, "did you mean training"),
        ({"training.learning_rate": [0.1, 2]}, "training.learning_rate: Input should be less"),
        ({"training.learning_rate": ["fast"]}, r"valid number.* \(got 'fast'\)"),
        ({"training.learning_rate": {"low": 0.5, "high": 3}}, r"less than or equal to 1 \(got 3"),
        ({"training.epochs": [2, 0]}, "training.epochs: Input should be greater"),
        ({"model.layers": [[128], "wide"]}, "model.layers: .*tuple"),
        ({"data.min_track_playlists": [1, 2]}, "data or the split"),
        ({"holdout.n": [5, 10]}, "data or the split"),
        ({"inputs.genres": ["a.csv"]}, "data or the split"),
        ({"training.validate_playlists": [5]}, "what a trial is measured on"),
        ({"evaluation.ks": [[5]]}, "no part in what the search measures"),
        ({"cluster.workers": [1, 2]}, "changes no result"),
        ({"mode": ["mini", "full"]}, "changes no result"),
        ({"model.heads": [[4], [3]]}, r"with model.heads=\[3\]: model: a layer of 256 does not"),
        (
            {"model.layers": [[256], [128, 128]], "model.heads": [[4], [4, 4]]},
            "heads given for|hops for the",
        ),
    ],
)
def test_a_space_is_refused_before_the_first_trial(make_space, space, message) -> None:
    with pytest.raises(InputError, match=message):
        make_space(space, method="grid" if not any(isinstance(v, dict) for v in space.values())
                   else "random")  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"space": {"training.epochs": []}}, "space.training.epochs: an empty list; the grid is"),
        ({"space": {}}, "names no key"),
        ({"method": "random", "trials": 0}, "trials: Input should be greater than or equal to 1"),
        ({"method": "random", "trials": 3, "minutes": 0}, "minutes: Input should be greater"),
        ({"method": "random"}, "random search needs a number"),
        ({"trials": 5}, "a grid tries every combination"),
        ({"methd": "grid"}, "unknown key methd; did you mean method"),
        ({"objectives": ["quality", "seconds"]}, "grid search has no objectives"),
        ({"method": "optuna", "trials": 3, "objectives": ["seconds"]}, r"give \[quality\]"),
        ({"space": {"training.epochs": {"low": 1, "high": 3}}}, "a range in a grid needs points"),
        ({"space": {"training.epochs": {"low": 3, "high": 3, "points": 2}}}, "must be below"),
        ({"space": {"training.epochs": {"low": 0, "high": 3, "log": True}}}, "must be above 0"),
        (
            {"space": {"training.epochs": {"low": 1, "hihg": 3}}},
            "space.training.epochs.high: Field",
        ),
        ({"space": {"training.epochs": 3}}, "space.training.epochs: give a list of values"),
        ({"space": {"training": [{}], "training.epochs": [3]}}, "holds training.epochs, which"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(tmp_path: Path, content, message) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({"method": "grid", "space": {"training.epochs": [3]}} | content))
    with pytest.raises(InputError, match=message) as caught:
        read_search(path)
    assert str(caught.value).startswith(str(path))


def test_a_grid_has_every_combination_once_in_order(make_space) -> None:
    space = make_space(
        {
            "training.epochs": {"low": 2, "high": 4, "points": 3},
            "training.learning_rate": {"low": 1e-4, "high": 1e-2, "points": 3, "log": True},
            "model.seed_dropout": [0.5, 0.7, 0.5],
        },
        method="grid",
    )
    grid = space.grid()
    assert len(grid) == 3 * 3 * 2
    assert [each["training.epochs"] for each in grid[::6]] == [2, 3, 4]
    assert all(isinstance(each["training.epochs"], int) for each in grid)
    rates = [each["training.learning_rate"] for each in grid[:6:2]]
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2])
    assert grid[0]["model.seed_dropout"] == 0.5 != grid[1]["model.seed_dropout"]


def test_a_grid_too_large_to_be_meant_is_refused(make_space) -> None:
    with pytest.raises(InputError, match="the grid has 20,000 combinations"):
        make_space(
            {"training.seed": list(range(200)), "start.seed": list(range(100))}, method="grid"
        )


def test_draws_depend_on_seed_and_number_alone(make_space) -> None:
    first, again, other = make_space(), make_space(), make_space(seed=1)
    assert [first.draw(n) for n in (5, 3)] == [again.draw(n) for n in (5, 3)]
    assert first.draw(3) != other.draw(3)
    drawn = [first.draw(n) for n in range(200)]
    rates = [each["training.learning_rate"] for each in drawn]
    # Even on a logarithmic scale: as many below the middle, 0.001, as above.
    assert 70 < sum(rate < 1e-3 for rate in rates) < 130
    assert {each["model.seed_dropout"] for each in drawn} == {0.5, 0.7, 0.8}
    assert all(isinstance(each["training.negatives"], int) for each in drawn)


@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e3), st.floats(0, 1), st.booleans(), st.booleans())
def test_a_range_never_leaves_its_ends(low, factor, share, log, whole) -> None:
    span = Range(low=math.ceil(low), high=math.ceil(low) + math.ceil(factor), log=log)
    value = span.between(share, whole)
    assert span.low <= value <= span.high
    assert isinstance(value, int) == whole


def test_a_trial_s_configuration_is_the_base_with_its_values(make_space) -> None:
    space = make_space()
    config = space.configure({"model.layers": [128], "training.learning_rate": 0.01})
    assert config.model.layers == (128,)
    assert config.training.learning_rate == 0.01
    assert config.training.epochs == space.base.training.epochs
    assert space.configure({}) == space.base
    assert space.default()["model.layers"] == [256]


def test_which_values_remake_what_is_shared(make_space) -> None:
    values = {"training.epochs": 3, "model.embedding_dim": 64, "graph.audio": False,
              "model.dropout": 0.1, "start.iterations": 4}  # fmt: skip
    assert set(make_space().scope.shared_values(values)) == {
        "model.embedding_dim", "graph.audio", "start.iterations",
    }  # fmt: skip


def session_space(space, **base):
    job = SyntheticJob.model_validate(base)
    config = SearchConfig(method="random", trials=3, space=space)
    return Space(config, job, scope_of("sessions", job))


@pytest.mark.parametrize(
    ("space", "base", "message"),
    [
        ({"session.memory": [3]}, {}, "a search improves one model, these are basic, enhanced"),
        ({"session.memory": [3]}, {"models": ["session"], "trainer": "simple"}, "measures nothing"),
        ({"basic.dropout": [0.1]}, {"models": ["session"]}, "not part of the model .* session"),
        ({"training.basic.epochs": [2]}, {"models": ["session"]}, "not part of the model"),
        ({"generator.users": [20]}, {"models": ["session"]}, "data or the split"),
        ({"training.session.validate_on": [9]}, {"models": ["session"]}, "measured on"),
    ],
)
def test_sessions_search_one_model(space, base, message) -> None:
    with pytest.raises(InputError, match=message):
        session_space(space, **base)


def test_sessions_take_their_model_s_keys() -> None:
    space = session_space(
        {"session.memory": [3, 5], "training.session.learning_rate": [0.01]}, models=["session"]
    )
    assert space.configure({"session.memory": 5}).session.memory == 5


@pytest.mark.parametrize("path", sorted((CONFIGS / "tune").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_spaces_that_come_along_are_searchable(path: Path) -> None:
    from spotify_engine.config import load_config, read_yaml
    from spotify_engine.playlists.settings import KaggleJob

    config = read_search(path)
    layers = [("base", config.base)]
    if path.stem.startswith("playlists"):
        base = load_config(KaggleJob, [("mode", {"mode": "mini"}), *layers], [])
        Space(config, base, scope_of("playlists", base))
    else:
        own = ("synthetic", read_yaml(CONFIGS / "synthetic.yaml"))
        job = load_config(SyntheticJob, [own, *layers], [])
        Space(config, job, scope_of("sessions", job))


def test_laid_over_keeps_the_other_leaves() -> None:
    tree = {"a": {"b": 1, "c": 2}, "d": 3}
    assert laid_over(tree, {"a": {"b": [9]}}) == {"a": {"b": [9], "c": 2}, "d": 3}
    assert tree == {"a": {"b": 1, "c": 2}, "d": 3}
