import json
import re

import pytest

from spotify_engine.errors import InputError
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.stages import Part, Stage


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "playlists.csv"
    path.write_text("a,b\n")
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "mine"


def job(csv, **sections):
    inputs = {"playlists": str(csv), "features": "s3://bucket/features.csv"}
    return KaggleJob.model_validate({"mode": "mini", "inputs": inputs} | sections)


def done(run, name, work, *writes):
    """Does a stage that needs no pipeline."""
    return run.do(Stage(name, Part.DATA, lambda _: work(), writes=writes), None)


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_finished_stage_is_not_run_again(out, csv):
    calls = []

    def work():
        calls.append(1)
        return {"rows": 3}

    run = Run(out, job(csv))
    assert done(run, "prepare", work) == {"rows": 3}
    assert done(run, "prepare", work) == {"rows": 3}
    later = Run(out, job(csv))
    assert done(later, "prepare", work) == {"rows": 3}
    assert calls == [1]
    assert done(later, "split", lambda: 5) == 5
    assert set(later.seconds) == {"prepare", "split"}
    assert json.loads((out / "stages.json").read_text())["prepare"]["result"] == {"rows": 3}


def test_a_stage_whose_outcome_is_gone_is_run_again(out, csv):
    run = Run(out, job(csv))
    done(run, "bundle", lambda: run.bundle.mkdir(), "bundle")
    assert done(run, "bundle", lambda: "again", "bundle") is None, "it is there: not redone"
    run.bundle.rmdir()
    assert done(Run(out, job(csv)), "bundle", lambda: "again", "bundle") == "again"


def test_what_came_of_a_stage_is_said_each_time(out, csv):
    told = []
    stage = Stage("split", Part.DATA, lambda given: given + 1, tell=lambda *what: told.append(what))
    assert Run(out, job(csv)).do(stage, 1) == 2
    assert Run(out, job(csv)).do(stage, 5) == 2
    assert told == [(1, 2), (5, 2)]


def test_stages_that_are_taken_over_bring_what_they_wrote(tmp_path, csv):
    one, other = (Run(tmp_path / name, job(csv)) for name in ("one", "other"))

    def tables():
        one.tables.mkdir()
        (one.tables / "tracks").write_text("as read")

    def genres():
        (one.tables / "genres").write_text("mined")

    stages = [
        Stage("prepare", Part.DATA, lambda _: tables(), writes=("tables",)),
        Stage("genres", Part.GROUND, lambda _: genres(), writes=("tables/genres",)),
        Stage("graph", Part.GROUND, lambda _: pytest.fail("not asked for"), writes=("graph",)),
    ]
    for stage in stages[:2]:
        one.do(stage, None)
    other.adopt(one, stages)
    assert set(other.seconds) == {"prepare", "genres"}
    assert {path.name: path.read_text() for path in other.tables.iterdir()} == {
        "tracks": "as read", "genres": "mined",
    }  # fmt: skip


def test_a_failed_stage_is_run_again(out, csv):
    run = Run(out, job(csv))
    done(run, "prepare", lambda: 1)
    with pytest.raises(RuntimeError):
        done(run, "train", lambda: exec("raise RuntimeError"))
    again = Run(out, job(csv))
    assert done(again, "prepare", lambda: 2) == 1
    assert done(again, "train", lambda: 3) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training": {"epochs": 9}}, "holds a run with training.epochs=8, asked for 9"),
        ({"mode": "full"}, "holds a run with mode=mini, asked for full"),
        ({"model": {"heads": [2]}}, "holds a run with model.heads=[4], asked for"),
        ({"data": {"max_playlists": 7}}, "holds a run with data.max_playlists=None, asked for 7"),
    ],
)
def test_another_configuration_is_refused_by_key(out, csv, changed, message):
    done(Run(out, job(csv)), "prepare", lambda: 1)
    before = files(out)
    with pytest.raises(InputError, match=re.escape(f"{out}: {message}")) as caught:
        Run(out, job(csv, **changed))
    assert "give another --out" in str(caught.value)
    assert files(out) == before, "nothing is overwritten"


def test_the_cluster_may_differ(out, csv):
    done(Run(out, job(csv)), "prepare", lambda: 1)
    again = Run(out, job(csv, cluster={"workers": 4, "cpus_per_worker": 2}))
    assert done(again, "prepare", lambda: 2) == 1
    assert again.config.cluster.workers == 4


def test_changed_input_is_refused(out, csv):
    done(Run(out, job(csv)), "prepare", lambda: 1)
    before = files(out)
    csv.write_text("a,b\nc,d\n")
    message = rf"{re.escape(str(csv))} has changed since this run began; give another --out"
    with pytest.raises(InputError, match=message):
        Run(out, job(csv))
    assert files(out) == before


def test_foreign_folder_is_refused(out, csv):
    out.mkdir(parents=True)
    (out / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files but no run; give --out an empty folder"):
        Run(out, job(csv))
    assert [path.name for path in out.iterdir()] == ["letter.txt"]


def test_empty_folder_is_taken(out, csv):
    out.mkdir(parents=True)
    assert done(Run(out, job(csv)), "prepare", lambda: 1) == 1


def refuse():
    raise InputError("no such column")


def test_refused_input_leaves_nothing_behind(out, csv):
    with pytest.raises(InputError, match="no such column"):
        done(Run(out, job(csv)), "prepare", refuse)
    assert not out.exists()
    # So that the corrected command may use the same --out.
    done(Run(out, job(csv, data={"unmatched": "keep"})), "prepare", lambda: 1)


def test_input_refused_later_keeps_what_is_done(out, csv):
    run = Run(out, job(csv))
    done(run, "prepare", lambda: 1)
    before = files(out)
    with pytest.raises(InputError):
        done(run, "genres", refuse)
    assert files(out) == before


def test_a_full_disk_is_said_in_a_line_and_costs_no_finished_stage(out, csv):
    run = Run(out, job(csv))
    done(run, "prepare", lambda: {"rows": 3})

    def full():
        with open("/dev/full", "w") as file:
            file.write("more than there is room for")

    message = f"{out}: stage split stopped (No space left on device); make room, then run"
    with pytest.raises(InputError, match=re.escape(message)):
        done(run, "split", full)
    again = Run(out, job(csv))
    assert done(again, "prepare", lambda: pytest.fail("done before")) == {"rows": 3}
    assert done(again, "split", lambda: 7) == 7


def test_an_out_that_cannot_be_made_is_named(tmp_path, csv):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    with pytest.raises(InputError, match=re.escape(f"{out}: can't be written (Not a directory)")):
        Run(out, job(csv))


def test_an_out_that_is_a_file_is_named(tmp_path, csv):
    out = tmp_path / "file"
    out.write_text("")
    with pytest.raises(InputError, match=re.escape(f"{out}: can't be written (Not a directory)")):
        Run(out, job(csv))


@pytest.mark.parametrize("name", ["stages.json", "config.yaml"])
def test_damaged_notes_are_named(name, out, csv):
    Run(out, job(csv))
    (out / name).write_text("{")
    with pytest.raises(InputError, match=re.escape(str(out / name))):
        Run(out, job(csv))


def test_rights_that_are_missing_are_said_in_a_line(out, csv):
    def refused():
        raise PermissionError(13, "Permission denied", "runs/x")

    message = "runs/x: stage split stopped (Permission denied); give the rights to write, then run"
    with pytest.raises(InputError, match=re.escape(message)):
        done(Run(out, job(csv)), "split", refused)
