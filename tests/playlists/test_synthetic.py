"""The stand-in data set: its dialect and faults, that it can be matched and learnt from."""

from __future__ import annotations

import ast
import csv
import io
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spotify_engine.errors import InputError
from spotify_engine.invented_names import (
    GENRE_NAMES,
    escape_playlist_field,
    playlist_titles,
    quote_rfc4180,
)
from spotify_engine.playlists.schema import AUDIO
from spotify_engine.playlists.synthetic import (
    FEATURES_FILE,
    GENRES_FILE,
    PLAYLISTS_FILE,
    SampleConfig,
    sample,
    write_sample,
)
from spotify_engine.playlists.synthetic.listening import write_playlists
from spotify_engine.store.invented import is_invented

Row = tuple[str, str, str, str]  # user, artist, track, title


def read_playlists(data: bytes) -> tuple[list[Row], int]:
    """All rows with four fields, by Arrow's reader, and how many others there are."""
    rejected = []

    def reject(row: object) -> str:
        rejected.append(row)
        return "skip"

    table = pa_csv.read_csv(
        io.BytesIO(data),
        read_options=pa_csv.ReadOptions(
            column_names=list("uatp"), skip_rows=1, use_threads=False, block_size=1 << 26
        ),
        parse_options=pa_csv.ParseOptions(
            escape_char="\\", newlines_in_values=True, invalid_row_handler=reject
        ),
        convert_options=pa_csv.ConvertOptions(column_types={c: pa.string() for c in "uatp"}),
    )
    return list(zip(*(table[c].to_pylist() for c in "uatp"), strict=True)), len(rejected)


def normal(text: str) -> str:
    return text.lower().strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample") / "demo"


@pytest.fixture(scope="module")
def counts(folder: Path) -> dict[str, int]:
    return write_sample(folder, SampleConfig.demo())


@pytest.fixture(scope="module")
def rows(folder: Path, counts: dict[str, int]) -> list[Row]:
    return read_playlists((folder / PLAYLISTS_FILE).read_bytes())[0]


@pytest.fixture(scope="module")
def features(folder: Path, counts: dict[str, int]) -> list[dict[str, str]]:
    with (folder / FEATURES_FILE).open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def feature_key(row: dict[str, str]) -> tuple[str, str]:
    return normal(row["name"]), normal(ast.literal_eval(row["artists"])[0])


def test_playlists_file_has_the_dialect_of_the_real_one(
    folder: Path, counts: dict[str, int]
) -> None:
    data = (folder / PLAYLISTS_FILE).read_bytes()
    header, _, body = data.partition(b"\n")
    assert header == b'"user_id", "artistname", "trackname", "playlistname"'
    assert body.startswith(b'"')
    assert b'\\"' in body
    assert b'""' in body.replace(b'"","', b"").replace(b',""', b"")
    assert b"/\\\\ " in body  # a doubled backslash
    assert not data.isascii()


@pytest.mark.usefixtures("counts")
def test_what_is_generated_says_so(folder: Path, tmp_path: Path) -> None:
    files = [folder / name for name in (PLAYLISTS_FILE, FEATURES_FILE)]
    assert is_invented([*files, None])
    assert not is_invented([shutil.copy(file, tmp_path) for file in files])
    assert not is_invented(["none", None])
    assert is_invented([tmp_path / "absent.csv", folder])


def test_faults_have_the_shares_of_the_real_file(folder: Path, counts: dict[str, int]) -> None:
    rows, rejected = read_playlists((folder / PLAYLISTS_FILE).read_bytes())
    assert 0.006 < rejected / counts["rows"] < 0.012
    # A malformed line takes at most the one below with it.
    assert 0 <= counts["rows"] - rejected - len(rows) < 20
    _, artists, tracks, titles = zip(*rows, strict=True)
    assert 0.001 < artists.count("") / len(rows) < 0.005
    assert 1 <= tracks.count("") <= 10
    assert 0.002 < titles.count("") / len(rows) < 0.03
    assert any("\n" in track for track in tracks)
    pairs = Counter(rows)
    assert 0 < len(rows) - len(pairs) < 0.02 * len(rows)


