"""Publishes and activates in processes of its own, which can be killed.

Reads one command a line and answers ``pid N``, what the process prints, ``dead``:

    crash ROOT N    publish and activate the first bundle, and die before the Nth write to the disk
    loop ROOT       publish, activate and remove in turn, for ever
    race ROOT N     N processes at once publish and activate every bundle
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

# Loaded before any fork, so that a process starts at once.
import torch_geometric.nn  # noqa: F401

import spotify_engine.playlists.recommender  # noqa: F401
from spotify_engine.recommenders import open_registry


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def die_before(n):
    writes = count()

    def dying(function):
        def call(*arguments):
            if next(writes) == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call

    os.fsync = dying(os.fsync)
    Path.rename, Path.replace = dying(Path.rename), dying(Path.replace)


def loop(registry, bundles):
    for i in count():
        version = registry.publish(bundles[i % len(bundles)])
        say("published", version.id)
        registry.activate(version.id)
        say("activated", version.id)
        kept = {registry.current("playlists").id, registry.previous("playlists").id} if i else ()
        for each in registry.versions("playlists") if i else ():
            if each.id not in kept:
                registry.remove(each.id)


def work(command, registry, bundles):
    match command:
        case ["crash", _, n]:
            die_before(int(n))
            registry.activate(registry.publish(bundles[0]).id)
            say("survived")
        case ["loop", _]:
            loop(registry, bundles)
        case ["race", _, _]:
            for bundle in bundles:
                version = registry.publish(bundle, {"by": os.getpid()})
                registry.activate(version.id)
                say("published", version.id)


bundles = [Path(each) for each in sys.argv[1:]]
say("ready")
for line in sys.stdin:
    command = line.split()
    children = []
    for _ in range(int(command[2]) if command[0] == "race" else 1):
        if (pid := os.fork()) == 0:
            try:
                work(command, open_registry(Path(command[1])), bundles)
            except BaseException as error:
                say("failed", repr(error))
            os._exit(0)
        children.append(pid)
        say("pid", pid)
    for pid in children:
        os.waitpid(pid, 0)
    say("dead")
