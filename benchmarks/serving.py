"""The serving application beside a Serve application that does nothing, in the same run.

    python benchmarks/serving.py --playlists runs/full/bundle
    python benchmarks/serving.py --playlists BUNDLE --sessions BUNDLE --soak 60

Both applications have the options of configs/serve.yaml; rounds alternate between them. Requests
are five tracks each, drawn by popularity with a fixed seed. The load comes from this machine, too,
and has its share of both sides' time. Then: overload, a killed replica, three version swaps under
load, and (--soak MINUTES) memory under mixed load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import numpy as np
import psutil
from ray import serve
from rich.console import Console
from rich.table import Table

from spotify_engine.config import ClusterConfig
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.recommenders import open_registry
from spotify_engine.runtime.cluster import ray_session
from spotify_engine.runtime.serve.deployment import application
from spotify_engine.runtime.serve.running import ServeFile
from spotify_engine.serving.api.requests import CompleteRequest
from spotify_engine.serving.engines.playlists import PlaylistEngine
from spotify_engine.serving.settings import ServeSettings
from spotify_engine.store.cache import make_cache
from spotify_engine.store.events import EventStore
from spotify_engine.store.registry import Registry

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "serve.yaml"
TOKEN = "benchmark"
console = Console(width=120)
Made = Callable[[np.random.Generator], tuple[str, Any]]
Answered = list[tuple[float, float, int, Any]]  # when, seconds, status, answer


@serve.deployment
class Nothing:
    """Answers at once."""

    async def __call__(self, request: Any) -> bytes:
        return b"{}"


async def load(
    url: str,
    make: Made,
    at_once: int,
    seconds: float,
    seed: int = 0,
    pause: float = 0,
    patient: bool = False,
) -> Answered:
    """So many clients, each asking again as soon as it is answered, or after a pause; patient ones
    wait as long as Retry-After says."""
    found: Answered = []
    end = time.perf_counter() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:

        async def client(rng: np.random.Generator) -> None:
            while (started := time.perf_counter()) < end:
                path, body = make(rng)
                try:
                    async with session.post(path, json=body) as response:
                        content = await response.read()
                        status = response.status
                        wait = float(response.headers.get("Retry-After", 0)) if patient else 0
                except aiohttp.ClientError as error:
                    content, status, wait = str(error).encode(), 0, 0
                found.append((started, time.perf_counter() - started, status, content))
                if pause or wait:
                    await asyncio.sleep(max(pause, wait))

        await asyncio.gather(*(client(np.random.default_rng([seed, i])) for i in range(at_once)))
    return found


def figures(answered: Answered, seconds: float) -> dict[str, float]:
    """Requests a second and milliseconds, of those that were accepted."""
    took = np.array([each[1] for each in answered if each[2] == 200]) * 1000
    return {
        "rps": len(took) / seconds,
        "p50": float(np.percentile(took, 50)),
        "p99": float(np.percentile(took, 99)),
    }


def requests_of(recommender: PlaylistRecommender, explain: bool = False) -> Made:
    share = recommender.popularity / recommender.popularity.sum()
    bounds = np.cumsum(share)

    def make(rng: np.random.Generator) -> tuple[str, Any]:
        rows = np.minimum(np.searchsorted(bounds, rng.random(5)), len(bounds) - 1)
        tracks = [recommender.ids[row] for row in rows]
        return "/v1/playlists/complete", {"tracks": tracks, "explain": explain}

    return make


def compare(urls: dict[str, str], made: dict[str, Made], rounds: int, seconds: float) -> None:
    """Ours beside nothing, at several numbers of clients."""
    table = Table(title=f"median of {rounds} alternating rounds of {seconds:.0f} s")
    for column in ("clients", "app", "requests/s", "ratio", "p50 ms", "p99 ms", "ratio"):
        table.add_column(column, justify="right")
    for at_once in (1, 4, 16):
        found: dict[str, list[dict[str, float]]] = {name: [] for name in urls}
        for number in range(rounds):
            for name, url in urls.items():
                answered = asyncio.run(load(url, made[name], at_once, seconds, number))
                assert {each[2] for each in answered} == {200}, Counter(a[2] for a in answered)
                found[name].append(figures(answered, seconds))
        middle = {
            name: {key: statistics.median(each[key] for each in list_) for key in list_[0]}
            for name, list_ in found.items()
        }
        nothing = middle["nothing"]
        for name, each in middle.items():
            ratios = f"{each['rps'] / nothing['rps']:.2f}", f"{each['p99'] / nothing['p99']:.2f}"
            table.add_row(
                str(at_once), name, f"{each['rps']:.0f}", ratios[0], f"{each['p50']:.1f}",
                f"{each['p99']:.1f}", ratios[1],
            )  # fmt: skip
    console.print(table)


def inference(bundle: Path, make: Made, folder: Path) -> None:
    """The engine alone, in this process, on one thread, without the cache."""
    import torch

    torch.set_num_threads(1)
    events = EventStore.open(f"sqlite:///{folder}/inference.db")
    recommender = PlaylistRecommender.load(bundle)
    engine = PlaylistEngine(recommender, "v", ServeSettings().engine, events, make_cache(None, 1))
    rng = np.random.default_rng(1)
    for explain in (False, True):
        for size in (1, 4, 16):
            took = []
            for _ in range(60):
                batch = [
                    CompleteRequest.model_validate(make(rng)[1] | {"explain": explain})
                    for _ in range(size)
                ]
                started = time.perf_counter()
                engine.answer(batch)
                took.append((time.perf_counter() - started) * 1000)
            console.print(
                f"inference, {size:2} at once{', explained' * explain}: median "
                f"{statistics.median(took):.1f} ms, p99 {np.percentile(took, 99):.1f} ms"
            )
    events.close()


def overload(url: str, make: Made, seconds: float, capacity: int = 16) -> None:
    """Five times as many clients as keep two cores busy, heeding Retry-After and not."""
    answered = asyncio.run(load(url, make, capacity, seconds))
    calm = figures(answered, seconds)
    refused = sum(each[2] != 200 for each in answered)
    console.print(
        f"{capacity} clients: {calm['rps']:.0f}/s, p99 {calm['p99']:.0f} ms, {refused} refused"
    )
    for patient in (True, False):
        answered = asyncio.run(load(url, make, 5 * capacity, seconds, 1, patient=patient))
        busy = figures(answered, seconds)
        counts = Counter(each[2] for each in answered)
        console.print(
            f"{5 * capacity} clients, {'heeding' if patient else 'ignoring'} Retry-After: "
            f"{busy['rps']:.0f}/s accepted, p99 {busy['p99']:.0f} ms "
            f"({busy['p99'] / calm['p99']:.2f}x); statuses {dict(counts)}"
        )
    ended = time.perf_counter()
    while time.perf_counter() < ended + 30:
        after = figures(asyncio.run(load(url, make, capacity, 1, 2)), 1)
        if after["p99"] <= 1.2 * calm["p99"]:
            break
    console.print(
        f"back to normal (p99 {after['p99']:.0f} ms) {time.perf_counter() - ended:.1f} s later"
    )


def kill_replica(url: str, make: Made, clients: int) -> None:
    """SIGKILL for one replica under load."""
    killed: dict[str, float] = {}

    async def scenario() -> Answered:
        running = asyncio.create_task(load(url, make, clients, 40))
        await asyncio.sleep(5)
        victim = replicas()[0]
        os.kill(victim.pid, signal.SIGKILL)
        killed["at"] = time.perf_counter()
        while len([p for p in replicas() if p.pid != victim.pid]) < 2:
            await asyncio.sleep(0.2)
        killed["back"] = time.perf_counter()
        return await running

    answered = asyncio.run(scenario())
    failed = [each for each in answered if each[2] != 200]
    last = max((each[0] + each[1] for each in failed), default=killed["at"])
    console.print(
        f"replica killed: {len(failed)} of {len(answered):,} requests failed "
        f"({dict(Counter(each[2] for each in failed))}) with {clients} clients, the last "
        f"{last - killed['at']:.1f} s after; process of the new one after "
        f"{killed['back'] - killed['at']:.1f} s"
    )


def swap_versions(url: str, make: Made, registry: Registry, bundle: Path, clients: int) -> None:
    """Three activations under load, of versions that differ in their manifest."""
    first = registry.current("playlists")
    assert first is not None
    with TemporaryDirectory() as folder:
        other = Path(folder) / "bundle"
        other.mkdir()
        for path in bundle.iterdir():
            (other / path.name).symlink_to(path.resolve())
        manifest = json.loads((bundle / "manifest.json").read_text())
        (other / "manifest.json").unlink()
        (other / "manifest.json").write_text(json.dumps(manifest | {"benchmark": True}))
        second = registry.publish(other)

    async def scenario() -> Answered:
        running = asyncio.create_task(load(url, make, clients, 45))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(url, headers=headers) as session:
            for version in (second.id, first.id, second.id):
                await asyncio.sleep(3)
                started = time.perf_counter()
                async with session.post(f"/v1/versions/{version}/activate") as response:
                    assert response.status == 200, await response.text()
                console.print(f"activated after {time.perf_counter() - started:.1f} s")
                await asyncio.sleep(6)
        return await running

    answered = asyncio.run(scenario())
    versions = Counter(json.loads(each[3])["version"] for each in answered if each[2] == 200)
    console.print(
        f"three swaps: {sum(each[2] != 200 for each in answered)} of {len(answered):,} failed, "
        f"p99 {figures(answered, 45)['p99']:.0f} ms, answered by {dict(versions)}"
    )


def soak(url: str, make: Made, sessions: bool, minutes: float) -> None:
    """Mixed load; memory of the replicas, after a warm-up of a tenth of the time."""

    def mixed(rng: np.random.Generator) -> tuple[str, Any]:
        kind, user = rng.random(), f"u{rng.integers(1_000):07}"
        path, body = make(rng)
        if kind < 0.5:
            return path, body | {"explain": kind < 0.1}
        if kind < 0.6:
            event = {"type": "add", "playlist": user, "track": body["tracks"][0]}
            return "/v1/events", {"events": [event]}
        if kind < 0.7:
            return path, {"tracks": [], "playlist": user}
        if sessions:
            if kind < 0.8:
                song = f"t{rng.integers(5_000):07}"
                event = {"type": "play", "user": user, "track": song, "ms_played": 1000}
                return "/v1/events", {"events": [event]}
            return "/v1/sessions/next", {"user": user, "explain": kind < 0.85}
        return path, {"tracks": ["nobody - nothing"], "title": f"mix {rng.integers(100)}"}

    def memory() -> float:
        return sum(process.memory_full_info().uss for process in replicas()) / 2**20

    step = max(minutes * 60 / 20, 5)
    seen, statuses, ended = [], Counter[int](), time.perf_counter() + minutes * 60
    number = 0
    while time.perf_counter() < ended:
        # An hour of what one person's machine might see; the rest of it stays usable.
        answered = asyncio.run(load(url, mixed, 4, step, number, pause=0.15))
        statuses.update(each[2] for each in answered)
        seen.append(memory())
        number += 1
        console.print(f"{number * step / 60:.1f} min: {seen[-1]:.0f} MiB, {dict(statuses)}")
    first, last = seen[max(len(seen) // 10, 1) - 1], seen[-1]
    console.print(
        f"memory of the replicas: {first:.0f} -> {last:.0f} MiB ({last / first - 1:+.1%})"
    )


def replicas() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "ServeReplica:spotify_engine" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--playlists", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--sessions", type=Path, metavar="BUNDLE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    parser.add_argument(
        "--only", nargs="*", default=["inference", "compare", "overload", "kill", "swap"]
    )
    given = parser.parse_args()
    file = ServeFile(CONFIG)
    recommender = PlaylistRecommender.load(given.playlists)
    make = requests_of(recommender)
    with TemporaryDirectory() as name, ray_session(ClusterConfig()):
        folder = Path(name)
        registry = open_registry(folder / "registry")
        for bundle in (given.playlists, given.sessions):
            if bundle is not None:
                registry.activate(registry.publish(bundle).id)
        (folder / "token").write_text(TOKEN)
        settings = ServeSettings(
            registry=folder / "registry",
            events=f"sqlite:///{folder}/events.db",
            admin_token=folder / "token",
        )
        serve.start(proxy_location="HeadOnly", http_options=file.http, logging_config=file.logging)
        log = {"logging_config": file.logging}
        options = {key: value for key, value in file.options.items() if key != "name"}
        nothing = Nothing.options(**options).bind()  # type: ignore[attr-defined]
        serve.run(nothing, name="nothing", route_prefix="/nothing", **log)
        ours = application(settings, file.options)
        serve.run(ours, name="spotify_engine", route_prefix="/", **log)
        url = f"http://127.0.0.1:{file.http['port']}"

        def none(rng: np.random.Generator) -> tuple[str, Any]:
            return "/nothing", make(rng)[1]

        parts: dict[str, Callable[[], None]] = {
            "inference": lambda: inference(given.playlists, make, folder),
            "compare": lambda: compare(
                {"nothing": url, "ours": url}, {"nothing": none, "ours": make}, given.rounds,
                given.seconds,
            ),
            "overload": lambda: overload(url, make, given.seconds),
            "kill": lambda: kill_replica(url, make, 8),
            "swap": lambda: swap_versions(url, make, registry, given.playlists, 8),
        }  # fmt: skip
        for name in given.only:
            parts[name]()
        if given.soak:
            soak(url, make, given.sessions is not None, given.soak)
        serve.shutdown()


if __name__ == "__main__":
    main()
