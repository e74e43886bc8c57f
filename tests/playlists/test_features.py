from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.playlists.schema import AUDIO_COLUMNS
from spotify_engine.playlists.tables import features as module
from spotify_engine.playlists.tables.features import (
    FEATURE_COLUMNS,
    FEATURE_REMEDIES,
    artist_lists,
    first_artists,
    read_features,
)
from spotify_engine.reading.rejects import Rejected, check_rejects

PLAIN = dict.fromkeys(AUDIO_COLUMNS, "0.5") | {"loudness": "-30", "tempo": "125"}


def write(path: Path, rows: Sequence[dict[str, str]]) -> str:
    """A features file with a column that nobody needs; audio values are ``PLAIN`` by default."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "album", *FEATURE_COLUMNS[1:]])
        writer.writeheader()
        writer.writerows({"album": 'a "b"\n,c'} | PLAIN | row for row in rows)
    return str(path)


def test_audio_is_scaled_clipped_and_counted(tmp_path: Path) -> None:
    values = [
        {},
        {"tempo": "250", "loudness": "0", "energy": "1"},
        {"tempo": "0", "loudness": "-60", "energy": " 0.25 "},
        {"tempo": "300", "loudness": "-90", "energy": "1.5"},
        {"tempo": "nan", "loudness": "-inf", "energy": "1e-1"},
        {"tempo": "", "loudness": "quiet", "energy": "-"},
    ]
    rows = [{"id": str(i), "name": "n", "artists": "['a']"} | v for i, v in enumerate(values)]
    features = read_features(write(tmp_path / "f.csv", rows))
    column = dict(zip(AUDIO_COLUMNS, features.audio.T, strict=True))
    nan = np.nan
    np.testing.assert_allclose(column["tempo"], [0.5, 1, nan, 1, nan, nan])
    np.testing.assert_allclose(column["loudness"], [0.5, 1, 0, 0, nan, nan])
    np.testing.assert_allclose(column["energy"], [0.5, 1, 0.25, 1, 0.1, nan], rtol=1e-6)
    assert features.problems["tempo"] == {"not_a_number": 1, "not_detected": 1, "clipped": 1}
    assert features.problems["loudness"] == {"not_a_number": 2, "clipped": 1}
    assert features.problems["energy"] == {"not_a_number": 1, "clipped": 1}


def test_albums_and_years_are_read_where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    audio = ",0.5" * len(AUDIO_COLUMNS)
    columns = f"id,name,artists,{','.join(AUDIO_COLUMNS)}"
    rows = [("a1", "1999"), (" a1 ", "0"), ("", "20x0"), ("b", ""), ("c", " 2001 ")]
    path.write_text(
        f"{columns},year,album_id\n"
        + "".join(f"{i},n,['a']{audio},{year},{album}\n" for i, (album, year) in enumerate(rows))
        + f",no id,['a']{audio},1980,d\n"
    )
    features = read_features(str(path))
    assert features.albums.to_pylist() == ["a1", "a1", None, "b", "c"]
    np.testing.assert_array_equal(features.years, [1999, np.nan, np.nan, np.nan, 2001])
    path.write_text(f"{columns}\n1,n,['a']{audio}\n")
    features = read_features(str(path))
    assert features.albums.to_pylist() == [None]
    assert np.isnan(features.years).all()


def test_rows_without_id_name_or_artists_are_set_aside(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "name": " n\n1 ", "artists": "['A', \"B's\"]"},
        {"id": " ", "name": "n2", "artists": "['A']"},
        {"id": "3", "name": "", "artists": "['A']"},
        {"id": "4", "name": "n4", "artists": "A, B"},
        {"id": "5", "name": "n5", "artists": "['']"},
        {"id": "6", "name": "n6", "artists": "[1]"},
    ]
    path = write(tmp_path / "f.csv", rows)
    with open(path, "a") as file:
        file.write("7,too short\n")
    features = read_features(path)
    assert features.rows == 12  # those set aside count as their lines: each album has two
    assert features.ids.to_pylist() == ["1"]
    assert features.names.to_pylist() == ["n\n1"]
    reasons = features.rejects["reason"].to_pylist()
    assert sorted(reasons) == [
        *["no list of artists"] * 6,
        *["no track id"] * 2,
        *["no track name"] * 2,
        "not 11 fields",
    ]
    assert features.rejects["text"].to_pylist()[-1] == "7,too short"
    assert set(features.rejects["source"].to_pylist()) == {"f.csv"}


def test_a_repeated_id_is_one_track(tmp_path: Path) -> None:
    names = [
        ("1", "Song", "['A']"),
        ("1", "Song - Remastered", "['A']"),
        ("", "no id", "['A']"),
        (" 1 ", "SONG ", "['a', 'B']"),  # the same again: harmless
        ("2", "Other", "['A', 'B']"),
        ("spotify:track:2", "Other", "['B', 'A']"),
        ("https://open.spotify.com/track/1?si=x", "Third", "['A']"),
        ("ab", "Case", "['A']"),
        ("AB", "Case of its own", "['A']"),
    ]
    keys = ("id", "name", "artists", "album")
    rows = [dict(zip(keys, (*each, "in one line"), strict=True)) for each in names]
    features = read_features(write(tmp_path / "f.csv", rows))
    assert features.ids.to_pylist() == ["1", "1", "2", "ab", "AB"]
    assert features.names.to_pylist() == ["Song", "SONG", "Other", "Case", "Case of its own"]
    assert (features.rows, features.repeated, len(features.audio)) == (9, 1, 5)
    assert features.rejects["reason"].to_pylist() == [
        "repeated track id", "no track id", "repeated track id", "repeated track id"
    ]  # fmt: skip
    others = features.others
    assert others.names.to_pylist() == ["Song - Remastered", "Other", "Third"]
    assert others.first_artists.to_pylist() == ["A", "B", "A"]
    assert others.rows.tolist() == [0, 2, 0]


def test_an_id_that_only_a_broken_row_had_before_is_not_repeated(tmp_path: Path) -> None:
    row = {"id": "1", "name": "?", "artists": "['A']", "album": "in one line"}
    path = Path(write(tmp_path / "f.csv", 3 * [row]))
    data = path.read_bytes()
    for name in (b"n\xff", b"good", b"other"):
        data = data.replace(b"?", name, 1)
    path.write_bytes(data)
    features = read_features(str(path))
    assert features.names.to_pylist() == ["good"]
    assert features.rejects["reason"].to_pylist() == ["not valid UTF-8", "repeated track id"]
    assert (features.others.names.to_pylist(), features.others.rows.tolist()) == (["other"], [0])


def test_bytes_that_are_not_utf8_cost_only_their_rows(tmp_path: Path) -> None:
    rows = [{"id": str(i), "name": f"né{i}", "artists": "['A']"} for i in range(5)]
    path = Path(write(tmp_path / "f.csv", rows))
    path.write_bytes(path.read_bytes().replace("né3".encode(), b"n\xe9"))
    features = read_features(str(path))
    assert features.names.to_pylist() == ["né0", "né1", "né2", "né4"]
    assert features.rejects["reason"].to_pylist() == ["not valid UTF-8"] * 2
    first, second = features.rejects["text"].to_pylist()
    assert first == '3,"a ""b""'
    assert second.startswith(',c",n\ufffd')


HEADER = ",".join(FEATURE_COLUMNS)
AUDIO = ",0.5" * len(AUDIO_COLUMNS)


def row(fields: str) -> bytes:
    return f"{fields}{AUDIO}\n".encode()


def test_rejects_are_located_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = row("""1,"two\nlines, ""quoted""\r\nthree",['A']""")
    also_good = row("2,\ufffd is a name,['A']") + b"\r\n\n"
    bad = {
        "not 10 fields": b'3,"a\n\nb",too short\n',
        "no list of artists": row("""4,n,"[""Royce Da 5'9\"\"\"\"]\""""),
        "no track id": row(" ,n,['A']"),
        "no track name": row("6,,['A']"),
        "not valid UTF-8": b'7,"n\n\xe9\xff",' + row("['A']"),
        "a quote that isn't closed": row("8,\"n,['A']"),
    }
    # Each also in the middle of a block, at its end and across it; the last one has no line end.
    records = [good, also_good]
    for text in [*bad.values(), *reversed(bad.values())]:
        records += [text, good, text, text, also_good]
    records.append(b"9,too short")
    data = f"\n{HEADER}\r\n\n".encode() + b"".join(records)
    path = tmp_path / "f.csv"
    path.write_bytes(data)
    reasons = {raw: reason for reason, raw in bad.items()} | {records[-1]: "not 10 fields"}
    expected, at = [], len(data) - sum(map(len, records))
    for raw in records:
        for line in raw.splitlines(keepends=True) if raw in reasons else ():
            if line.strip():
                cut = line.decode("utf-8", "replace").rstrip("\r\n")
                place = at + raw.index(line)
                number = data[:place].count(b"\n") + 1
                expected.append(("f.csv", place, number, reasons[raw], cut))
        at += len(raw)
    for block in (1, 64, 300, 1 << 20):
        monkeypatch.setattr(module, "_BLOCK_BYTES", block)
        features = read_features(str(path))
        n_good = sum(raw not in reasons for raw in records)
        assert features.rows == n_good + len(expected)
        assert features.ids.to_pylist() == [
            raw[:1].decode() for raw in records if raw not in reasons
        ]
        assert len(features.audio) == len(features)
        table = Rejected.of(features.rejects, features.rows, 0).table(0)
        assert [tuple(reject.values()) for reject in table.to_pylist()] == expected


