"""What tests of several packages share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

from spotify_engine.playlists.schema import AUDIO_COLUMNS, TABLES
from spotify_engine.ragged import Ragged

# Of every job that tests start: the other core is other tests', and results follow from it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples every time, and no limit for one of them: a busy machine is no failure.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


# What starts servers, browsers, clusters or whole jobs; all else is the fast lane.
SLOW_FIXTURES = {
    "ray_cluster", "start_job", "finished", "browser", "redis_server", "postgresql", "worker",
}  # fmt: skip
SLOW_FILES = {
    "tests/baselines/test_gat_conformance.py", "tests/jobs/test_submit.py",
    "tests/jobs/test_train_synthetic.py", "tests/jobs/test_two_machines.py",
    "tests/playlists/test_training_workers.py", "tests/runtime/test_cluster.py",
    "tests/runtime/test_session_extremes.py", "tests/serving/test_job.py",
    "tests/serving/test_schema.py", "tests/sessions/test_notebook.py", "tests/test_supervision.py",
    "tests/tracking/test_tracker.py",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and let its files begin first: what is quick fills the gaps at the end."""
    slow = set()
    for item in items:
        file = item.nodeid.partition("::")[0]
        if file in SLOW_FILES or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
            slow.add(file)
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in slow)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One small Ray session for all tests that need one."""
    import ray

    from spotify_engine.runtime.cluster import start_on_loopback

    start_on_loopback(
        num_cpus=2, include_dashboard=False, object_store_memory=300 << 20, log_to_driver=False
    )
    yield
    ray.shutdown()


def _load(path: Path) -> Any:
    """A module beside the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def servers() -> Any:
    """The module ``tests/servers.py``."""
    return _load(Path(__file__).with_name("servers.py"))


@pytest.fixture(scope="session")
def redis_server(servers: Any) -> Iterator[Any]:
    """A running ``servers.Redis``; a test that kills it starts it again."""
    server = servers.Redis()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgresql(servers: Any) -> Iterator[Any]:
    """A running ``servers.PostgreSQL``; a test that kills it starts it again."""
    server = servers.PostgreSQL()
    server.start()
    yield server
    server.end()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads only get in each other's way on matrices this small."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def two_blocks() -> Callable[[], Ragged]:
    """Makes the playlists of two taste groups; 24 tracks."""
    made: Callable[[], Ragged] = _load(
        Path(__file__).parent / "baselines/conformance.py"
    ).two_blocks
    return made


@dataclass(frozen=True)
class World:
    """Two taste groups: even playlists hold tracks 0..11, odd ones 12..23; 24 and 25 are in none.

    Artist ``i`` made tracks ``2i`` and ``2i + 1``, and appears on every fifth track of another.
    Artists 0..5 play rock, 6..10 jazz, the others nothing known; 5 plays jazz, too.
    """

    tables: dict[str, pa.Table]
    train: Ragged
    val: Ragged
    test: Ragged

    def graph(self, **config: Any) -> Any:
        """(data, scale) of the training part."""
        from spotify_engine.playlists.model.graph import GraphConfig, build_graph

        return build_graph(self.tables, self.train, GraphConfig(**config))


N_TRACKS, HALF = 26, 12


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """Makes a :class:`World` of so many playlists; the same one for the same arguments."""

    def make(playlists: int = 40, seed: int = 0) -> World:
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(HALF)[:9] + HALF * (i % 2) for i in range(playlists)]
        parts = [
            Ragged.from_lists([row[a:b] for row in drawn]) for a, b in ((0, 7), (7, 8), (8, 9))
        ]
        return World(_tables(rng, drawn), *parts)

    return make


@pytest.fixture(scope="session")
def make_recommender(world: World) -> Callable[..., Any]:
    """Makes a recommender of a world's tracks; untrained, since its claims hold for any weights."""

    def make(of: World = world, graph: dict[str, Any] | None = None, **model: Any) -> Any:
        import torch

        from spotify_engine.playlists.model.gat import PlaylistGAT
        from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
        from spotify_engine.playlists.recommender import PlaylistRecommender

        data, scale = of.graph(**(graph or {}))
        torch.manual_seed(0)
        config = {"embedding_dim": 6, "layers": (8, 8, 4), "heads": (2, 2, 2)} | model
        gat = PlaylistGAT(GraphShape.of(data), PlaylistGATConfig(**config))
        torch.nn.init.normal_(gat.bias.weight, std=0.3)
        return PlaylistRecommender.from_training(gat, data, of.tables, scale, of.train)

    return make


