"""Completes playlists and predicts next songs: data, training, answers, serving."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module

from spotify_engine import __version__
from spotify_engine.command import BAD_INPUT, STOPPED, job
from spotify_engine.errors import InputError, hint
from spotify_engine.next_step import SCRIPT

PLAYLISTS, SESSIONS = "playlists", "sessions"


@dataclass(frozen=True)
class Verb:
    """One word of the command line.

    Attributes:
        does: in a few words.
        module: of this package, where both pipelines share it; else empty.
        modules: by pipeline, which a word after the verb chooses; the first one without it.
        flags: what that word adds to the flags.
        start: the function of the module that does it.
    """

    does: str
    module: str = ""
    modules: dict[str, str] = field(default_factory=dict)
    flags: dict[str, list[str]] = field(default_factory=dict)
    start: str = "main"

    @property
    def choice(self) -> str:
        """Its modules' names, as help shows a choice; empty where there is only one."""
        return f"[{'|'.join(self.modules)}]" if len(self.modules) > 1 else ""


VERBS = {
    "demo": Verb("a sample, training on it, explained recommendations: minutes", "demo"),
    "prepare": Verb("read data files into tables: the first stage of train", "prepare"),
    "train": Verb(
        "data to a trained, evaluated, explained bundle",
        modules={PLAYLISTS: "train_playlists", SESSIONS: "train_sessions"},
    ),
    "recommend": Verb("complete a playlist, with reasons", "recommend"),
    "evaluate": Verb("recompute every figure of a run's report, and compare", "evaluate"),
    "serve": Verb("answer over HTTP, with a page to try it", "serve", start="process"),
    "tune": Verb(
        "search for better settings",
        modules={PLAYLISTS: "tune", SESSIONS: "tune"},
        flags={SESSIONS: ["--pipeline", SESSIONS]},
    ),
    "versions": Verb("list, compare, publish, activate and remove versions", "versions"),
    "runs": Verb("list, show and compare recorded runs", "runs"),
    "generate": Verb(
        "write sample data of any size",
        modules={PLAYLISTS: "generate_playlists", SESSIONS: "generate_sessions"},
    ),
    "validate": Verb("check a folder of listening sessions and draw it", "validate"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb with the flags that follow it."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] not in VERBS:
        return _tell(given) or (0 if given else BAD_INPUT)
    name, rest = given[0], given[1:]
    verb, called = VERBS[name], f"{SCRIPT} {name}"
    module, more = verb.module, list[str]()
    if verb.modules:
        chosen = rest.pop(0) if rest and rest[0] in verb.modules else next(iter(verb.modules))
        called += f" {chosen}"
        module, more = verb.modules[chosen], verb.flags.get(chosen, [])
    before = sys.argv
    # Its parser names the program after this, and so do its help and errors.
    sys.argv = [called, *more, *rest]
    try:
        status: int = getattr(import_module(f"spotify_engine.cli.{module}"), verb.start)()
    finally:
        sys.argv = before
    return status


@job(STOPPED)
def _tell(argv: Sequence[str] | None = None) -> int:
    """What needs no verb."""
    word = argv[0] if argv else "help"
    if word == "--version":
        print(f"{SCRIPT} {__version__}")
    elif word in ("-h", "--help", "help"):
        print(_help())
    else:
        raise InputError(f"{word}: no such command; {hint(word, VERBS, 0.6)}")
    return 0


def _help() -> str:
    words = {name: f"{name} {verb.choice}".rstrip() for name, verb in VERBS.items()}
    lines = [f"  {words[name]:<30} {verb.does}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            f"usage: {SCRIPT} COMMAND [FLAGS]", "", __doc__ or "", "",
            "commands (playlists are meant unless sessions are named):", *lines, "",
            f"{SCRIPT} COMMAND --help lists a command's flags, with defaults and examples.",
            "", "examples:",
            f"  {SCRIPT} demo",
            f"  {SCRIPT} train --mode balanced",
            f"  {SCRIPT} train sessions --model session",
        ]
    )  # fmt: skip
