"""The hooks of Ray Tune: it asks here for the next trial and reports here how a trial ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher


class Suggestions(Searcher):
    """Hands the numbers of trials to Tune.

    What they try stands in their notes, which outlast Tune: it needs no state of its own to go on.
    """

    def __init__(self, suggest: Callable[[], int | None]) -> None:
        super().__init__()
        self._suggest = suggest

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """Take whatever Tune says of metric and space: the notes know both."""
        return True

    def suggest(self, trial_id: str) -> dict[str, int] | str:  # type: ignore[override]
        """The next trial's number, or that there is none."""
        number = self._suggest()
        return self.FINISHED if number is None else {"number": number}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """:class:`Ended` knows more."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, object]:
        return {}  # of what Tune keeps of itself nothing is ever read


class Ended(Callback):
    """Tells when a trial has ended."""

    def __init__(self, ended: Callable[[int, BaseException | None], None]) -> None:
        self._ended = ended

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Pass on that a trial has ended well."""
        self._ended(trial.config["number"], None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Pass on that a trial has failed, and how."""
        self._ended(
            trial.config["number"], trial.get_error() or RuntimeError("its process was lost")
        )

    def __getstate__(self) -> dict[str, object]:
        return {}  # as of Suggestions
