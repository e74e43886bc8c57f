"""Stores events until it is killed: python events_worker.py URL NAME

Prints a number once what it stands for is stored: a play by NAME and a track added to NAME, in one
batch. "ready" comes first.
"""

import sys

from spotify_engine.store.events import Added, EventStore, Play

url, name = sys.argv[1:]
store = EventStore.open(url)
print("ready", flush=True)
sys.stdin.readline()
for number in range(1_000_000):
    store.append([Play(name, f"t{number}", number, number), Added(name, f"t{number}", number)])
    print(number, flush=True)
