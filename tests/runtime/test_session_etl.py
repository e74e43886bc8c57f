from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spotify_engine.errors import InputError
from spotify_engine.runtime.data.generate import generate_sessions
from spotify_engine.runtime.data.sessions import prepare_sessions
from spotify_engine.sessions.schema import TABLES
from spotify_engine.sessions.synthetic import SyntheticConfig, write_sessions
from spotify_engine.sessions.tables.build import read_tables
from spotify_engine.sessions.tables.columns import LATEST
from spotify_engine.sessions.tables.plays import SessionDataConfig

pytestmark = pytest.mark.usefixtures("ray_cluster")

CONFIG = SyntheticConfig.tiny()
LOOSE = SessionDataConfig(max_reject_ratio=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated sessions with a bad row here and there, ordered by time instead of by user."""
    folder = tmp_path_factory.mktemp("sessions") / "data"
    write_sessions(folder, CONFIG)
    path = folder / "raw_sessions.csv"
    header, *rows = path.read_text().splitlines()
    rows.sort(key=lambda row: row.split(",")[3])
    for at in range(0, len(rows), 100):
        rows.insert(at, f"u0000001,t0000001,a000000,noon {at},1,2")
    path.write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_tables_are_those_of_one_process_whatever_the_chunks_and_workers(
    folder: Path, tmp_path: Path
) -> None:
    expected = read_tables(folder, LOOSE)
    for number, (chunk_bytes, events_per_part, parallelism) in enumerate(
        [(1 << 20, 10**6, None), (9_000, 300, 2), (40_000, 1, 1)]
    ):
        config = LOOSE.model_copy(
            update={"chunk_bytes": chunk_bytes, "events_per_part": events_per_part}
        )
        out = tmp_path / str(number) / "tables"
        counts = prepare_sessions(str(folder), out, config, parallelism)
        assert sorted(path.name for path in out.iterdir()) == sorted(
            f"{name}.parquet" for name in TABLES
        )
        for name, table in expected.items():
            found = pq.read_table(out / f"{name}.parquet")
            assert found.equals(table), name
            assert found.schema.equals(TABLES[name]), name
        assert counts["rejected"] == {"unparsable timestamp": expected["rejects"].num_rows}
        assert counts["events"] == expected["events"].num_rows
        assert counts["rows"] == counts["events"] + expected["rejects"].num_rows
        assert counts["sessions"] == expected["events"]["session"][-1].as_py() + 1
        assert counts["edges"] == expected["edge_list"].num_rows
        assert counts["other_artist"] == counts["users_without_history"] == 0
    assert counts["chunks"] > 3


def test_too_many_rejects_stop_it_and_leave_the_tables_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tables"
    prepare_sessions(str(folder), out, LOOSE)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match=r"1\.0 % of rows have unparsable timestamp .*at line 2"):
        prepare_sessions(str(folder), out, SessionDataConfig(max_reject_ratio=0.005))
    with pytest.raises(InputError, match="no such folder"):
        prepare_sessions(str(tmp_path / "nowhere"), out, LOOSE)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_artists_that_differ_are_counted(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in folder.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    text = (data / "raw_sessions.csv").read_text().splitlines()
    text[2] = text[2].replace(text[2].split(",")[2], "a999999")
    (data / "raw_sessions.csv").write_text("\n".join(text) + "\n")
    assert prepare_sessions(str(data), tmp_path / "tables", LOOSE)["other_artist"] == 1


def test_longer_plays_and_podcasts_are_counted_and_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in folder.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    header, *rows = (data / "raw_sessions.csv").read_text().splitlines()
    good = [row.split(",") for row in rows if "noon" not in row]
    for row in good[:40]:
        row[4] = str(int(row[5]) + 12)
    for row in good[40:340]:
        row[1] = ""
    (data / "raw_sessions.csv").write_text("\n".join([header, *map(",".join, good)]) + "\n")
    config = SessionDataConfig(chunk_bytes=20_000)
    counts = prepare_sessions(str(data), tmp_path / "tables", config)
    assert counts["rejected"] == {}
    assert counts["set_aside"] == {"no track id": 300}
    assert counts["longer_than_track"] == 40
    assert counts["events"] == counts["rows"] - 300
    printed = capsys.readouterr().out
    assert "300 rows have no track id and are set aside" in printed
    assert "40 plays are longer than their track; they count as whole" in printed
    tables = {name: pq.read_table(tmp_path / "tables" / f"{name}.parquet") for name in TABLES}
    assert tables["rejects"]["reason"].to_pylist() == ["no track id"] * 300
    assert all(table.equals(read_tables(data)[name]) for name, table in tables.items())


def test_generated_plays_may_lie_in_the_future(tmp_path: Path) -> None:
    write_sessions(tmp_path / "data", SyntheticConfig.tiny(start="2080-01-01"))
    with pytest.raises(InputError, match=r"100 % of rows have timestamp in the future; first at"):
        prepare_sessions(str(tmp_path / "data"), tmp_path / "tables", LOOSE)
    found = prepare_sessions(str(tmp_path / "data"), tmp_path / "tables", LOOSE, latest=LATEST)
    assert found["rejected"] == {}


@pytest.mark.parametrize("parallelism", [1, 2])
def test_generated_bytes_are_those_of_one_process(tmp_path: Path, parallelism: int) -> None:
    expected = write_sessions(tmp_path / "one", CONFIG, oracle=True)
    counts = generate_sessions(tmp_path / "many", CONFIG, True, parallelism)
    assert counts == expected
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes(), path.name
    with pytest.raises(InputError, match="already exists"):
        generate_sessions(tmp_path / "many", CONFIG)
