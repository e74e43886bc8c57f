from __future__ import annotations

import csv
import random
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import ray

from spotify_engine.errors import InputError
from spotify_engine.playlists.schema import AUDIO_COLUMNS, TABLES
from spotify_engine.playlists.tables.build import DataConfig
from spotify_engine.runtime.cluster import refusals_as_raised
from spotify_engine.runtime.data.playlists import prepare_tables

pytestmark = pytest.mark.usefixtures("ray_cluster")

LOOSE = DataConfig(min_playlist_tracks=1, max_reject_ratio=0.2)
NAMES = ["Song", " song", "It's", 'The "One"', "a, b", "back\\slash", "Ünï", "two\nlines", "日本"]


def quirky_files(folder: Path) -> tuple[str, str]:
    """Both files with what is known to be odd in the real ones, and 3,000 rows."""
    rng = random.Random(7)
    artists = ["X", "x ", "Guns N' Roses", 'DJ "Q"', "Ö", "A\\B"]
    with (folder / "features.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", "album", "artists", *AUDIO_COLUMNS])
        for i in range(300):
            names = [rng.choice(artists), rng.choice(artists)]
            audio = [rng.choice(["0.5", "1.2", "", "0"]) for _ in AUDIO_COLUMNS]
            writer.writerow([f"id{i:03}", rng.choice(NAMES) + f" {i % 7}", "a", names, *audio])

    def quoted(text: str) -> str:
        return '"' + rng.choice([text.replace("\\", "\\\\").replace('"', '\\"'), text]) + '"'

    lines = ['"user_id", "artistname", "trackname", "playlistname"']
    for _ in range(3000):
        title = rng.choice(["Mix", "Mix ", "😀", "it's", "", "rock\nroll"]) + str(rng.randrange(4))
        fields = [f"u{rng.randrange(20)}", rng.choice(artists), f"{rng.choice(NAMES)} ", title]
        fields[2] += str(rng.randrange(9))
        kind = rng.random()
        if kind < 0.02:
            fields[rng.randrange(4)] = rng.choice(["", " "])
        elif kind < 0.03:
            fields.pop()
        lines.append(",".join(quoted(field) for field in fields))
        if kind > 0.99:
            lines.append("")
    path = folder / "playlists.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return str(path), str(folder / "features.csv")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return quirky_files(tmp_path_factory.mktemp("quirky"))


