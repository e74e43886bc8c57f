"""Parsers of one look: examples below, rarely needed flags in a group of their own."""

from __future__ import annotations

import argparse
from pathlib import Path

REGISTRY = Path("runs/registry")
RARELY = "rarely needed"


def new_parser(description: str | None, *examples: str) -> argparse.ArgumentParser:
    """A parser that is named after how the program was called.

    Args:
        examples: flags, each of which makes a whole command.
    """
    shown = "\n".join(f"  %(prog)s {example}".rstrip() for example in examples)
    return argparse.ArgumentParser(
        description=description,
        epilog=f"example{'s' * (len(examples) > 1)}:\n{shown}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_settings(flags: argparse._ActionsContainer, example: str) -> None:
    """Add ``--set`` to a parser."""
    flags.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE",
        help=f"one key of the configuration, such as {example}; any number of times (none)",
    )  # fmt: skip


def add_register(flags: argparse._ActionsContainer, what: str = "the result") -> None:
    """Add ``--register`` to a parser."""
    flags.add_argument(
        "--register", type=Path, nargs="?", const=REGISTRY, metavar="DIR",
        help=f"make {what} a version of a registry, {REGISTRY} if none is named (not made one)",
    )  # fmt: skip
