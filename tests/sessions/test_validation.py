"""Every check passes on generated data and fails on data that is spoilt for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread

from spotify_engine.sessions.quality.checks import CHECKS, ValidationConfig, validate
from spotify_engine.sessions.quality.plots import plot_validation
from spotify_engine.sessions.schema import TABLES
from spotify_engine.sessions.tables.edges import sessionise

Tables = dict[str, pa.Table]


def altered(tables: Tables, table: str, **columns: np.ndarray | list) -> Tables:
    """The tables with some columns of one replaced; sessions are cut anew when times change."""
    changed = tables[table]
    if "time" in columns:
        order = np.lexsort((columns["time"], changed["user"].to_numpy()))
        changed = changed.take(pa.array(order))
        columns["time"] = np.asarray(columns["time"])[order]
        session, position = sessionise(changed["user"].to_numpy(), columns["time"])
        columns |= {"session": session, "position": position}
    for name, values in columns.items():
        field = TABLES[table].field(name)
        place = changed.schema.get_field_index(name)
        changed = changed.set_column(place, field, pa.array(values, field.type))
    return tables | {table: changed}


def column(tables: Tables, name: str) -> np.ndarray:
    return tables["events"][name].to_numpy().copy()


def rejected(tables: Tables) -> Tables:
    n = len(tables["events"]) // 50
    rows = [["raw_sessions.csv"] * n, [0] * n, [2] * n, ["unknown track"] * n, [""] * n]
    return tables | {"rejects": pa.table(rows, schema=TABLES["rejects"])}


def repeated(tables: Tables) -> Tables:
    events = tables["events"]
    return tables | {"events": pa.concat_tables([events, events.slice(0, 20)])}


def overlapping(tables: Tables) -> Tables:
    # Three quarters of an hour for every play.
    return altered(tables, "events", ms_played=np.full(len(tables["events"]), 2_700_000))


def without_artists(tables: Tables) -> Tables:
    artist = tables["songs"]["artist"].to_pylist()
    return altered(tables, "songs", artist=[None, None, *artist[2:]])


def without_genres(tables: Tables) -> Tables:
    links = tables["song_genres"]
    return tables | {"song_genres": links.filter(pa.array(links["song"].to_numpy() >= 10))}


def without_histories(tables: Tables) -> Tables:
    return altered(tables, "events", user=column(tables, "user") // 2)


def unheard(tables: Tables) -> Tables:
    return altered(tables, "events", song=column(tables, "song") % 50)


def of_one_genre(tables: Tables) -> Tables:
    return altered(tables, "song_genres", genre=[0] * len(tables["song_genres"]))


def equally_active(tables: Tables) -> Tables:
    types = {"casual": "power", "power": "casual"}
    kinds = tables["users"]["type"].to_pylist()
    return altered(tables, "users", type=[types.get(kind, kind) for kind in kinds])


def of_unknown_type(tables: Tables) -> Tables:
    return altered(tables, "users", type=["vip", *tables["users"]["type"].to_pylist()[1:]])


def of_two_types(tables: Tables) -> Tables:
    kinds = tables["users"]["type"].to_pylist()
    return altered(tables, "users", type=["regular" if k == "casual" else k for k in kinds])


def at_midnight(tables: Tables) -> Tables:
    return altered(tables, "events", time=column(tables, "time") // 86_400 * 86_400)


def at_any_hour(tables: Tables) -> Tables:
    time = column(tables, "time")
    hours = 3600 * np.arange(len(time))
    return altered(tables, "events", time=time // 86_400 * 86_400 + hours % 86_400)


def never_completed(tables: Tables) -> Tables:
    return altered(tables, "events", completion=column(tables, "completion") / 1000)


def always_alike(tables: Tables) -> Tables:
    return altered(tables, "events", completion=np.full(len(tables["events"]), 0.7))


def one_play_sessions(tables: Tables) -> Tables:
    return altered(tables, "events", time=column(tables, "time") * 100)


def disconnected(tables: Tables) -> Tables:
    """Even users play even songs, odd ones odd songs."""
    user, song = column(tables, "user"), column(tables, "song")
    return altered(tables, "events", song=song // 2 * 2 + user % 2)


def on_one_day(tables: Tables) -> Tables:
    return altered(tables, "events", time=column(tables, "time") % 86_400 + 1_736_640_000)


def of_few_plays(tables: Tables) -> Tables:
    user = column(tables, "user")
    place = np.arange(len(user)) - np.searchsorted(user, user)
    return tables | {"events": tables["events"].filter(pa.array(place < 5))}


def of_others_taste(tables: Tables) -> Tables:
    """Everybody has everybody's preferences."""
    prefers = tables["user_genre_preferences"]
    n = len(tables["users"])
    shift = {"user": (prefers["user"].to_numpy() + n // 2) % n}
    return altered(tables, "user_genre_preferences", **shift)


SPOILT: list[tuple[str, Callable[[Tables], Tables]]] = [
    ("usable rows", rejected),
    ("no repeated plays", repeated),
    ("one play at a time", overlapping),
    ("songs have artists", without_artists),
    ("songs have genres", without_genres),
    ("users have histories", without_histories),
    ("songs are heard", unheard),
    ("genres are mixed", of_one_genre),
    ("types differ in activity", equally_active),
    ("types differ in activity", of_unknown_type),
    ("types differ in activity", of_two_types),
    ("times have a clock", at_midnight),
    ("days have a rhythm", at_any_hour),
    ("completion is plausible", never_completed),
    ("completion varies", always_alike),
    ("sessions have sequences", one_play_sessions),
    ("graph is connected", disconnected),
    ("time is long enough", on_one_day),
    ("users can be tested", of_few_plays),
    ("preferences show", of_others_taste),
]


def test_generated_data_passes(tables: Tables) -> None:
    report = validate(tables)
    assert [check.name for check in report.checks if not check.passed] == []
    assert report.passed
    assert len(report.checks) == len(CHECKS)


@pytest.mark.parametrize(("name", "spoil"), SPOILT)
def test_each_check_fails_on_what_it_is_for(
    tables: Tables, name: str, spoil: Callable[[Tables], Tables]
) -> None:
    report = validate(spoil(tables))
    assert not report.passed
    assert name in [check.name for check in report.checks if not check.passed]


def test_every_check_has_a_test_in_which_it_fails(tables: Tables) -> None:
    assert {check.name for check in validate(tables).checks} == {name for name, _ in SPOILT}


def test_limits_decide(tables: Tables) -> None:
    spoilt = without_artists(tables)
    by_name = {check.name: check for check in validate(spoilt).checks}
    assert by_name["songs have artists"].value == pytest.approx(2 / 120)
    lenient = validate(spoilt, ValidationConfig(max_without_artist=2 / 120))
    assert lenient.passed


def test_what_foreign_data_may_lack_is_not_checked(tables: Tables) -> None:
    bare = dict(tables)
    for name in ("genres", "song_genres", "artist_genres", "user_genre_preferences"):
        bare[name] = tables[name].slice(0, 0)
    bare = altered(bare, "users", type=["unknown"] * len(tables["users"]))
    report = validate(bare)
    assert report.passed
    skipped = [check.name for check in report.checks if check.value is None]
    assert skipped == [
        "songs have genres",
        "genres are mixed",
        "types differ in activity",
        "preferences show",
    ]


def test_facts_by_hand(tables: Tables) -> None:
    facts = json.loads(json.dumps(validate(tables).to_json()))["facts"]
    events = tables["events"]
    assert facts["events"] == len(events)
    types = facts["types"]
    assert sum(kind["users"] for kind in types.values()) == 30
    for what in ("hours", "completion"):
        assert sum(sum(kind[what]) for kind in types.values()) == len(events)
    assert sum(facts["genres"].values()) == pytest.approx(len(events))
    assert sum(facts["weekdays"]) == len(events)
    lengths = facts["session_lengths"]
    assert sum(i * n for i, n in enumerate(lengths)) == len(events)
    hour = events["time"].to_numpy()[0] % 86_400 // 3600
    assert sum(kind["hours"][hour] for kind in types.values()) > 0
    disconnected_facts = validate(disconnected(tables)).facts
    assert len(disconnected_facts["components"]) == 2
    assert sum(disconnected_facts["components"]) <= 150


@pytest.mark.parametrize("spoil", [dict, disconnected, of_unknown_type])
def test_plots_are_drawn(tables: Tables, tmp_path: Path, spoil: Callable) -> None:
    plot_validation(validate(spoil(tables)), tmp_path / "plot.png")
    image = imread(tmp_path / "plot.png")
    assert image.shape[:2] == (990, 1650)
    # Six panels, and in each of them something that isn't white.
    for row in np.array_split(image[60:, :, :3], 2):
        for panel in np.array_split(row, 3, axis=1):
            assert (panel.min(axis=2) < 0.9).mean() > 0.01
