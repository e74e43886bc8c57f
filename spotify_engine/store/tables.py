"""What the registry holds, as tables for a terminal."""

from __future__ import annotations

import json

from rich.markup import escape
from rich.table import Column, Table

from spotify_engine.errors import InputError
from spotify_engine.pipelines import main_figures
from spotify_engine.store.registry import Registry, Version


def listing(registry: Registry, pipeline: str) -> tuple[Table, list[str]]:
    """Versions, newest first; and a line on each broken one, and on a broken choice of them."""
    roles, damage = {}, []
    for role, find in (("current", registry.current), ("previous", registry.previous)):
        try:
            if found := find(pipeline):
                roles[found.id] = role
        except InputError as error:
            damage.append(f"{role}: {error}")
    table = Table(
        "version", "", "published (UTC)", "data", Column("recall@10", justify="right"),
        title=pipeline, title_justify="left",
    )  # fmt: skip
    for version in registry.versions(pipeline):
        published = version.created[:19].replace("T", " ")
        main = [f"{version.metrics[name]:.4f}" for name in main_figures(pipeline, version.metrics)]
        table.add_row(
            version.id, roles.get(version.id, ""), published, version.fingerprint[:12], *main[:1]
        )
    return table, [*damage, *(f"broken: {why}" for why in registry.broken(pipeline).values())]


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
    """Metrics of two versions side by side, the main ones first, and by how much the second
    differs."""
    figures = [Column(name, justify="right") for name in (first, second, "difference")]
    table = Table("metric", *figures)
    rows = registry.compare(first, second)
    main = main_figures(registry.get(first).pipeline, [name for name, _, _ in rows])
    for name, a, b in sorted(rows, key=lambda row: row[0] not in main):
        difference = "" if a is None or b is None else f"{b - a:+.4g}"
        shown = ["" if value is None else f"{value:.4g}" for value in (a, b)]
        table.add_row(escape(name), *shown, difference)
    return table
