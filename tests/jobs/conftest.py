"""A tiny data set, a finished run on it, and running jobs as a user does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from spotify_engine.playlists.synthetic import SampleConfig, write_sample
from tests.sockets import Sockets

ROOT = Path(__file__).parents[2]
EPOCHS = 3
# Making a store takes seconds; runs that are to be looked up say so.
UNRECORDED, RECORDED = "--set=tracking.enabled=false", "--set=tracking.enabled=true"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are started in the project's root and import each other."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def sample(shared: Path) -> Path:
    """About 150 playlists of 6 taste groups."""
    folder = shared / "sample" / "data"
    with FileLock(shared / "sample.lock"):
        if not folder.exists():
            folder.parent.mkdir()
            sizes = {"users": 30, "playlists": 160, "rows": 4500, "tracks": 600, "artists": 120}
            write_sample(folder, SampleConfig.demo(**sizes, groups=6, feature_rows=900))
    return folder


@pytest.fixture(scope="session")
def training_flags(sample: Path) -> list[str]:
    """Of a short training whose epochs last long enough to be interrupted."""
    return [
        "--mode=mini",
        f"--playlists={sample / 'spotify_dataset.csv'}",
        f"--features={sample / 'tracks_features.csv'}",
        f"--set=training.epochs={EPOCHS}",
        "--set=training.min_steps_per_epoch=40",
        "--set=training.checkpoint_every=1",
        "--set=training.patience=10",
        UNRECORDED,
    ]


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """For Ray's files and sockets: a short path, as those of sockets must be."""
    folder = Path(tempfile.mkdtemp(prefix="spotify-ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Job(subprocess.Popen[str]):
    """A job that must not listen to the network."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.sockets = Sockets(self.pid).__enter__()

    def communicate(self, *given: Any, **options: Any) -> tuple[str, str]:
        said = super().communicate(*given, **options)
        self.sockets.end()
        return said


@pytest.fixture(scope="session")
def start_job(ray_folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``python jobs/NAME FLAGS...`` in a process group, beside any running cluster."""

    def start(name: str, *flags: str) -> subprocess.Popen[str]:
        return Job(
            [sys.executable, f"jobs/{name}", *flags],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(ray_folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture(scope="session")
def finished(
    shared: Path,
    training_flags: list[str],
    start_job: Callable[..., subprocess.Popen[str]],
) -> tuple[Path, str]:
    """Run directory and printed text of one undisturbed training, recorded and registered.

    Processes that share the tests share it: whoever is first trains, and nobody changes it.
    """
    folder = shared / "runs"
    out, log = folder / "mini", folder / "printed.txt"
    registry = folder / "registry"
    with FileLock(shared / "runs.lock"):
        if not log.exists():
            job = start_job(
                "train_kaggle.py", *training_flags, f"--out={out}", RECORDED,
                f"--register={registry}",
            )  # fmt: skip
            printed, errors = job.communicate(timeout=300)
            assert job.returncode == 0, printed + errors
            log.write_text(printed)
    return out, log.read_text()
