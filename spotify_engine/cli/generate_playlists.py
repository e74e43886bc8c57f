"""Write a Kaggle-shaped stand-in data set, with learnable taste groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from spotify_engine.cli.flags import RARELY, new_parser
from spotify_engine.command import NOTHING_WRITTEN, job
from spotify_engine.console import console
from spotify_engine.errors import InputError
from spotify_engine.playlists.synthetic import SampleConfig, write_sample


def parse(argv: Sequence[str] | None) -> tuple[Path, SampleConfig]:
    """Read the flags: the folder to create, and the sample's settings."""
    parser = new_parser(__doc__, "--out data/sample --demo")
    parser.add_argument("--out", type=Path, required=True, help="folder to create (required)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, default=0.01, help="1 is the full 12.9M rows (0.01)")
    size.add_argument(
        "--demo",
        action="store_true",
        help="1,000 playlists that train in a minute (as --scale says)",
    )
    rare = parser.add_argument_group(RARELY)
    for name, field in SampleConfig.model_fields.items():
        number = int if field.annotation is int else float
        default = "by --scale" if field.is_required() else field.default
        said = f"{field.description or name.capitalize()} ({default})"
        rare.add_argument(f"--{name.replace('_', '-')}", type=number, help=said)
    given = parser.parse_args(argv)
    overrides = {
        k: v for k, v in vars(given).items() if k in SampleConfig.model_fields and v is not None
    }
    try:
        if given.demo:
            return given.out, SampleConfig.demo(**overrides)
        return given.out, SampleConfig.scaled(given.scale, **overrides)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise InputError(f"sizes: {message}") from None
        flag = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{flag}: {message}, got {first['input']}") from None


@job(NOTHING_WRITTEN)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine generate playlists``; returns the exit status."""
    out, config = parse(argv)
    counts = write_sample(out, config)
    table = Table("what", "count", title=str(out))
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    console.print(table)
    return 0
