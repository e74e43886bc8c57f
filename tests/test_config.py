import re
from pathlib import Path

import pytest

from spotify_engine.config import CONFIGS, dump_yaml, load_config, read_yaml
from spotify_engine.errors import InputError
from spotify_engine.playlists.measure.leaderboard import EvaluationConfig
from spotify_engine.playlists.settings import KaggleJob

BASE = ("mode file", {"mode": "mini"})


def load(*settings, layers=()):
    return load_config(KaggleJob, [BASE, *layers], settings)


def refused(message, *settings, layers=()):
    with pytest.raises(InputError, match=message) as caught:
        load(*settings, layers=layers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "unknown key training.epoch; did you mean epochs?"),
        ("trainning.epochs=3", "unknown key trainning; did you mean training?"),
        ("training.zzz=3", "unknown key training.zzz; known: epochs, min_steps_per_epoch"),
        ("training.epochs.best=3", "training.epochs has no keys inside"),
        ("training={epoch: 3}", "unknown key training.epoch; did you mean epochs?"),
    ],
)
def test_unknown_key_names_the_nearest(setting, message):
    refused(re.escape(f"--set {setting}: {message}"), setting)


def test_unknown_key_of_a_layer_names_the_layer():
    layers = [("mine.yaml", {"model": {"head": [1]}})]
    refused(r"mine\.yaml: unknown key model\.head; did you mean heads\?", layers=layers)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.epochs=7", 7),
        ("training.learning_rate=1e-3", 0.001),
        ("training.loss=bpr", "bpr"),
        ("training.keep=[0.2, 0.4]", (0.2, 0.4)),
        ("cluster.dashboard=true", True),
        ("data.max_playlists=null", None),
        ("inputs.genres=a=b.csv", "a=b.csv"),
        ("model.dropout=0", 0.0),
    ],
)
def test_set_reads_values_as_yaml(setting, value):
    section, key = setting.split("=")[0].split(".")
    found = getattr(getattr(load(setting), section), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs=many", r"training\.epochs: .*integer.* \(got 'many'\)"),
        ("training.epochs=1.5", r"training\.epochs: .*integer"),
        ("training.epochs=0", r"training\.epochs: .*greater than or equal to 1 \(got 0\)"),
        ("cluster.workers=0", r"cluster\.workers: .*greater than or equal to 1"),
        ("cluster.cpus_per_worker=0", r"cluster\.cpus_per_worker: .*greater than 0"),
        ("model.dropout=1", r"model\.dropout: .*less than 1"),
        ("training.loss=hinge", r"training\.loss: .*'softmax' or 'bpr'"),
        ("training.keep=[0.9, 0.5]", r"training: keep must be 0 < low <= high < 1"),
        ("training=5", r"training: .*TrainingConfig"),
        ("training.epochs", "write it as key.path=value"),
        ("=3", "write it as key.path=value"),
        ("training.keep=[0.2", "not readable as YAML"),
        ("training.fanouts=[4, 4]", "training.fanouts has 2 hops for the 1 layers of model.layers"),
    ],
)
def test_types_and_bounds(setting, message):
    refused(message, setting)


def test_message_stays_short_when_a_whole_section_does_not_fit():
    with pytest.raises(InputError) as caught:
        load("training.fanouts=[4, 4]")
    assert len(str(caught.value)) < 150


def test_later_layers_and_settings_win():
    layers = [
        ("mine.yaml", {"training": {"epochs": 4, "batch_size": 32}, "data": {"seed": 1}}),
        ("flags", {"training": {"epochs": 5}}),
    ]
    config = load("training.batch_size=8", "training.batch_size=16", layers=layers)
    assert config.training.epochs == 5
    assert config.training.batch_size == 16
    assert config.data.seed == 1
    assert config.training.negatives == KaggleJob(mode="mini").training.negatives


def test_layers_are_left_alone():
    layers = [("a", {"training": {"epochs": 4}}), ("b", {"training": {"epochs": 5}})]
    load("training.epochs=6", layers=layers)
    assert layers == [("a", {"training": {"epochs": 4}}), ("b", {"training": {"epochs": 5}})]


def test_mode_is_needed():
    with pytest.raises(InputError, match="mode: Field required"):
        load_config(KaggleJob, [], [])


def test_dumped_configuration_is_read_back_unchanged(tmp_path):
    config = load(
        "training.keep=[0.25, 0.5]", "model.layers=[64, 32]", "model.heads=[2, 2]",
        "training.fanouts=[3, -1]", "inputs.features=null", "data.unmatched=keep",
        "evaluation.ease=[{regularisation: 3}]",
    )  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(config))
    assert load_config(KaggleJob, [("config.yaml", read_yaml(path))], []) == config


MODES = {"mini": (500, 3), "quick": (1000, 5), "balanced": (5000, 8), "full": (50_000, 20)}


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    layer = read_yaml(CONFIGS / "kaggle" / f"{mode}.yaml")
    config = load_config(KaggleJob, [("mode", layer), ("flags", {"mode": mode})], [])
    assert (config.data.max_playlists, config.training.epochs) == MODES[mode]
    assert config.cluster.workers == (2 if mode == "full" else 1)


def test_every_mode_file_is_known():
    assert {path.stem for path in (CONFIGS / "kaggle").glob("*.yaml")} == set(MODES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", r"config\.yaml: line 1 is not valid YAML"),
        (b"a: 1\nb: {c\n", r"config\.yaml: line \d is not valid YAML"),
        (b"- 1\n- 2\n", "holds list, expected key: value pairs"),
        (b"text", "holds str, expected"),
        (b"\xff\xfe\x00\x81", "not text"),
    ],
)
def test_unreadable_yaml(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_missing_and_empty_yaml(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="directory"):
        read_yaml(tmp_path)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(Path(tmp_path / "empty.yaml")) == {}


def test_defaults_are_valid():
    assert EvaluationConfig.model_validate(EvaluationConfig().model_dump()) == EvaluationConfig()
    assert KaggleJob.model_validate(KaggleJob(mode="mini").model_dump()) == KaggleJob(mode="mini")