def test_rows_of_a_playlist_stand_together_in_alphabetical_order(rows: list[Row]) -> None:
    seen: list[tuple[str, str]] = []
    last = ""
    for user, _, track, title in rows:
        if not track:
            continue
        if not seen or seen[-1] != (user, title):
            seen.append((user, title))
            last = ""
        assert last <= track.lower()
        last = track.lower().rstrip()
    named = [playlist for playlist in seen if playlist[1]]
    assert len(named) == len(set(named))


def test_features_file_reads_back_and_matches_what_was_counted(
    rows: list[Row], features: list[dict[str, str]], counts: dict[str, int]
) -> None:
    assert len(features) == counts["feature_rows"]
    assert len(features[0]) == 24
    assert len({row["id"] for row in features}) == len(features)
    keys = Counter(feature_key(row) for row in features)
    assert sum(n > 1 for n in keys.values()) > 50  # one key under several ids

    played = {(normal(track), normal(artist)) for _, artist, track, _ in rows}
    matched = played & keys.keys()
    assert len(matched) == pytest.approx(counts["featured_tracks"], rel=0.01)
    exact = {(row["name"], ast.literal_eval(row["artists"])[0]) for row in features}
    as_written = {(track, artist) for _, artist, track, _ in rows} & exact
    assert len(as_written) < 0.99 * len(matched)  # normalising is needed
    share = np.mean([(normal(t), normal(a)) in keys for _, a, t, _ in rows])
    assert 0.6 < share < 0.9


def test_features_hold_several_artists_and_a_few_unusable_values(
    features: list[dict[str, str]],
) -> None:
    several = [row for row in features if len(ast.literal_eval(row["artists"])) == 2]
    assert 0.05 < len(several) / len(features) < 0.2
    for row in several[:20]:
        assert len(ast.literal_eval(row["artist_ids"])) == 2
    unusable = 0
    for row in features:
        for column in AUDIO:
            try:
                good = column.low <= float(row[column.name]) <= column.high
            except ValueError:
                good = False
            unusable += not good
    assert 1 <= unusable < 0.002 * len(features) * len(AUDIO)


def test_genres_file_names_artists_of_the_sample(
    folder: Path, rows: list[Row], counts: dict[str, int]
) -> None:
    with (folder / GENRES_FILE).open(newline="") as file:
        listed = list(csv.DictReader(file, strict=True))
    assert len(listed) == counts["genre_rows"]
    assert {row["genre"] for row in listed} <= set(GENRE_NAMES)
    played = {artist for _, artist, _, _ in rows}
    assert sum(row["artist"] in played for row in listed) > 0.95 * len(listed)


def test_a_title_names_the_genre_of_its_tracks(
    folder: Path, rows: list[Row], counts: dict[str, int]
) -> None:
    with (folder / GENRES_FILE).open(newline="") as file:
        genre_of = {row["artist"]: row["genre"] for row in csv.DictReader(file)}
    right, total = 0, 0
    for _, artist, _, title in rows:
        named = [g for g in GENRE_NAMES[:24] if title.lower() in (g, f"my {g}", f"{g} vibes")]
        if named and artist in genre_of:
            total += 1
            right += genre_of[artist] == named[0]
    assert total > 300
    assert right / total > 0.4  # by chance: 1 in 24


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_sample(tmp_path / name, SampleConfig.scaled(0.001, seed=seed))
    for file in (PLAYLISTS_FILE, FEATURES_FILE, GENRES_FILE):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b
        assert a != c


def test_sizes_follow_the_scale(tmp_path: Path) -> None:
    config = SampleConfig.scaled(0.01)
    counts = write_sample(tmp_path / "s", config)
    assert counts["rows"] == pytest.approx(129_000, rel=0.1)
    assert counts["tracks"] == pytest.approx(20_000, rel=0.15)
    assert counts["feature_rows"] == 12_040
    assert counts["users"] == 159
    assert counts["playlists"] == 1_610


def test_malformed_lines_take_few_others_with_them(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    config = SampleConfig.scaled(0.002, malformed_share=0.04)
    write_playlists(path, config, sample.build_catalogue(config))
    rows, rejected = read_playlists(path.read_bytes())
    assert rejected > 0.03 * len(rows)
    assert len(rows) + rejected > 0.995 * path.read_text().count("\n")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1))
