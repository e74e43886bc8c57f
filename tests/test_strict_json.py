from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.store.bundle import write_bundle
from spotify_engine.strict_json import known, to_json
from spotify_engine.tracking.tracker import read_epochs, write_epoch
from spotify_engine.tuning.trials import Trial, load_trial, save_trial


def strict(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_anything_becomes_json_and_stays_what_json_can_say(content: Any) -> None:
    found = strict(to_json(content))
    assert found == known(content)
    if "NaN" not in json.dumps(content) and "Infinity" not in json.dumps(content):
        assert found == content


def test_by_hand() -> None:
    content = {"b": [1.5, math.nan, (np.float64("inf"), -math.inf)], "a": np.float64(2), "c": "NaN"}
    assert strict(to_json(content)) == {"b": [1.5, None, [None, None]], "a": 2.0, "c": "NaN"}
    assert to_json(content, indent=None, sort_keys=True).startswith('{"a": 2.0, "b"')


def test_manifests_notes_and_epochs_hold_no_nan(tmp_path: Path) -> None:
    metrics = {"recall@10": math.nan, "loss": math.inf, "epoch": 0.0}
    write_bundle(tmp_path / "bundle", {"pipeline": "sessions", "metrics": metrics}, {}, {}, {})
    manifest = strict((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["metrics"] == {"recall@10": None, "loss": None, "epoch": 0.0}
    write_epoch(tmp_path / "epochs.jsonl", metrics)
    assert read_epochs(tmp_path / "epochs.jsonl") == [{**metrics, "recall@10": None, "loss": None}]
    trial = Trial(1, {"a": math.nan}, quality=math.inf)
    save_trial(tmp_path, trial.with_epochs(read_epochs(tmp_path / "epochs.jsonl"), "recall@10"))
    assert load_trial(tmp_path, 1).quality is None
