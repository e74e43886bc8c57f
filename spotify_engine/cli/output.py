"""Results for other programs: JSON or CSV on standard output, and nothing else there."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from spotify_engine.strict_json import to_json

JSON, CSV = "json", "csv"


def add_forms(flags: argparse.ArgumentParser) -> None:
    """``--json`` and ``--csv``, which set ``form``."""
    forms = flags.add_mutually_exclusive_group()
    for form in (JSON, CSV):
        said = f"print {form.upper()}, for other programs (a table)"
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=said)


def add_wide(flags: argparse.ArgumentParser) -> None:
    """Add ``--wide`` to a parser."""
    flags.add_argument(
        "--wide", action="store_true", help="tables of every column (of what fits 80 characters)"
    )


def print_json(content: Any) -> None:
    """Print content as JSON."""
    print(to_json(content))


def print_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows with a header, also where there are none; a list is one cell, joined by ``; ``."""
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