def test_escaped_playlist_fields_read_back(texts: list[str]) -> None:
    texts = [text.replace("\r", "") for text in texts]
    fields = escape_playlist_field(pa.array(texts)).to_pylist()
    body = "".join(f'"u","a","t","{field}"\n' for field in fields)
    rows, rejected = read_playlists(f"header\n{body}".encode())
    assert rejected == 0
    assert [title for *_, title in rows] == texts


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1))
def test_rfc4180_fields_read_back(texts: list[str]) -> None:
    texts = [text.replace("\0", "") for text in texts]
    line = ",".join(["first", *quote_rfc4180(pa.array(texts)).to_pylist()]) + "\n"
    assert list(csv.reader(io.StringIO(line, newline=""), strict=True)) == [["first", *texts]]


def test_titles_are_different_within_a_user() -> None:
    rng = np.random.default_rng(0)
    titles = playlist_titles(rng, np.zeros(300, int), ["jazz"] * 300, 0.5)
    assert len(set(titles)) == 300
    assert sum("jazz" in title.lower() for title in titles) > 100


def test_neighbours_beat_popularity_but_not_trivially(
    rows: list[Row], features: list[dict[str, str]]
) -> None:
    keys = {feature_key(row) for row in features}
    known = [((u, p), (normal(t), normal(a))) for u, a, t, p in rows]
    known = [pair for pair in known if pair[1] in keys]
    playlists = {name: i for i, name in enumerate(dict.fromkeys(p for p, _ in known))}
    tracks = {name: i for i, name in enumerate(dict.fromkeys(t for _, t in known))}
    index = np.unique([(playlists[p], tracks[t]) for p, t in known], axis=0)
    rng = np.random.default_rng(0)
    held = rng.random(len(index)) < 0.25
    shape = (len(playlists), len(tracks))
    train, test = (
        sp.csr_matrix((np.ones(len(i)), (i[:, 0], i[:, 1])), shape)
        for i in (index[~held], index[held])
    )
    popularity = np.asarray(train.sum(axis=0)).ravel()
    cosine = train @ sp.diags(1 / np.sqrt(np.maximum(popularity, 1)))
    similar = (cosine.T @ cosine).toarray()
    np.fill_diagonal(similar, 0)

    def recall(scores: np.ndarray) -> float:
        scores = np.where(train.toarray() > 0, -np.inf, scores)
        top = np.argsort(-scores, axis=1)[:, :10]
        hits = np.take_along_axis(test.toarray(), top, axis=1).sum(axis=1)
        wanted = np.minimum(10, test.getnnz(axis=1))
        return float((hits[wanted > 0] / wanted[wanted > 0]).mean())

    popular = recall(np.broadcast_to(popularity, shape))
    neighbours = recall(train @ similar)
    assert neighbours > 3 * popular
    assert 0.1 < neighbours < 0.5


def test_refuses_a_folder_with_files_and_leaves_nothing_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SampleConfig.scaled(0.001)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="isn't an empty folder"):
        write_sample(tmp_path / "full", config)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"

    def fail(*_: object) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(sample, "write_genres", fail)
    with pytest.raises(InputError, match="disk full"):
        write_sample(tmp_path / "new", config)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    "sizes",
    [{"artists": 20}, {"tracks": 100}, {"feature_rows": 100}, {"users": 9_000}, {"noise_share": 1}],
)
def test_sizes_that_contradict_each_other_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="needs"):
        SampleConfig.demo(**sizes)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scale", "0.001", "--artists", "3"], "--artists: "),
        (["--demo", "--tracks", "100"], "sizes: needs"),
        (["--demo", "--out", "."], "isn't an empty folder"),
    ],
)
def test_job_says_what_is_wrong_in_one_line(flags: list[str], message: str, tmp_path: Path) -> None:
    job = Path(__file__).parents[2] / "jobs" / "generate_kaggle.py"
    command = [sys.executable, str(job), "--out", str(tmp_path / "s"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=job.parent, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
