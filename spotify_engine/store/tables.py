"""The contents of the registry as tables for a terminal."""

from __future__ import annotations

import json
from typing import TypedDict

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from spotify_engine.errors import InputError
from spotify_engine.pipelines import main_figures
from spotify_engine.store.registry import Registry, Version


class Listed(TypedDict):
    """One version in a list, as plain values."""

    id: str
    role: str | None
    pipeline: str
    created: str
    fingerprint: str
    figure: str | None
    value: float | None


def listed(registry: Registry, pipeline: str) -> list[Listed]:
    """Versions as plain values, newest first, without broken ones."""
    roles, _ = _roles(registry, pipeline)
    rows: list[Listed] = []
    for version in registry.versions(pipeline):
        figure = next(iter(main_figures(pipeline, version.metrics)), None)
        rows.append(
            {
                "id": version.id,
                "role": roles.get(version.id),
                "pipeline": pipeline,
                "created": version.created,
                "fingerprint": version.fingerprint,
                "figure": figure,
                "value": None if figure is None else version.metrics[figure],
            }
        )
    return rows


def described(version: Version) -> dict[str, object]:
    """One version as plain values."""
    return vars(version) | {"path": str(version.path)}


def listing(registry: Registry, pipeline: str, wide: bool = False) -> tuple[Table, list[str]]:
    """Versions, newest first; and a line on each broken one, and on a broken choice of them.

    Args:
        wide: with the time of publication in full, which the id says, too.
    """
    _, damage = _roles(registry, pipeline)
    published = ["published (UTC)"] if wide else []
    table = Table(
        Column("version", no_wrap=True), "", *published, "data",
        Column("recall@10", justify="right"),
        title=pipeline, title_justify="left", box=SIMPLE_HEAD,
    )  # fmt: skip
    for row in listed(registry, pipeline):
        at = [row["created"][:19].replace("T", " ")] if wide else []
        figure = "" if row["value"] is None else f"{row['value']:.4f}"
        table.add_row(row["id"], row["role"] or "", *at, row["fingerprint"][:12], figure)
    return table, [*damage, *(f"broken: {why}" for why in registry.broken(pipeline).values())]


def _roles(registry: Registry, pipeline: str) -> tuple[dict[str, str], list[str]]:
    """The role of each version, by id; and a line on each role that can't be told."""
    roles, damage = {}, []
    for role, find in (("current", registry.current), ("previous", registry.previous)):
        try:
            if found := find(pipeline):
                roles[found.id] = role
        except InputError as error:
            damage.append(f"{role}: {error}")
    return roles, damage


def description(version: Version) -> Table:
    """One version: where it is, its lineage and its metrics."""
    table = Table.grid(Column(style="dim"), Column(overflow="fold"), padding=(0, 2))
    for name in ("id", "pipeline", "created", "fingerprint"):
        table.add_row(name, escape(getattr(version, name)))
    table.add_row("bundle", escape(str(version.path)))
    for name, value in version.lineage.items():
        text = value if isinstance(value, str) else json.dumps(value)
        table.add_row(escape(name), escape(text))
    for name, figure in version.metrics.items():
        table.add_row(escape(name), f"{figure:.4g}")
    return table


def comparison(registry: Registry, first: str, second: str) -> Table:
    """Metrics of two versions side by side, the main ones first, and how the second differs."""
    figures = [Column(name, justify="right") for name in (first, second, "difference")]
    table = Table("metric", *figures)
    rows = registry.compare(first, second)
    main = main_figures(registry.get(first).pipeline, [name for name, _, _ in rows])
    for name, a, b in sorted(rows, key=lambda row: row[0] not in main):
        difference = "" if a is None or b is None else f"{b - a:+.4g}"
        shown = ["" if value is None else f"{value:.4g}" for value in (a, b)]
        table.add_row(escape(name), *shown, difference)
    return table
