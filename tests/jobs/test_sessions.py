"""Generating and validating sessions as a user does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TINY = [
    "--users=30", "--songs=200", "--artists=20", "--genres=12", "--days=30",
    "--set=longest_session=20", "--set=users_per_block=10",
]  # fmt: skip


def generate(*flags: str) -> int:
    import generate_sessions

    return generate_sessions.main(list(flags))


def validate(*flags: str) -> int:
    import validate_sessions

    return validate_sessions.main(list(flags))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job") / "data"


def test_generate_then_validate(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(f"--out={data}", "--oracle", "--workers=1", *TINY) == 0
    assert "oracle events" in capsys.readouterr().out
    assert len(list(data.iterdir())) == 8  # six tables, the oracle, the note that all is invented
    report = data.parent / "report"
    assert validate(f"--data={data}", f"--out={report}", "--set=max_unheard=0.9") == 0
    assert json.loads((report / "validation.json").read_text())["passed"] is True
    assert (report / "validation.png").stat().st_size > 10_000
    assert "users can be tested" in capsys.readouterr().out
    assert validate(f"--data={data}", f"--out={report}", "--set=min_days=1000") == 1
    assert "FAILED" in capsys.readouterr().out
    assert json.loads((report / "validation.json").read_text())["passed"] is False


def test_ray_writes_the_same_bytes(
    data: Path, tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    if not data.exists():
        generate(f"--out={data}", "--oracle", "--workers=1", *TINY)
    assert generate(f"--out={tmp_path / 'ray'}", "--oracle", *TINY) == 0
    assert "generate: 3/3 blocks of users" in capsys.readouterr().out
    for path in data.iterdir():
        assert (tmp_path / "ray" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--genres=3", "--set=artist_genres=[1, 5]"], "asks for up to 5 genres an artist, and"),
        (["--users=0"], "users: Input should be greater than or equal to 1 (got 0)"),
        (["--set=types.power.shar=1"], "unknown key types.power.shar; did you mean share?"),
        (["--config=none.yaml"], "none.yaml: No such file or directory"),
    ],
)
def test_what_cannot_be_generated_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert generate(f"--out={tmp_path / 'data'}", *flags) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert said in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_configuration_file_is_laid_over_the_default_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("generator: {users: 7, genres: 12}\n")
    config = f"--config={tmp_path / 'mine.yaml'}"
    sizes = ["--songs=200", "--artists=20", "--set=activity=0.5"]
    assert generate(f"--out={tmp_path / 'data'}", config, *sizes) == 0
    counts = capsys.readouterr().out.split()
    assert counts[counts.index("users") + 2] == "7"
    assert counts[counts.index("genres") + 2] == "12"


HEADER = "user_id,track_id,artist_id,timestamp,ms_played,track_duration_ms"
TRACKS = "track_id,artist_id\nt1,a1\n"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('u,t1,a1,"15 Nov 2023, 03:06",1,2', "have unparsable timestamp"),
        ("u,t1,a1,0,1,2", "have timestamp 0 or in 1970"),
        ("u,t1,a1,45245.1,1,2", "have timestamp in a spreadsheet's days"),
        ("u,t9,a1,2025-01-12,1,2", "have unknown track"),
        ("u,t1,a1,2025-01-12,1", "do not have 6 fields"),
    ],
)
def test_why_no_row_can_be_used_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, why: str
) -> None:
    (tmp_path / "raw_sessions.csv").write_text("\n".join([HEADER, *[row] * 60]) + "\n")
    (tmp_path / "tracks.csv").write_text(TRACKS)
    assert validate(f"--data={tmp_path}", f"--out={tmp_path / 'out'}") == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {tmp_path}/raw_sessions.csv: 100 % of rows {why}; first at")
    assert "first at line 2: " in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_podcasts_do_not_fail_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"u,t1,a1,2025-01-12T{i:02d}:00:00Z,1,2" for i in range(20)]
    rows += ["u,,,2025-01-12T12:00:00Z,1,2"] * 15
    (tmp_path / "raw_sessions.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (tmp_path / "tracks.csv").write_text(TRACKS)
    assert validate(f"--data={tmp_path}", f"--out={tmp_path / 'out'}") == 1  # for other reasons
    checks = json.loads((tmp_path / "out" / "validation.json").read_text())["checks"]
    [usable] = (check for check in checks if check["name"] == "usable rows")
    assert usable["passed"]
    assert usable["detail"].endswith("15 without a track are set aside")


def test_what_cannot_be_validated_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(f"--data={tmp_path}") == 2
    assert "has no raw_sessions.csv" in capsys.readouterr().err
    assert validate(f"--data={tmp_path}", "--set=max_unherd=1") == 2
    assert "did you mean max_unheard?" in capsys.readouterr().err