@pytest.fixture(scope="session")
def make_session_recommender() -> Callable[..., Any]:
    """Makes a session recommender of all plays of some tables; untrained, as above."""

    def make(tables: dict[str, pa.Table], seed: int = 0) -> Any:
        import torch
        from scipy import sparse

        from spotify_engine.sessions.model.basic_gat import Relations
        from spotify_engine.sessions.model.enhanced_gat import EnhancedGAT, EnhancedGATConfig
        from spotify_engine.sessions.model.graph import SessionGraphConfig, build_session_graph
        from spotify_engine.sessions.model.session_aware import (
            Counts,
            SessionModel,
            SessionModelConfig,
        )
        from spotify_engine.sessions.model.vectors import GATVectors
        from spotify_engine.sessions.queries import queries_of_events
        from spotify_engine.sessions.recommender import SessionRecommender, membership_of
        from spotify_engine.sessions.tables.edges import song_artists

        events = tables["events"]
        user, song = (events[name].to_numpy().astype(np.int64) for name in ("user", "song"))
        n_users, n_songs = len(tables["users"]), len(tables["songs"])
        queries = queries_of_events(events, np.arange(len(events)), 6)
        counts = Counts.of(queries, song, song_artists(tables), membership_of(tables), n_users)
        data = build_session_graph(tables, tables["edge_list"], SessionGraphConfig())
        relations = Relations(data)
        torch.manual_seed(seed)
        gat = EnhancedGAT(relations.nodes, relations.kinds, EnhancedGATConfig(dim=8, hidden=16))
        listens = sparse.csr_array((np.ones(len(user)), (user, song)), shape=(n_users, n_songs))
        listens.sum_duplicates()
        return SessionRecommender(
            tables,
            np.bincount(song, minlength=n_songs),
            listens,
            SessionModel(counts, SessionModelConfig()),
            GATVectors.of(gat, relations),
        )

    return make


@pytest.fixture(scope="session")
def world(make_world: Callable[..., World]) -> World:
    return make_world()


def _tables(rng: np.random.Generator, playlists: list[np.ndarray]) -> dict[str, pa.Table]:
    track = np.arange(N_TRACKS)
    names = [f"Song {i}" for i in track]
    names[3] = "Alive - Live"
    artists = [f"Artist {i}" for i in range(N_TRACKS // 2)]
    artists[1] = "Duo - One"
    audio = rng.random((N_TRACKS, len(AUDIO_COLUMNS))).astype(np.float32)
    known = np.ones(audio.shape, dtype=bool)
    known[7, 6] = known[24] = False
    guests = track[::5]
    flat = np.concatenate(playlists)
    n_playlists = np.bincount(flat, minlength=N_TRACKS)
    performer = np.array([*range(11), 5])
    played = np.array([0] * 6 + [1] * 6)
    columns: dict[str, list[Any]] = {
        "playlists": [
            np.arange(len(playlists)),
            [f"user {i // 3}" for i in range(len(playlists))],
            [f"Mix {i}" for i in range(len(playlists))],
            [len(row) for row in playlists],
        ],
        "tracks": [
            track,
            [f"id{i}" for i in track],
            names,
            track // 2,
            [artists[i // 2] for i in track],
            n_playlists,
            pa.array(track // 4, pa.int32(), mask=track % 7 == 6),
            pa.array(np.float32(1980 + track), mask=track % 5 == 4),
            ~known.all(axis=1),
            *(pa.array(audio[:, i], mask=~known[:, i]) for i in range(audio.shape[1])),
        ],
        "artists": [np.arange(len(artists)), artists, np.full(len(artists), 2)],
        "genres": [[0, 1], ["rock", "jazz"]],
        "playlist_tracks": [
            np.repeat(np.arange(len(playlists)), [len(row) for row in playlists]),
            flat,
            np.concatenate([np.arange(len(row)) for row in playlists]),
        ],
        "track_artists": [
            np.concatenate([track, guests]),
            np.concatenate([track // 2, (guests // 2 + 3) % len(artists)]),
            np.concatenate([np.zeros(len(track)), np.ones(len(guests))]).astype(int),
        ],
        "artist_genres": [performer, played, np.ones(len(performer))],
        "rejects": [[], [], [], [], []],
    }
    return {
        name: pa.table(
            [
                pa.array(values, field.type) if not isinstance(values, pa.Array) else values
                for values, field in zip(columns[name], schema, strict=True)
            ],
            schema=schema,
        )
        for name, schema in TABLES.items()
    }