def test_too_many_rejects_are_told_with_the_line_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"{HEADER}\n1,\"a\nb\",['A']{AUDIO}\n2,n,[A]{AUDIO}\n")
    features = read_features(str(path))
    with pytest.raises(InputError, match=r"50.0 % of rows have no list .*; first at line 4: '2,n,"):
        check_rejects(
            str(path), [Rejected.of(features.rejects, features.rows, 0)], 0, 0.05, FEATURE_REMEDIES
        )


def test_a_file_of_rejects_alone_and_one_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"{HEADER}\n" + "1;n;['A']\n" * 1000)
    features = read_features(str(path))
    assert (len(features), features.rows, features.rejects.num_rows) == (0, 1000, 1000)
    assert features.rejects["line"].to_pylist() == list(range(1, 1001))
    path.write_text(HEADER)
    with pytest.raises(InputError, match="has no rows after its header"):
        read_features(str(path))


def test_a_byte_order_mark_in_the_first_row_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"{HEADER}\n\ufeff1,n,['A']{AUDIO}\n2,n,['A']{AUDIO}\n", encoding="utf-8")
    features = read_features(str(path))
    assert features.ids.to_pylist() == ["2"]
    assert features.rejects["reason"].to_pylist() == ["a byte order mark"]


def test_repeated_ids_are_found_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": f"t{i % 7}", "name": f"n{i % 5}", "artists": "['A']"} for i in range(40)]
    rows[3] = rows[3] | {"name": ""}
    path = write(tmp_path / "f.csv", rows)
    seen: list[tuple] = []
    for block in (1, 300, 1 << 20):
        monkeypatch.setattr(module, "_BLOCK_BYTES", block)
        features = read_features(path)
        others = features.others
        assert features.ids.take(pa.array(others.rows)).to_pylist() == [
            row["id"]
            for i, row in enumerate(rows)
            if row["name"]
            and any(each["id"] == row["id"] and each["name"] for each in rows[:i])
            and row["name"] != next(e["name"] for e in rows if e["id"] == row["id"] and e["name"])
        ]
        seen.append(
            (
                features.ids.to_pylist(),
                features.rejects.to_pylist(),
                others.names.to_pylist(),
                others.rows.tolist(),
                features.repeated,
                features.rows,
            )
        )
    assert seen[0] == seen[1] == seen[2]
    assert features.rejects["reason"].to_pylist().count("repeated track id") == 2 * len(others)


