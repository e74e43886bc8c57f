"""Check session data, and draw it.

--data is a folder of the CSV files, generated or your own, or the tables/ of a run. Writes
validation.json and validation.png; the exit code is 1 when a check failed, 2 when the data can't be
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import new_parser
from spotify_engine.command import STOPPED, job


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine validate``; returns the exit status."""
    flags = new_parser(__doc__, "--data data/sessions --out runs/validation")
    flags.add_argument(
        "--data", type=Path, required=True, help="folder of CSV files or of tables (required)"
    )
    flags.add_argument("--out", type=Path, help="where to write the report (the data's folder)")
    flags.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
        help="limits, such as max_unheard=0.9 (none)",
    )  # fmt: skip
    arguments = flags.parse_args(argv)
    from spotify_engine.config import load_config
    from spotify_engine.console import console, say
    from spotify_engine.sessions.quality.checks import ValidationConfig, validate
    from spotify_engine.sessions.quality.plots import plot_validation
    from spotify_engine.sessions.tables.build import load_tables, read_tables
    from spotify_engine.sessions.tables.plays import SessionDataConfig
    from spotify_engine.store.atomic import write_text
    from spotify_engine.store.files import writing
    from spotify_engine.strict_json import to_json

    out = arguments.out or arguments.data
    config = load_config(ValidationConfig, [], arguments.settings)
    if (arguments.data / "events.parquet").exists():
        tables = load_tables(arguments.data)
    else:
        # Whether too many rows can't be used is a check here, and no reason to stop.
        tables = read_tables(arguments.data, SessionDataConfig(max_reject_ratio=1))
    report = validate(tables, config)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "validation.json", to_json(report.to_json()))
        plot_validation(report, out / "validation.png")
    console.print(report.render())
    say(f"Report: {out / 'validation.json'}\nPlots:  {out / 'validation.png'}")
    return 0 if report.passed else 1
