"""Which stages a change of the configuration leaves as they are."""

from __future__ import annotations

import pytest

from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.pipelines.playlists import STAGES
from spotify_engine.runtime.pipelines.sessions import SessionPipeline
from spotify_engine.sessions.settings import SyntheticJob
from spotify_engine.stages import Part, Stage, goes_by, unaffected


def stage(name: str, reads: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> Stage[None]:
    return Stage(name, Part.GROUND, lambda _: None, reads, keys)


CHAIN = [
    stage("tables", keys=("data",)),
    stage("words", ("tables",), ("genres",)),
    stage("graph", ("tables", "words"), ("graph", "model.width")),
    stage("titles", ("tables",), ("titles",)),
]


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ([], ["tables", "words", "graph", "titles"]),
        (["titles.share"], ["tables", "words", "graph"]),
        (["model.width"], ["tables", "words", "titles"]),
        (["model"], ["tables", "words", "titles"]),
        (["model.depth"], ["tables", "words", "graph", "titles"]),
        (["genres.fewest"], ["tables", "titles"]),
        (["data.unmatched"], []),
    ],
)
def test_what_reads_a_changed_key_or_stage_is_affected(keys: list[str], left: list[str]) -> None:
    assert [each.name for each in unaffected(CHAIN, keys)] == left


def test_names_that_only_begin_alike_are_not_within_each_other() -> None:
    assert not goes_by([stage("start", keys=("start",))], "starting.point")


def pipelines() -> dict[str, tuple[type, list[Stage]]]:
    return {
        "playlists": (KaggleJob, list(STAGES)),
        **{
            f"sessions, {trainer}, data {data}": (
                SyntheticJob,
                list(
                    SessionPipeline.stages_of(
                        SyntheticJob.model_validate({"trainer": trainer, "inputs": {"data": data}})
                    )
                ),
            )
            for trainer in ("simple", "advanced")
            for data in (None, "folder")
        },
    }


@pytest.mark.parametrize("name", pipelines())
def test_stages_read_earlier_ones_and_go_by_keys_that_there_are(name: str) -> None:
    job, stages = pipelines()[name]
    everything = {"prepare", "generate", "split"}
    for number, each in enumerate(stages):
        earlier = {before.name for before in stages[:number]}
        assert set(each.reads) <= earlier | everything
        for key in each.keys:
            model = job
            for part in key.split("."):
                assert part in model.model_fields, key
                model = model.model_fields[part].annotation
    parts = [list(Part).index(each.part) for each in stages]
    assert parts == sorted(parts), "data, then what learning begins with, learning, results"
