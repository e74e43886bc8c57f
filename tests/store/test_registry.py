"""Versions: published whole or not at all, activated in one step, whoever dies in between."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spotify_engine.errors import InputError
from spotify_engine.pipelines import PIPELINES
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.recommenders import LOADERS, open_registry
from spotify_engine.store.bundle import MANIFEST, WEIGHTS, open_bundle
from spotify_engine.store.registry import ACTIVE, ID, Registry, UnknownVersion, Version

Save = Callable[..., Path]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry(tmp_path / "registry")


@pytest.fixture
def first(tmp_path: Path, save_bundle: Save) -> Path:
    return save_bundle(tmp_path / "first", test={"recall@10": 0.25, "ndcg@10": 0.5})


@pytest.fixture
def second(tmp_path: Path, save_bundle: Save) -> Path:
    return save_bundle(tmp_path / "second", test={"recall@10": 0.75}, val={"mrr@10": 0.125})


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def whole(registry: Registry) -> list[Version]:
    """The versions, after a look at every byte of them and at the pointer."""
    assert registry.broken("playlists") == {}
    found = registry.versions("playlists")
    for version in found:
        open_bundle(version.path, "playlists")
    assert {registry.current("playlists"), registry.previous("playlists")} <= {None, *found}
    return found


def test_a_version_is_a_copy_of_the_bundle_with_its_figures_and_lineage(
    registry: Registry, first: Path
) -> None:
    lineage = {"config": {"epochs": 3}, "parent": "runs/a"}
    version = registry.publish(first, lineage)
    assert files(version.path) == files(first)
    assert version.metrics == {"test.recall@10": 0.25, "test.ndcg@10": 0.5}
    assert (version.pipeline, version.fingerprint) == ("playlists", "ab" * 32)
    assert version.lineage == lineage
    assert open_registry(registry.root).get(version.id) == version
    shutil.rmtree(first)
    assert PlaylistRecommender.load(version.path).complete([], title="rock", k=3)
    assert registry.current("playlists") is None


def test_the_copy_is_not_the_file_of_the_run(registry: Registry, first: Path) -> None:
    version = registry.publish(first)
    for path in first.iterdir():
        with path.open("r+b") as file:
            file.write(b"overwritten in place")
    open_bundle(version.path, "playlists")


def test_only_what_the_manifest_lists_is_copied(registry: Registry, first: Path) -> None:
    (first / "secret.txt").write_text("mine")
    assert not (registry.publish(first).path / "secret.txt").exists()


def test_the_same_content_is_the_same_version(
    registry: Registry, first: Path, second: Path, tmp_path: Path
) -> None:
    version = registry.publish(first, {"run": 1})
    shutil.copytree(first, tmp_path / "copy")
    assert registry.publish(tmp_path / "copy", {"run": 2}) == version
    assert registry.publish(version.path) == version
    other = registry.publish(second)
    assert registry.versions("playlists") == [other, version]


def test_content_whose_copy_is_damaged_is_published_anew(tmp_path: Path, first: Path) -> None:
    seconds = (datetime(2026, 1, 1, 12, 30, second, tzinfo=UTC) for second in (7, 8))
    registry = Registry(tmp_path / "registry", LOADERS, seconds.__next__)
    damaged = registry.publish(first)
    (damaged.path / WEIGHTS).write_bytes(b"")
    version = registry.publish(first)
    assert damaged.id.startswith("playlists-20260101-123007-")
    assert version.id.startswith("playlists-20260101-123008-")
    assert registry.activate(version.id) == version


def test_each_pipeline_has_its_own(
    registry: Registry, first: Path, tmp_path: Path, save_bundle: Save
) -> None:
    ours = registry.publish(first)
    theirs = registry.publish(save_bundle(tmp_path / "sessions", "sessions", gat={"mrr": 0.5}))
    assert theirs.pipeline == "sessions"
    assert theirs.metrics == {"gat.mrr": 0.5}
    registry.activate(theirs.id)
    assert registry.current("playlists") is None
    assert registry.current("sessions") == theirs
    assert registry.versions("playlists") == [ours]
    with pytest.raises(InputError, match="not comparable"):
        registry.compare(ours.id, theirs.id)


def test_activate_and_roll_back(registry: Registry, first: Path, second: Path) -> None:
    stamps = [registry.stamp("playlists")]
    a, b = registry.publish(first), registry.publish(second)
    assert registry.stamp("playlists") == stamps[0]

    def state() -> tuple[Version | None, Version | None]:
        stamps.append(registry.stamp("playlists"))
        return registry.current("playlists"), registry.previous("playlists")

    with pytest.raises(InputError, match="playlists has no previous version"):
        registry.rollback("playlists")
    registry.activate(a.id)
    assert state() == (a, None)
    with pytest.raises(InputError, match="playlists has no previous version"):
        registry.rollback("playlists")
    registry.activate(b.id)
    assert state() == (b, a)
    registry.activate(b.id)
    assert state() == (b, a)
    assert registry.rollback("playlists") == a
    assert state() == (a, b)
    assert registry.rollback("playlists") == b
    assert state() == (b, a)
    changes = [before != after for before, after in pairwise(stamps)]
    assert changes == [True, True, False, True, True]


def test_compare_lists_every_metric_of_either(
    registry: Registry, first: Path, second: Path
) -> None:
    a, b = registry.publish(first), registry.publish(second)
    assert registry.compare(a.id, b.id) == [
        ("test.ndcg@10", 0.5, None),
        ("test.recall@10", 0.25, 0.75),
        ("val.mrr@10", None, 0.125),
    ]


def test_metrics_are_numbers(registry: Registry, tmp_path: Path, save_bundle: Save) -> None:
    mixed = {"a": 1, "b": {"c": 0.5, "d": "text", "e": None, "f": [1]}, "g": True, "h": np.nan}
    assert registry.publish(save_bundle(tmp_path / "b", **mixed)).metrics == {"a": 1.0, "b.c": 0.5}


def test_remove_spares_the_current_and_the_previous_version(
    registry: Registry, first: Path, second: Path, tmp_path: Path, save_bundle: Save
) -> None:
    a, b = registry.publish(first), registry.publish(second)
    c = registry.publish(save_bundle(tmp_path / "third"))
    registry.activate(a.id)
    registry.activate(b.id)
    for version, role in ((b, "current"), (a, "previous")):
        with pytest.raises(InputError, match=f"{version.id} is the {role} version"):
            registry.remove(version.id)
    registry.remove(c.id)
    assert whole(registry) == [b, a]
    with pytest.raises(UnknownVersion):
        registry.get(c.id)
    assert not c.path.parent.exists()


NO_IDS = ["", ".", "..", "../first", "/etc", "playlists", f"../registry/playlists/{'x' * 5}",
          "playlists-20260101-000000-0123456789ab", "playlists-20260101-000000-0123456789ab/",
          "playlists-2026010١-000000-0123456789ab", "playlists\0", ACTIVE, ".lock"]  # fmt: skip


@pytest.mark.parametrize("id", NO_IDS)
def test_what_is_no_id_is_unknown_and_touches_nothing(
    registry: Registry, first: Path, id: str
) -> None:
    registry.activate(registry.publish(first).id)
    before = files(registry.root.parent)
    for use in (registry.get, registry.activate, registry.remove):
        with pytest.raises(UnknownVersion, match="no version") as caught:
            use(id)
        assert "\n" not in str(caught.value)
    assert files(registry.root.parent) == before


@pytest.mark.parametrize("pipeline", ["", "..", "songs", "playlists/"])
def test_an_unknown_pipeline_is_refused(registry: Registry, pipeline: str) -> None:
    for use in (registry.versions, registry.current, registry.rollback, registry.stamp):
        with pytest.raises(InputError, match="there are playlists and sessions"):
            use(pipeline)


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refit(folder: Path, name: str, content: bytes, **facts: object) -> None:
    """Change a file so that its checksum fits."""
    (folder / name).write_bytes(content)
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    listed[name] |= {"sha256": hashlib.sha256(content).hexdigest()} | facts
    edit(folder, files=listed)


def with_nan(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    next(iter(weights.values())).view(-1)[0] = torch.nan
    save_file(weights, folder / WEIGHTS)
    refit(folder, WEIGHTS, (folder / WEIGHTS).read_bytes())


def with_a_row_less(folder: Path) -> None:
    vectors = np.load(folder / "item_vectors.npy")[:-1]
    np.save(folder / "item_vectors.npy", vectors)
    content = (folder / "item_vectors.npy").read_bytes()
    refit(folder, "item_vectors.npy", content, shape=list(vectors.shape))


def truncated(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, 100)


DAMAGE = {
    "truncated": (truncated, r"weights\.safetensors: changed or truncated"),
    "missing": (lambda b: (b / "tracks.parquet").unlink(), r"tracks\.parquet: listed in the"),
    "NaN": (with_nan, r"weights\.safetensors: .* holds NaN"),
    "mismatch": (with_a_row_less, r"item_vectors\.npy: 25 rows for 26 tracks"),
    "pipeline": (lambda b: edit(b, pipeline="songs"), r"a bundle of 'songs'; the pipelines are"),
    "no pipeline": (lambda b: edit(b, pipeline=[]), r"a bundle of \[\]; the pipelines are"),
    "other pipeline": (lambda b: edit(b, pipeline="sessions"), "parts do not fit|has no users"),
    "format": (lambda b: edit(b, format_version=9), "format version 9, this release reads 1"),
    "no JSON": (lambda b: (b / MANIFEST).write_text("{"), r"manifest\.json: not readable as JSON"),
    "no bundle": (shutil.rmtree, r"not a bundle \(manifest\.json is missing\)"),
}


@pytest.mark.parametrize(("damage", "why"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_bundle_is_refused_and_the_old_version_stays(
    registry: Registry, first: Path, second: Path, damage: Callable[[Path], None], why: str
) -> None:
    a = registry.activate(registry.publish(first).id)
    before = files(registry.root)
    damage(second)
    with pytest.raises(InputError, match=why) as caught:
        registry.publish(second)
    assert "\n" not in str(caught.value)
    assert files(registry.root) == before
    assert registry.current("playlists") == a


@pytest.mark.parametrize("name", ["truncated", "missing", "NaN", "mismatch", "format"])
def test_a_version_that_rotted_is_not_activated_nor_rolled_back_to(
    registry: Registry, first: Path, second: Path, name: str
) -> None:
    damage, why = DAMAGE[name]
    a, b = registry.publish(first), registry.publish(second)
    registry.activate(a.id)
    before = registry.stamp("playlists")
    damage(b.path)
    with pytest.raises(InputError, match=why):
        registry.activate(b.id)
    assert registry.stamp("playlists") == before
    (registry.root / "playlists" / ACTIVE).write_text(
        json.dumps({"current": a.id, "previous": b.id})
    )
    with pytest.raises(InputError, match=why):
        registry.rollback("playlists")
    assert registry.current("playlists") == a


def test_only_what_was_loaded_just_now_is_not_checked_again(
    registry: Registry, first: Path, second: Path
) -> None:
    one, other = registry.publish(first), registry.publish(second)
    checked: list[Path] = []
    registry = Registry(registry.root, dict.fromkeys(PIPELINES, checked.append))
    registry.activate(one.id, loaded=one.id)
    registry.activate(other.id, loaded=one.id)
    registry.rollback("playlists", loaded=other.id)
    registry.rollback("playlists", loaded=other.id)
    assert checked == [other.path, one.path]
    assert registry.current("playlists") == other


def test_a_file_that_changes_while_it_is_copied_is_not_published(
    tmp_path: Path, first: Path
) -> None:
    def checked_then_changed(bundle: Path) -> None:
        LOADERS["playlists"](bundle)
        truncated(bundle)

    registry = Registry(tmp_path / "registry", {"playlists": checked_then_changed})
    with pytest.raises(InputError, match="changed while it was copied"):
        registry.publish(first)
    assert {p.name for p in registry.root.rglob("*")} == {".lock", "playlists"}


@pytest.mark.parametrize("name", ["version.json", "bundle/manifest.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff", b"{}"])
def test_broken_versions_are_listed_apart_and_can_be_removed(
    registry: Registry, first: Path, second: Path, name: str, content: bytes | None
) -> None:
    a, b = registry.publish(first), registry.publish(second)
    path = b.path.parent / name
    path.unlink() if content is None else path.write_bytes(content)
    assert registry.versions("playlists") == [a]
    broken = registry.broken("playlists")
    assert list(broken) == [b.id]
    assert f"{path}: missing or damaged" in broken[b.id]
    with pytest.raises(InputError, match="missing or damaged"):
        registry.get(b.id)
    registry.remove(b.id)
    assert registry.broken("playlists") == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"current": 5, "previous": null}', "\udcff"])
def test_a_damaged_pointer_is_named(registry: Registry, first: Path, content: str) -> None:
    version = registry.publish(first)
    path = registry.root / "playlists" / ACTIVE
    path.write_bytes(content.encode(errors="surrogateescape"))
    for use in (registry.current, registry.rollback):
        with pytest.raises(InputError, match=re.escape(f"{path}: damaged; delete it")):
            use("playlists")
    path.unlink()
    registry.activate(version.id)
    assert registry.current("playlists") == version


def test_a_registry_that_can_not_be_written_is_named(tmp_path: Path, first: Path) -> None:
    (tmp_path / "file").write_text("")
    said = r"registry: can't be written \(Not a directory\); nothing was published"
    with pytest.raises(InputError, match=said):
        open_registry(tmp_path / "file" / "registry").publish(first)


def test_nothing_is_made_by_looking(registry: Registry) -> None:
    assert registry.versions("playlists") == []
    assert registry.broken("sessions") == {}
    assert registry.current("sessions") is None
    assert not registry.root.exists()


class Worker:
    """``registry_worker.py``, of which see there."""

    def __init__(self, bundles: list[Path]) -> None:
        script = Path(__file__).with_name("registry_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, script, *bundles],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        assert self.output.readline() == "ready\n"

    def do(self, command: str, kill_after: tuple[int, float] | None = None) -> list[str]:
        """What the processes said before they died.

        Args:
            kill_after: so many lines, and seconds from then on.
        """
        self.input.write(f"{command}\n")
        lines = []
        if kill_after is not None:
            count, seconds = kill_after
            pid = int(self.output.readline().split()[1])
            lines = [self.output.readline() for _ in range(count)]
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        lines += iter(self.output.readline, "dead\n")
        said = [line.strip() for line in lines if not line.startswith("pid ")]
        assert not [line for line in said if line.startswith("failed")]
        return said


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, save_bundle: Save) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("bundles")
    worker = Worker([save_bundle(folder / str(i), n=i) for i in range(4)])
    yield worker
    worker.input.close()
    worker.process.wait()


def test_death_at_any_write_leaves_the_old_state_or_the_new(
    registry: Registry, first: Path, worker: Worker
) -> None:
    old = registry.activate(registry.publish(first).id)
    deaths = 0
    while not worker.do(f"crash {registry.root} {deaths}"):
        found, current = whole(registry), registry.current("playlists")
        assert old in found
        assert len(found) <= 2
        assert current in found
        # The next one must find the state as it was.
        registry.activate(old.id)
        for version in found:
            if version != old:
                (registry.root / "playlists" / ACTIVE).write_text(
                    json.dumps({"current": old.id, "previous": None})
                )
                registry.remove(version.id)
        deaths += 1
    # At least one for each file of a bundle, three folders, two descriptions and three renames.
    assert deaths >= len(list(first.iterdir())) + 8
    new = registry.current("playlists")
    assert new is not None
    assert whole(registry) == [new, old]
    assert not list((registry.root / "playlists").glob(".*"))


def test_death_at_random_moments_loses_nothing_that_was_acknowledged(
    registry: Registry, worker: Worker
) -> None:
    rng = np.random.default_rng(5)
    activated = 0
    for _ in range(8):
        moment = int(rng.integers(6)), float(rng.uniform(0, 0.05))
        said = [line.split() for line in worker.do(f"loop {registry.root}", moment)]
        whole(registry)
        current = registry.current("playlists")
        done = [id for what, id in said if what == "activated"]
        activated += len(done)
        if done:
            published = [id for what, id in said if what == "published"]
            previous = registry.previous("playlists")
            assert current is not None
            # Or the next one, which was current before it could say so.
            if current.id != done[-1]:
                assert previous is not None
                assert (current.id, previous.id) == (published[-1], done[-1])
    assert activated >= 8


def test_processes_that_publish_at_once_agree(registry: Registry, worker: Worker) -> None:
    said = [line.split()[1] for line in worker.do(f"race {registry.root} 3")]
    assert len(said) == 12
    assert len(set(said)) == 4
    assert {version.id for version in whole(registry)} == set(said)
    assert all(ID.fullmatch(id) for id in said)
