"""Which keys of a configuration a search may vary, and which of those remake what is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spotify_engine.dotted import Flat
from spotify_engine.errors import InputError
from spotify_engine.stages import Part, Stage, goes_by, within

OTHER_DATA = "it changes the data or the split, and trials on different data can't be compared"
OTHER_MEASURE = "it changes what a trial is measured on"
NO_PART = "it has no part in what the search measures"


@dataclass(frozen=True)
class Scope:
    """The keys that a search over one pipeline's configuration may vary.

    Attributes:
        stages: of the pipeline with the default configuration.
        left_out: keys, or sections of keys, that may not vary for another reason than what the
            stages say, and that reason.
    """

    stages: Sequence[Stage[Any]]
    left_out: Mapping[str, str]

    def check(self, key: str) -> None:
        """Refuse a key that may not vary.

        Raises:
            InputError: the key may not vary.
        """
        reason = next((why for own, why in self.left_out.items() if within(key, own)), None)
        if reason is None and goes_by(self._of(Part.DATA), key):
            reason = OTHER_DATA
        if reason is None and not goes_by(self._of(Part.GROUND, Part.LEARNING), key):
            reason = NO_PART
        if reason is not None:
            raise InputError(f"space: {key} can't be searched: {reason}")

    def shared_values(self, values: Mapping[str, Any]) -> Flat:
        """Those of a trial's values that decide what it shares with other trials."""
        shared = self._of(Part.DATA, Part.GROUND)
        return {key: value for key, value in values.items() if goes_by(shared, key)}

    def _of(self, *parts: Part) -> list[Stage[Any]]:
        return [stage for stage in self.stages if stage.part in parts]
