"""Tasks over numbered pieces on Ray Data, with progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
import ray.data

from spotify_engine.console import say

Row = dict[str, Any]
"""What a task made of a piece: as each kind of task has it."""
_TASKS_PER_CPU = 4  # more balance the load better, but each costs about 0.15 s on top of its work
_SECONDS_BETWEEN_NEWS = 5.0
WORKER_BYTES = 256 << 20  # a worker with its libraries


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Note the seconds since the last lap as those of a stage."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def run_tasks(
    pieces: Sequence[Mapping[str, Any]],
    work: Callable[..., Iterator[Any]],
    arguments: Mapping[str, Any],
    *,
    task_bytes: int,
    parallelism: int | None,
    done: Callable[[int], str],
) -> Iterator[Row]:
    """Do ``work`` on all pieces with Ray Data and yield the rows that it made, as they come.

    Args:
        pieces: rows of plain values, one a piece of work.
        work: takes a table of some pieces and ``arguments``, yields tables.
        task_bytes: memory to ask for, above that of the worker.
        parallelism: most tasks at a time; all CPUs of the cluster by default.
        done: says that so many rows have come.
    """
    resources = ray.cluster_resources()
    cpus = max(1, int(resources.get("CPU", 1)))
    at_once = min(parallelism or cpus, cpus, len(pieces))
    wanted = WORKER_BYTES + task_bytes
    context = ray.data.DataContext.get_current().copy()
    # Ray's bar doesn't know how many pieces there are before some are done; it warns when it's off.
    context.enable_progress_bars = False
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    # What a piece gave leaves its worker at once, not with all the other pieces of its task.
    context.target_max_block_size = 1
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items(
            [dict(piece) for piece in pieces],
            override_num_blocks=min(len(pieces), _TASKS_PER_CPU * at_once),
        ).map_batches(
            work,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs=dict(arguments),
            compute=ray.data.TaskPoolStrategy(size=at_once),
            num_cpus=1,
            # A request that no node can ever meet would wait for ever.
            memory=min(wanted, resources.get("memory", wanted) // cpus),
        )
        said = time.perf_counter()
        for number, row in enumerate(rows.iter_rows(), 1):
            yield row
            if number == len(pieces) or time.perf_counter() - said > _SECONDS_BETWEEN_NEWS:
                said = time.perf_counter()
                say(done(number))  # a bar redrawn does not survive a log
