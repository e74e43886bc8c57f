"""Write a Kaggle-shaped stand-in data set: python jobs/generate_kaggle.py --out data/sample"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from spotify_engine.command import NOTHING, job
from spotify_engine.console import console
from spotify_engine.errors import InputError
from spotify_engine.playlists.synthetic import SampleConfig, write_sample


def parse(argv: Sequence[str] | None) -> tuple[Path, SampleConfig]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, default=0.01, help="1 is the full 12.9M rows")
    size.add_argument("--demo", action="store_true", help="1,000 playlists that train in a minute")
    for name, field in SampleConfig.model_fields.items():
        number = int if field.annotation is int else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=number, help=field.description)
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


@job(NOTHING)
def main(argv: Sequence[str] | None = None) -> int:
    out, config = parse(argv)
    counts = write_sample(out, config)
    table = Table("what", "count", title=str(out))
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