def plain_counts(playlists: str, features: str) -> dict[str, int]:
    """Counts by one pass and one dictionary; a row that is rejected counts as its lines."""
    wrong: list[str] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        wrong.extend(row.text.splitlines())
        return "skip"

    names = ["user", "artist", "track", "title"]
    table = pa.csv.read_csv(
        playlists,
        read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pa.csv.ParseOptions(
            escape_char="\\", newlines_in_values=True, invalid_row_handler=skip
        ),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    with open(features, newline="", encoding="utf-8") as file:
        known = {
            (row["name"].strip().lower(), eval(row["artists"])[0].strip().lower())
            for row in csv.DictReader(file)
        }
    rows = [tuple(row.values()) for row in table.to_pylist()]
    good = [row for row in rows if all(field.strip() for field in row)]
    n_bad = sum(1 + "\n".join(row).count("\n") - 3 for row in rows) - sum(
        1 + "\n".join(row).count("\n") - 3 for row in good
    )
    pairs = {
        ((user, title), key)
        for user, artist, track, title in good
        if (key := (track.strip().lower(), artist.strip().lower())) in known
    }
    return {
        "rows": len(good) + n_bad + len(wrong),
        "rejects": n_bad + len(wrong),
        "playlists": len({playlist for playlist, _ in pairs}),
        "tracks": len({track for _, track in pairs}),
        "pairs": len(pairs),
    }


def test_counts_equal_those_of_a_plain_reader(files: tuple[str, str], tmp_path: Path) -> None:
    config = LOOSE.model_copy(update={"chunk_bytes": 20_000})
    counts = prepare_tables(*files, tmp_path / "tables", config)
    tables = {name: pq.read_table(tmp_path / "tables" / f"{name}.parquet") for name in counts_of()}
    assert counts["chunks"] > 3
    assert plain_counts(*files) == {
        "rows": counts["rows"],
        "rejects": tables["rejects"].num_rows,
        "playlists": tables["playlists"].num_rows,
        "tracks": tables["tracks"].num_rows,
        "pairs": tables["playlist_tracks"].num_rows,
    }
    assert counts["after_pruning"]["pairs"] == tables["playlist_tracks"].num_rows
    assert counts["rejected"] == dict(Counter(tables["rejects"]["reason"].to_pylist()))
    text = Path(files[0]).read_bytes()
    for row in tables["rejects"].to_pylist():
        assert row["source"] == "playlists.csv"
        assert text[row["byte_offset"] :].decode().startswith(row["text"])
        assert row["line"] == text[: row["byte_offset"]].count(b"\n") + 1


def counts_of() -> list[str]:
    return sorted(set(TABLES) - {"genres", "artist_genres"})


def test_tables_are_the_same_bytes_whatever_the_chunks_and_workers(
    files: tuple[str, str], tmp_path: Path
) -> None:
    for unmatched in ("drop", "keep"):
        written = []
        for chunk_bytes, parallelism in ((1 << 20, None), (9_000, 1), (31_000, 2)):
            config = LOOSE.model_copy(
                update={"chunk_bytes": chunk_bytes, "unmatched": unmatched, "max_playlists": 50}
            )
            out = tmp_path / f"{unmatched}-{chunk_bytes}"
            prepare_tables(*files, out, config, parallelism)
            assert sorted(path.stem for path in out.iterdir()) == counts_of()
            written.append({path.name: path.read_bytes() for path in out.iterdir()})
        assert written[0] == written[1] == written[2]
        ids = pq.read_table(out / "tracks.parquet")["id"].to_pylist()
        assert any(name.startswith("key:") for name in ids) == (unmatched == "keep")
        assert len(set(ids)) == len(ids)


def test_works_without_features_if_unmatched_tracks_are_kept(
    files: tuple[str, str], tmp_path: Path
) -> None:
    keep = LOOSE.model_copy(update={"unmatched": "keep"})
    prepare_tables(files[0], None, tmp_path / "tables", keep)
    tracks = pq.read_table(tmp_path / "tables" / "tracks.parquet")
    assert all(tracks["missing_features"].to_pylist())
    with pytest.raises(InputError, match=r"no features file.*give --features or set"):
        prepare_tables(files[0], None, tmp_path / "tables", LOOSE)


@pytest.mark.parametrize("unmatched", ["drop", "keep"])
def test_a_track_is_one_whatever_its_spelling_and_however_often_its_id_is_there(
    tmp_path: Path, unmatched: Literal["drop", "keep"]
) -> None:
    """Composed and decomposed names; ids 0 to 9 are in the features file a second time."""
    names = [f"Déjà vü {i:02}" for i in range(20)]
    again = [f"Déjà vü {i:02} – Remastered" for i in range(10)]
    audio = ["0.5"] * len(AUDIO_COLUMNS)
    with (tmp_path / "features.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", "artists", *AUDIO_COLUMNS])
        for i, name in [*enumerate(names), *enumerate(again)]:
            writer.writerow([f"id{i:02}", name, ["Beyoncé"], *audio])
    rows = [
        f'"u{n}","Beyoncé","{name}","Été"'
        for n in range(25)
        for name in (*names[n % 5 :: 2], *again[n % 5 :: 2])
    ]
    lines = ["user_id,artistname,trackname,playlistname"]
    lines += [unicodedata.normalize("NFD" if n % 3 else "NFC", row) for n, row in enumerate(rows)]
    (tmp_path / "playlists.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = DataConfig(unmatched=unmatched, max_reject_ratio=0.5, chunk_bytes=2000)
    given = str(tmp_path / "playlists.csv"), str(tmp_path / "features.csv")
    counts = prepare_tables(*given, tmp_path / "tables", config)
    assert (counts["matched_rows"], counts["unmatched_rows"]) == (len(rows), 0)
    assert counts["features"]["rejected"] == {"repeated track id": 10}
    # A playlist holds each track once, whichever of its two names it has it by, or both.
    assert counts["duplicate_rows"] == sum(len(again[n % 5 :: 2]) for n in range(25))
    assert counts["after_pruning"]["playlists"] == 25
    tracks = pq.read_table(tmp_path / "tables" / "tracks.parquet")
    assert sorted(tracks["id"].to_pylist()) == [f"id{i:02}" for i in range(20)]
    assert set(tracks["name"].to_pylist()) == set(names)


def test_too_many_rejects_stop_the_job_and_leave_the_tables_alone(
    files: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "tables"
    prepare_tables(*files, out, LOOSE)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    bad = tmp_path / "bad.csv"
    bad.write_text('user_id,artistname,trackname,playlistname\nu,a,t,p\n\nu,"a,t,p\n')
    with pytest.raises(InputError) as caught:
        prepare_tables(str(bad), files[1], out, LOOSE)
    assert str(caught.value) == (
        f"{bad}: 50.0 % of rows have a quote that isn't closed (limit 20.0 %); first at line "
        "4: 'u,\"a,t,p'. Close the quote, or double it if it is part of the text, or go on without "
        "such rows with --set data.max_reject_ratio=0.5"
    )
    bad.write_text("user_id,artistname,trackname,playlistname\n" + "u,,t,p\n" * 2 + "u\n")
    with pytest.raises(
        InputError,
        match=r"100 % .* be used, 66.7 % have no artist.*in the column",
    ):
        prepare_tables(str(bad), files[1], out, LOOSE)
    bad.write_text("user_id,artistname,trackname,playlistname\n")
    with pytest.raises(InputError, match="has no rows"):
        prepare_tables(str(bad), files[1], out, LOOSE)
    strangers = tmp_path / "strangers.csv"
    strangers.write_text(f"id,name,artists,{','.join(AUDIO_COLUMNS)}\n1,n,['a'],0,0,0,0,0,0,0\n")
    with pytest.raises(InputError, match=r"100 % of rows are unmatched"):
        prepare_tables(files[0], str(strangers), out, LOOSE)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_rejects_of_both_files_are_located_and_in_order(
    files: tuple[str, str], tmp_path: Path
) -> None:
    features = tmp_path / "features.csv"
    lines = Path(files[1]).read_bytes().splitlines(keepends=True)
    lines[200:200] = [
        b"x,too short\n",
        b'id,"two\nlines",a,[X]' + b",0" * len(AUDIO_COLUMNS) + b"\n",
    ]
    features.write_bytes(b"".join(lines))
    counts = prepare_tables(files[0], str(features), tmp_path / "tables", LOOSE)
    assert sum(counts["features"]["rejected"].values()) == 3  # one has two lines
    rejects = pq.read_table(tmp_path / "tables" / "rejects.parquet").to_pylist()
    assert rejects == sorted(rejects, key=lambda row: (row["source"], row["byte_offset"]))
    assert {row["source"] for row in rejects[3:]} == {"playlists.csv"}
    for row in rejects:
        text = Path(features if row["source"] == "features.csv" else files[0]).read_bytes()
        assert text[row["byte_offset"] :].decode().startswith(row["text"])
        assert row["line"] == text[: row["byte_offset"]].count(b"\n") + 1
    strict = LOOSE.model_copy(update={"max_reject_ratio": 0.005})
    line, text = rejects[1]["line"], rejects[1]["text"]  # of the reason that most have
    with pytest.raises(InputError) as caught:
        prepare_tables(files[0], str(features), tmp_path / "tables", strict)
    assert f"{features}: 1.0 % of rows can't be used" in str(caught.value)
    assert f"first at line {line:,}: {text!r}" in str(caught.value)


def test_progress_counts_chunks_in_whole_lines(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = LOOSE.model_copy(update={"chunk_bytes": 20_000})
    counts = prepare_tables(*files, tmp_path / "tables", config)
    printed = capsys.readouterr().out
    n = counts["chunks"]
    assert f"prepare: 0/{n} chunks read of playlists.csv, 0.1 MB\n" in printed
    assert (
        f"prepare: {n}/{n} chunks read\nprepare: making tables of {counts['rows']:,} rows\n"
        in printed
    )


@ray.remote
def refuse() -> None:
    raise InputError("f.csv: is odd")


def test_bad_input_found_by_a_worker_is_told_without_rays_traceback() -> None:
    with pytest.raises(InputError) as caught, refusals_as_raised():
        ray.get(refuse.remote())
    assert (type(caught.value), str(caught.value)) == (InputError, "f.csv: is odd")
