"""Which plays are trained on, validated on and tested on: by time within each user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spotify_engine.errors import InputError
from spotify_engine.evaluation.splits import PARTS, check_ids, read_columns
from spotify_engine.store.atomic import replaced_file

TRAIN, VAL, TEST = range(3)
SCHEMA = pa.schema([("session", pa.int32()), ("user", pa.int32()), ("split", pa.string())])


class TemporalSplitConfig(BaseModel):
    """The shares of each user's listening for training and validation; test is the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: float = Field(0.70, gt=0, lt=1)
    """Part of a user's plays, the earliest."""
    val: float = Field(0.15, gt=0, lt=1)
    """Part of a user's plays, those after the train part."""
    min_events: int = Field(10, ge=1)
    """A user with fewer plays is all train."""

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> TemporalSplitConfig:
        if self.train + self.val >= 1:
            raise ValueError(
                f"train {self.train:g} and val {self.val:g} leave nothing to test on; "
                "their sum must be below 1"
            )
        return self


@dataclass(frozen=True)
class EventSplit:
    """The part of each play.

    Attributes:
        part: int8 ``[events]``: 0 train, 1 val, 2 test.
    """

    part: np.ndarray

    @property
    def train(self) -> np.ndarray:
        """bool ``[events]``."""
        return self.part == TRAIN

    @property
    def val(self) -> np.ndarray:
        """bool ``[events]``."""
        return self.part == VAL

    @property
    def test(self) -> np.ndarray:
        """bool ``[events]``."""
        return self.part == TEST


def temporal_parts(
    user: np.ndarray, session: np.ndarray, config: TemporalSplitConfig
) -> np.ndarray:
    """int8 ``[n]``: the part of each play; sessions stay whole.

    A session lies where its middle play lies: in train when that is among the user's first 70 %, in
    val when among the next 15 %. So all of a user's val is later than all of their train, and test
    later than val.

    Args:
        user, session: int ``[n]``, sorted by user and time, as the events table has them.
    """
    if not len(user):
        return np.zeros(0, np.int8)
    first = np.flatnonzero(np.concatenate([[True], session[1:] != session[:-1]]))
    length = np.diff(np.append(first, len(session)))
    owner = user[first]
    user_first = np.flatnonzero(np.concatenate([[True], user[1:] != user[:-1]]))
    of_user = np.searchsorted(user_first, first, side="right") - 1
    plays = np.diff(np.append(user_first, len(user)))[of_user]
    assert (owner == user[user_first[of_user]]).all()
    middle = (first - user_first[of_user] + length / 2) / plays
    # Without the margin, the rounding of a sum of shares would decide over a middle on the border.
    borders = np.array([config.train, config.train + config.val]) + 1e-9
    part = np.searchsorted(borders, middle)
    part[plays < config.min_events] = TRAIN
    return np.repeat(part.astype(np.int8), length)


def split_events(events: pa.Table, config: TemporalSplitConfig) -> EventSplit:
    """Split an events table (``TABLES["events"]``).

    Raises:
        InputError: nothing is left for val or test.
    """
    part = temporal_parts(events["user"].to_numpy(), events["session"].to_numpy(), config)
    for code, name in ((VAL, "validation"), (TEST, "test")):
        if not (part == code).any():
            raise InputError(
                f"the {name} part is empty: {len(part):,} plays, no user with at least "
                f"{config.min_events} of them in enough sessions; give more listening, or lower "
                "split.min_events or split.train"
            )
    return EventSplit(part)


def save_event_split(split: EventSplit, events: pa.Table, path: Path) -> None:
    """Write session, user, split: one row a session, as no session is cut."""
    session = events["session"].to_numpy()
    first = np.flatnonzero(np.concatenate([[True], session[1:] != session[:-1]]))
    names = pa.array(PARTS).take(pa.array(split.part[first]))
    columns = [pa.array(session[first]), pa.array(events["user"].to_numpy()[first]), names]
    with replaced_file(path) as partial:
        pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), partial)


def load_event_split(path: Path, events: pa.Table) -> EventSplit:
    """Read what ``save_event_split`` wrote.

    Raises:
        InputError: unreadable, an unknown split, or sessions or users that aren't those of
            ``events``.
    """
    table = read_columns(path, SCHEMA)
    session = events["session"].to_numpy()
    n_sessions = int(session[-1]) + 1 if len(session) else 0
    listed = table["session"].to_numpy()
    check_ids(path, "session", listed, n_sessions)
    codes = pc.index_in(table["split"], pa.array(PARTS))
    if codes.null_count:
        row = int(np.flatnonzero(codes.is_null().to_numpy())[0])
        raise InputError(
            f"{path}: row {row}: split is {table['split'][row].as_py()!r}; "
            "it must be train, val or test"
        )
    if len(listed) != n_sessions or len(np.unique(listed)) != n_sessions:
        raise InputError(
            f"{path}: has {len(np.unique(listed)):,} sessions, the events have {n_sessions:,}; "
            "does the file belong to these tables?"
        )
    part, owner = np.zeros((2, n_sessions), np.int64)
    part[listed], owner[listed] = codes.to_numpy(), table["user"].to_numpy()
    if (owner[session] != events["user"].to_numpy()).any():
        raise InputError(
            f"{path}: its sessions belong to other users; does the file belong to these tables?"
        )
    return EventSplit(part[session].astype(np.int8))
