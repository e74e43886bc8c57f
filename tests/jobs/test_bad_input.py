"""What a user can get wrong: one line with the remedy, exit code 2, nothing overwritten."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

HEADER = '"user_id", "artistname", "trackname", "playlistname"\n'


@pytest.fixture
def playlists(sample: Path) -> Path:
    return sample / "spotify_dataset.csv"


@pytest.fixture
def features(sample: Path) -> Path:
    return sample / "tracks_features.csv"


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test whose job gets as far as starting Ray."""

    def fail(*_: object) -> None:
        raise AssertionError("Ray was started before the input was checked")

    monkeypatch.setattr("spotify_engine.runtime.cluster.ray_session", fail)


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The one line with which train_kaggle.py refuses the flags."""
    import train_kaggle

    capsys.readouterr()
    assert train_kaggle.main(["--mode", "mini", *flags]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert errors.endswith("\n")
    return errors


def flags(playlists: Path, features: Path, out: Path, *more: str) -> list[str]:
    return [f"--playlists={playlists}", f"--features={features}", f"--out={out}", *more]


@pytest.mark.usefixtures("no_ray")
class TestBeforeRayStarts:
    def test_a_missing_file(
        self, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        said = refused(capsys, *flags(tmp_path / "nowhere.csv", features, out))
        assert "nowhere.csv: no such file; check the path given as --playlists" in said
        assert not out.exists()

    def test_the_default_files_are_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        said = refused(capsys)
        assert "data/kaggle/spotify_dataset.csv: no such file; get it from Kaggle" in said
        assert "--sample" in said
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("artist,style\nx,y\n", "no column 'genre' in its header"),
            ("artist;genre\nx;y\n", "separated by semicolons"),
            ("Genre,Artist\n", "has no rows after its header"),
            ("", "is empty"),
        ],
    )
    def test_a_genres_file_of_which_nothing_can_be_read(
        self,
        text: str,
        said: str,
        playlists: Path,
        features: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        given, out = tmp_path / "genres.csv", tmp_path / "run"
        given.write_text(text)
        told = refused(capsys, *flags(playlists, features, out, f"--genres={given}"))
        assert f"{given}: " in told
        assert said in told
        assert not out.exists()

    def test_an_unknown_key(
        self, playlists: Path, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        given = flags(playlists, features, out, "--set", "training.epoch=1")
        said = refused(capsys, *given)
        assert "unknown key training.epoch; did you mean epochs?" in said
        assert not out.exists()

    @pytest.mark.parametrize(
        ("name", "spoil", "remedy"),
        [
            ("playlists", lambda data: data.decode().encode("utf-16"), "is in UTF-16; save it as"),
            ("features", gzip.compress, "is compressed (gzip); unpack it"),
            ("genres", lambda data: b"PAR1" + data, "is a Parquet file; write it as a CSV file"),
            (
                "playlists",
                lambda data: HEADER.encode() + b'"u","Bj\xf6rk","t","p"\n' * 50,
                "it looks like Latin-1/Windows-1252: save it as UTF-8",
            ),
        ],
        ids=["UTF-16", "gzip", "Parquet", "Latin-1"],
    )
    def test_another_format_or_encoding(
        self,
        name: str,
        spoil: Callable[[bytes], bytes],
        remedy: str,
        sample: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        files = {
            "playlists": sample / "spotify_dataset.csv",
            "features": sample / "tracks_features.csv",
            "genres": sample / "artist_genres.csv",
        }
        given, out = tmp_path / f"{name}.csv", tmp_path / "run"
        given.write_bytes(spoil(files[name].read_bytes()))
        paths = [f"--{each}={path}" for each, path in {**files, name: given}.items()]
        said = refused(capsys, *paths, f"--out={out}")
        assert f"{given}: " in said
        assert remedy in said
        assert not out.exists()

    def test_a_value_out_of_bounds(
        self, playlists: Path, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        given = flags(playlists, features, out, "--set", "data.max_reject_ratio=2")
        assert "data.max_reject_ratio: " in refused(capsys, *given)
        assert not out.exists()

    def test_the_directory_holds_a_run_of_another_configuration(
        self,
        finished: tuple[Path, str],
        training_flags: list[str],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        run, _ = finished
        before = _contents(run)
        other = [*training_flags, f"--out={run}", "--set=training.epochs=9"]
        said = refused(capsys, *other)
        assert "holds a run with training.epochs=3, asked for 9; give another --out" in said
        assert _contents(run) == before

    def test_the_directory_holds_something_else(
        self, playlists: Path, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "thesis.txt").write_text("mine")
        said = refused(capsys, *flags(playlists, features, tmp_path))
        assert "holds files but no run; give --out an empty folder" in said
        assert _contents(tmp_path).keys() == {tmp_path / "thesis.txt"}


@pytest.mark.usefixtures("ray_cluster")
class TestWhileReading:
    """These need no more of Ray than that it is there."""

    @pytest.mark.parametrize(
        ("text", "remedy"),
        [
            ("", "is empty; it needs a header and rows"),
            (HEADER, "has no rows after its header"),
            ("user,artist,track,list\na,b,c,d\n", "user_id"),
            (HEADER.replace(",", ";") + '"u";"a";"t";"p"\n', "separated"),
            (HEADER + '"a line that is not four fields"\n' * 50, "do not have 4 fields"),
        ],
        ids=["empty", "only a header", "another header", "another delimiter", "broken rows"],
    )
    def test_an_unusable_playlist_file(
        self,
        text: str,
        remedy: str,
        features: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        given, out = tmp_path / "given.csv", tmp_path / "run"
        given.write_text(text)
        said = refused(capsys, *flags(given, features, out))
        assert str(given) in said
        assert remedy in said
        assert not out.exists()

    def test_a_features_file_without_a_needed_column(
        self, playlists: Path, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given, out = tmp_path / "features.csv", tmp_path / "run"
        given.write_text(features.read_text().replace("danceability", "danceabilty", 1))
        said = refused(capsys, *flags(playlists, given, out))
        assert str(given) in said
        assert "danceability" in said
        assert not out.exists()

    def test_no_track_is_in_the_features_file(
        self, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given, out = tmp_path / "given.csv", tmp_path / "run"
        rows = "".join(f'"u{i}","Nobody {i}","Nothing {i}","list"\n' for i in range(100))
        given.write_text(HEADER + rows)
        said = refused(capsys, *flags(given, features, out))
        assert "100 % of rows are unmatched" in said
        assert "data.unmatched=keep" in said
        assert not out.exists()

    def test_a_genres_file_that_gives_no_artist_a_genre(
        self,
        playlists: Path,
        features: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        given, out = tmp_path / "genres.csv", tmp_path / "run"
        given.write_text("artist,genre\nNobody,rock\nNo One,pop\n")
        told = refused(capsys, *flags(playlists, features, out, f"--genres={given}"))
        assert f"{given}: none of its 2 artists is one of the " in told
        assert "it has 'Nobody', they have '" in told
        assert not (out / "start").exists()

    def test_too_few_playlists_are_left(
        self, playlists: Path, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        given = flags(playlists, features, out, "--set", "data.max_playlists=19")
        said = refused(capsys, *given)
        assert "19 of " in said
        assert "fewer than 20" in said
        assert "data.max_playlists" in said
        assert not out.exists()


def _contents(folder: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