def test_a_row_longer_than_a_block_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": str(i), "name": "n" * 300, "artists": "['A']"} for i in range(5)]
    path = write(tmp_path / "f.csv", rows)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 200)
    assert len(read_features(path)) == 5


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("id,name,artists,danceability\n")
    with pytest.raises(InputError, match=r"f\.csv: no columns 'energy', 'valence'"):
        read_features(str(tmp_path / "f.csv"))


NAME = st.text(st.sampled_from(list("aé ,'\"\\[]\n\x07")), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(NAME, max_size=4), max_size=5))
def test_lists_read_back_as_python_wrote_them(lists: list[list[str]]) -> None:
    literals = pa.array([repr(names) for names in lists], pa.string())
    assert first_artists(literals).to_pylist() == [
        names[0].strip() if names else "" for names in lists
    ]
    of, names = artist_lists(literals)
    expected = [(i, n.strip()) for i, ns in enumerate(lists) for n in ns if n.strip()]
    assert list(zip(of.tolist(), names.to_pylist(), strict=True)) == expected


@pytest.mark.parametrize(
    "literal", ["['a'", "['a', 3]", "('a',)", "__import__('os')", "[" * 500, ""]
)
def test_what_is_no_list_of_names_gives_none(literal: str) -> None:
    assert first_artists(pa.array([literal])).to_pylist() == [""]
