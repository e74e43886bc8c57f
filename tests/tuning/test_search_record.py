"""Times of a search and of its trials, as they are recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.tune import record as search_record
from spotify_engine.runtime.tune.trial import Trials
from spotify_engine.tracking.settings import TrackingConfig
from spotify_engine.tracking.tracker import Tracker
from spotify_engine.tuning.trials import Trial, save_trial


def test_a_trial_that_ended_unseen_has_its_own_times(
    make_space: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Heard(Tracker):
        def __init__(self, config: TrackingConfig, runs: Path) -> None:
            super().__init__(search_record.OFF, runs)

        def send(self, message: dict[str, Any]) -> None:
            sent.append(message)

    monkeypatch.setattr(search_record, "Tracker", Heard)
    save_trial(tmp_path, Trial(0, {}, "done", quality=0.1, wall_seconds=327.0, ended=400.0))
    trials = Trials(tmp_path, "playlists", KaggleJob(mode="mini"), began=1_000_000.0)
    record = search_record.SearchRecord(trials, make_space(), TrackingConfig())
    with record.closing():
        pass
    times = [
        message["with"].get("began", message["with"].get("ended"))
        for message in sent
        if message["do"] in ("begin", "end")
    ]
    assert times[:3] == [1_000_000.0, 1_000_073.0, 1_000_400.0]
    assert times[3] > 1_700_000_000, "the search itself ends now"
