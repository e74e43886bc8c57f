"""A pipeline of fake stages: what is done, done again, taken over, and read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from spotify_engine.errors import InputError
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.pipelines import pipeline as module
from spotify_engine.runtime.pipelines.pipeline import TrainingPipeline, fingerprint_of_data
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.stages import Part, Stage, unaffected


class Toy(TrainingPipeline[KaggleJob]):
    """Counts to a report; its stages write a file each and note that they were done."""

    name = "playlists"

    def __init__(self, run: Run[KaggleJob], failing: str = "") -> None:
        super().__init__(run)
        self.failing, self.done, self.told = failing, list[str](), list[tuple[str, Any]]()

    @classmethod
    def stages_of(cls, config: KaggleJob) -> Sequence[Stage[Toy]]:
        return STAGES

    recommender: Any = None
    quality = 0.5
    inputs: Iterable[str | None] = ()
    metrics: dict[str, Any] = {}  # noqa: RUF012
    served: dict[str, Any] = {}  # noqa: RUF012

    def epoch_files(self) -> dict[Path, str]:
        return {}

    def test_recall(self) -> float:
        return 0.25

    def require_validation(self) -> None:
        pass

    def report(self, results: dict[str, Any]) -> dict[str, Any]:
        return {"results": {name: results[name] for name in results if name != "inputs"}}

    def draw(self, report: dict[str, Any]) -> None:
        self.run.picture.write_text("drawn")

    def work(self, name: str, file: str) -> dict[str, int]:
        if name == self.failing:
            raise RuntimeError(f"{name} failed")
        self.done.append(name)
        path = self.run.out / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"of {name}")
        return {"done": len(self.done)}


def stage(
    name: str, part: Part, file: str, reads: tuple[str, ...] = (), keys: tuple[str, ...] = ()
) -> Stage[Toy]:
    def tell(pipeline: Toy, result: Any) -> None:
        pipeline.told.append((name, result))

    return Stage(
        name, part, lambda pipeline: pipeline.work(name, file), reads, keys,
        writes=(file.split("/")[0],), tell=tell,
    )  # fmt: skip


STAGES = [
    stage("prepare", Part.DATA, "tables/tracks.parquet", keys=("inputs", "data")),
    stage("split", Part.DATA, "split.parquet", ("prepare",), ("holdout",)),
    stage("graph", Part.GROUND, "graph/graph.json", ("prepare", "split"), ("graph",)),
    stage("titles", Part.GROUND, "titles.json", ("prepare",), ("genres",)),
    stage("train", Part.LEARNING, "checkpoints/best", ("graph",), ("model", "training")),
    stage("evaluate", Part.RESULT, "predictions.parquet", ("split", "train"), ("evaluation",)),
]
NAMES = [each.name for each in STAGES]


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "playlists.csv"
    path.write_text("a,b\n")
    return path


@pytest.fixture
def job(csv: Path) -> Callable[..., KaggleJob]:
    def made(**sections: Any) -> KaggleJob:
        inputs = {"playlists": str(csv), "features": "s3://bucket/features.csv"}
        return KaggleJob.model_validate({"mode": "mini", "inputs": inputs} | sections)

    return made


Jobs = Callable[..., KaggleJob]


def do_all(pipeline: Toy) -> dict[str, Any]:
    pipeline.prepare()
    pipeline.lay_out()
    pipeline.learn()
    return pipeline.conclude()


def test_parts_are_done_in_order_and_their_results_reported(tmp_path: Path, job: Jobs) -> None:
    pipeline = Toy(Run(tmp_path / "run", job()))
    pipeline.prepare()
    assert pipeline.done == NAMES[:1]
    pipeline.lay_out()
    assert pipeline.done == NAMES[:4]
    pipeline.learn()
    assert pipeline.done == NAMES[:5]
    report = pipeline.conclude()
    assert pipeline.done == NAMES
    assert report["results"] == {name: {"done": n} for n, name in enumerate(NAMES, 1)}
    assert report["config"] == job().model_dump(mode="json")
    assert list(report["seconds"]) == NAMES
    assert json.loads(pipeline.run.report.read_text()) == report
    assert pipeline.run.picture.read_text() == "drawn"


@pytest.mark.parametrize("failing", NAMES)
def test_a_run_goes_on_at_the_stage_that_failed(tmp_path: Path, job: Jobs, failing: str) -> None:
    out, place = tmp_path / "run", NAMES.index(failing)
    broken = Toy(Run(out, job()), failing)
    with pytest.raises(RuntimeError, match=f"{failing} failed"):
        do_all(broken)
    assert broken.done == NAMES[:place]
    assert not broken.run.report.exists()
    again = Toy(Run(out, job()))
    report = do_all(again)
    assert again.done == NAMES[place:]
    # What was done before is told all the same, with the result of then.
    assert [name for name, _ in again.told] == NAMES
    assert [result["done"] for _, result in again.told] == [
        *range(1, place + 1), *range(1, len(NAMES) - place + 1),
    ]  # fmt: skip
    assert report["results"] == dict(again.told)


def test_a_finished_run_only_reports_again(tmp_path: Path, job: Jobs) -> None:
    out = tmp_path / "run"
    first = do_all(Toy(Run(out, job())))
    again = Toy(Run(out, job()))
    assert do_all(again) == first, "seconds too are those of then"
    assert again.done == []


def test_an_outcome_that_is_gone_is_made_again_alone(tmp_path: Path, job: Jobs) -> None:
    out = tmp_path / "run"
    do_all(Toy(Run(out, job())))
    shutil.rmtree(out / "graph")
    again = Toy(Run(out, job()))
    do_all(again)
    assert again.done == ["graph"]


@pytest.mark.parametrize(
    ("changed", "redone"),
    [
        ({"evaluation": {"top_k": 30}}, ["evaluate"]),
        ({"training": {"epochs": 9}}, ["train", "evaluate"]),
        ({"model": {"heads": [2]}}, ["train", "evaluate"]),
        ({"graph": {"audio": False}}, ["graph", "train", "evaluate"]),
        ({"holdout": {"seed": 5}}, ["split", "graph", "train", "evaluate"]),
        ({"genres": {"min_artists": 7}}, ["titles"]),
        ({"data": {"max_playlists": 7}}, NAMES),
        ({"cluster": {"workers": 4}}, []),
    ],
)
def test_a_changed_setting_redoes_what_goes_by_it_and_no_more(
    tmp_path: Path, job: Jobs, changed: dict[str, Any], redone: list[str]
) -> None:
    """As trials of a search take over what the default setting has done."""
    before = Toy(Run(tmp_path / "before", job()))
    report = do_all(before)
    [(section, values)] = changed.items()
    keys = [f"{section}.{key}" for key in values]
    after = Toy(Run(tmp_path / "after", job(**changed)))
    left = unaffected(after.stages, keys)
    after.run.adopt(before.run, left)
    new = do_all(after)
    assert after.done == redone
    kept = [name for name in NAMES if name not in redone]
    assert [each.name for each in left] == kept
    for name in kept:
        assert new["results"][name] == report["results"][name]
        assert new["seconds"][name] == report["seconds"][name]


def test_only_finished_stages_are_adopted(tmp_path: Path, job: Jobs) -> None:
    broken = Toy(Run(tmp_path / "broken", job()), "graph")
    with pytest.raises(RuntimeError):
        do_all(broken)
    other = Toy(Run(tmp_path / "other", job()))
    other.run.adopt(broken.run, other.stages)
    assert set(other.run.seconds) == {"prepare", "split"}
    do_all(other)
    assert other.done == NAMES[2:]
    resumed = Toy(Run(tmp_path / "other", job()))
    do_all(resumed)
    assert resumed.done == []


def test_what_is_adopted_outlasts_the_run_it_came_from(tmp_path: Path, job: Jobs) -> None:
    first, second = (Toy(Run(tmp_path / name, job())) for name in ("first", "second"))
    first.prepare()
    second.run.adopt(first.run, second.stages)
    shutil.rmtree(first.run.out)
    do_all(second)
    assert second.done == NAMES[1:]
    assert (second.run.tables / "tracks.parquet").read_text() == "of prepare"


def old_run(out: Path, config: KaggleJob, csv: Path) -> None:
    """A run directory as it has always been written, left after ``prepare`` and ``split``."""
    Run(out, config)  # config.yaml, whose keys are not what this is about
    facts = csv.stat()
    inputs = {
        "playlists": {"bytes": facts.st_size, "modified_ns": facts.st_mtime_ns},
        "features": {"path": "s3://bucket/features.csv"},
    }
    stages = {
        "inputs": {"result": inputs},
        "prepare": {"seconds": 1.5, "result": {"done": 1}},
        "split": {"seconds": 0.25, "result": {"done": 2}},
    }
    (out / "stages.json").write_text(json.dumps(stages))
    (out / "tables").mkdir()
    (out / "tables" / "tracks.parquet").write_text("of then")
    (out / "split.parquet").write_text("of then")


def test_stages_json_of_an_earlier_release_resumes(tmp_path: Path, csv: Path, job: Jobs) -> None:
    out = tmp_path / "old"
    old_run(out, job(), csv)
    pipeline = Toy(Run(out, job()))
    report = do_all(pipeline)
    assert pipeline.done == NAMES[2:]
    assert report["seconds"]["prepare"] == 1.5
    assert report["results"]["split"] == {"done": 2}
    assert (out / "split.parquet").read_text() == "of then"


def test_a_stage_that_no_release_knows_any_more_does_not_hinder(
    tmp_path: Path, csv: Path, job: Jobs
) -> None:
    out = tmp_path / "old"
    old_run(out, job(), csv)
    stages = json.loads((out / "stages.json").read_text())
    stages["given up"] = {"seconds": 2.0, "result": None}
    (out / "stages.json").write_text(json.dumps(stages))
    pipeline = Toy(Run(out, job()))
    do_all(pipeline)
    assert pipeline.done == NAMES[2:]
    assert json.loads((out / "stages.json").read_text())["given up"] == stages["given up"]


def test_an_earlier_run_of_other_inputs_is_refused(tmp_path: Path, csv: Path, job: Jobs) -> None:
    out = tmp_path / "old"
    old_run(out, job(), csv)
    csv.write_text("a,b\nc,d\n")
    with pytest.raises(InputError, match="has changed since this run began"):
        Run(out, job())


def test_nothing_is_recorded_before_the_input_is_accepted(
    tmp_path: Path, job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "recorded", lambda *_: pytest.fail("recorded too early"))
    with pytest.raises(RuntimeError, match="prepare failed"):
        Toy(Run(tmp_path / "run", job()), "prepare").run_all()


def test_the_fingerprint_of_data_is_of_tables_and_split(tmp_path: Path, job: Jobs) -> None:
    pipelines = [Toy(Run(tmp_path / name, job())) for name in ("one", "other")]
    for pipeline in pipelines:
        do_all(pipeline)
    one, other = (pipeline.run for pipeline in pipelines)
    found = fingerprint_of_data(one)
    assert fingerprint_of_data(other) == found
    other.report.write_text("{}")
    assert fingerprint_of_data(other) == found
    other.split.write_text("another")
    assert fingerprint_of_data(other) != found


def test_a_run_measures_again_what_alone_has_changed(tmp_path: Path, job: Jobs) -> None:
    out = tmp_path / "run"
    do_all(Toy(Run(out, job(), STAGES)))
    other = job(evaluation={"top_k": 30})
    again = Toy(Run(out, other, STAGES))
    report = do_all(again)
    assert again.done == ["evaluate"]
    assert report["config"]["evaluation"]["top_k"] == 30
    for changed in ({"training": {"epochs": 9}}, {"mode": "full"}):
        with pytest.raises(InputError, match="give another --out"):
            Run(out, job(evaluation={"top_k": 30}, **changed), STAGES)
    with pytest.raises(InputError, match=r"evaluation\.top_k=30, asked for 20"):
        Run(out, job())
