"""Parsers of one look: examples below, rarely needed flags in a group of their own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spotify_engine.command import log_all

REGISTRY = Path("runs/registry")
RARELY = "rarely needed"


class _Parser(argparse.ArgumentParser):
    """Takes ``--verbose``, and so do the words after it."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.add_argument("-v", "--verbose", action=_Verbose)


class _Verbose(argparse.Action):
    """Acts at once, and leaves nothing among the arguments."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        said = "log what is done, and what Ray does, to standard error (warnings only)"
        super().__init__(option_strings, argparse.SUPPRESS, 0, default=argparse.SUPPRESS, help=said)

    def __call__(self, *_: object) -> None:
        log_all()


def new_parser(description: str | None, *examples: str) -> argparse.ArgumentParser:
    """A parser that is named after how the program was called.

    Args:
        examples: flags, each of which makes a whole command.
    """
    shown = "\n".join(f"  %(prog)s {example}".rstrip() for example in examples)
    return _Parser(
        description=description,
        epilog=f"example{'s' * (len(examples) > 1)}:\n{shown}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_settings(flags: argparse._ActionsContainer, example: str) -> None:
    """Add ``--set`` to a parser."""
    flags.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE",
        help=f"one key of the configuration, such as {example}; may be repeated (none)",
    )  # fmt: skip


def add_register(flags: argparse._ActionsContainer, what: str = "the result") -> None:
    """Add ``--register`` to a parser."""
    flags.add_argument(
        "--register", type=Path, nargs="?", const=REGISTRY, metavar="DIR",
        help=f"publish {what} to a registry, by default {REGISTRY} (not published)",
    )  # fmt: skip
