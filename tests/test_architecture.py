"""How the rooms hang together: nobody imports in a circle, and Ray stays where it belongs."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH_RAY = ("spotify_engine.runtime", "spotify_engine.cli")


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


def test_nobody_imports_in_a_circle() -> None:
    trees = modules()
    known = set(trees)
    graph = {name: imported(tree, known) & known - {name} for name, tree in trees.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
    assert len(order) == len(known) > 200


def test_ray_is_imported_by_what_runs_on_it_alone() -> None:
    trees = modules()
    users = {
        name
        for name, tree in trees.items()
        if any(each == "ray" or each.startswith("ray.") for each in imported(tree, set(trees)))
    }
    assert users, "or nothing is looked at"
    assert not [name for name in users if not name.startswith(WITH_RAY)]


def test_data_flows_one_way() -> None:
    """What is used by all knows nothing of who uses it."""
    above = {
        "reading": ("playlists", "sessions", "serving", "runtime", "cli", "client", "store"),
        "learning": ("sessions", "serving", "runtime", "cli", "client", "store", "tuning"),
        "store": ("playlists", "sessions", "serving", "runtime", "cli", "client"),
        "playlists": ("sessions", "serving", "runtime", "cli", "client", "tuning"),
        "sessions": ("serving", "runtime", "cli", "client", "tuning"),
        "serving": ("runtime", "cli", "client", "tuning"),
        "tuning": ("serving", "runtime", "cli", "client"),
        "runtime": ("cli", "client"),
    }
    trees = modules()
    for name, tree in trees.items():
        room = name.split(".")[1] if name.count(".") > 1 else ""
        for other in imported(tree, set(trees)):
            theirs = other.split(".")[1] if other.startswith("spotify_engine.") else ""
            assert theirs not in above.get(room, ()), f"{name} imports {other}"
