"""How the rooms hang together: imports point down, in no circle, and Ray stays in its place."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH_RAY = ("spotify_engine.runtime", "spotify_engine.cli")
# From below to above; those of one line don't know each other.
LAYERS = (
    ("reading", "learning", "store"),
    ("baselines", "tracking"),
    ("evaluation",),
    ("playlists",),
    ("sessions",),
    ("serving", "tuning"),
    ("runtime", "client"),
    ("cli",),
)
INSIDE = {
    "playlists": ("tables", "model", "recommend", "completing", "measure", "report"),
    "sessions": (
        "tables", "model", "recommend", "baselines", "measure", "quality", "synthetic",
    ),
    "runtime": ("data", "train", "pipelines", "tune", "serve"),
}  # fmt: skip


@cache
def modules() -> dict[str, ast.Module]:
    found = {}
    for path in (ROOT / "spotify_engine").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """Modules that a module imports, anywhere in it; of a package, the module that is meant."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found


@cache
def arrows() -> dict[str, set[str]]:
    """Our modules that each of our modules imports."""
    trees = modules()
    known = set(trees)
    return {name: imported(tree, known) & known - {name} for name, tree in trees.items()}


def place(name: str, depth: int) -> str:
    parts = name.split(".")
    return parts[depth] if len(parts) > depth else ""


def test_nobody_imports_in_a_circle() -> None:
    graph = arrows()
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
    assert len(order) == len(graph) > 200


def test_ray_is_imported_by_what_runs_on_it_alone() -> None:
    trees = modules()
    users = {
        name
        for name, tree in trees.items()
        if any(each == "ray" or each.startswith("ray.") for each in imported(tree, set(trees)))
    }
    assert users, "or nothing is looked at"
    assert not [name for name in users if not name.startswith(WITH_RAY)]


def test_every_room_has_a_layer() -> None:
    rooms = {path.parent.name for path in (ROOT / "spotify_engine").glob("*/__init__.py")}
    assert rooms == {room for layer in LAYERS for room in layer}


def test_imports_point_down() -> None:
    level = {room: i for i, layer in enumerate(LAYERS) for room in layer}
    upward = [
        f"{name} imports {other}"
        for name, others in arrows().items()
        for other in others
        if place(name, 1) in level and level.get(place(other, 1), -1) > level[place(name, 1)]
    ]
    assert not upward


def test_imports_point_down_within_a_room() -> None:
    upward = []
    for room, order in INSIDE.items():
        level = {inner: i for i, inner in enumerate(order)}
        for name, others in arrows().items():
            if place(name, 1) != room or place(name, 2) not in level:
                continue
            mine = level[place(name, 2)]
            upward += [
                f"{name} imports {other}"
                for other in others
                if place(other, 1) == room and level.get(place(other, 2), -1) > mine
            ]
    assert not upward
