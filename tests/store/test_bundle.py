import hashlib
import json
import re

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from spotify_engine.errors import InputError
from spotify_engine.store import bundle
from spotify_engine.store.bundle import MANIFEST, WEIGHTS, open_bundle, write_bundle

ARRAYS = {"vectors": np.arange(6, dtype=np.float32).reshape(3, 2), "counts": np.array([4, 5])}
TABLES = {"tracks": pa.table({"track": [0, 1], "name": ["a", "b"]})}


def write(folder, arrays=ARRAYS, weights=None, **manifest):
    weights = {"w": torch.tensor([[1.0, 2.0]])} if weights is None else weights
    write_bundle(folder, {"pipeline": "test"} | manifest, arrays, TABLES, weights)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "bundle", metrics={"recall@10": 0.5})


def edit(folder, change):
    """Change the manifest by hand."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def refused(folder, message, pipeline="test"):
    with pytest.raises(InputError, match=message) as caught:
        open_bundle(folder, pipeline)
    assert "\n" not in str(caught.value)


def test_round_trip(folder):
    opened = open_bundle(folder, "test")
    assert opened.manifest["metrics"] == {"recall@10": 0.5}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(opened.array(name), array)
        assert opened.array(name).dtype == array.dtype
    assert opened.table("tracks").equals(TABLES["tracks"])
    assert torch.equal(opened.weights()["w"], torch.tensor([[1.0, 2.0]]))


def test_arrays_are_mapped_and_writing_to_them_stays_private(folder):
    array = open_bundle(folder, "test").array("vectors")
    assert isinstance(array, np.memmap)
    array[0] = 99
    np.testing.assert_array_equal(open_bundle(folder, "test").array("vectors"), ARRAYS["vectors"])


def test_manifest_says_sha256_shape_and_type(folder):
    files = json.loads((folder / MANIFEST).read_text())["files"]
    assert {p.name for p in folder.iterdir()} == {*files, MANIFEST}
    for name, facts in files.items():
        assert facts["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert files["vectors.npy"]["shape"] == [3, 2]
    assert files["vectors.npy"]["dtype"] == "float32"


def test_the_same_content_gives_the_same_bytes(folder, tmp_path):
    again = write(tmp_path / "again", metrics={"recall@10": 0.5})
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


@pytest.mark.parametrize("name", ["vectors.npy", "tracks.parquet", WEIGHTS])
class TestDamage:
    def test_missing(self, folder, name):
        (folder / name).unlink()
        refused(folder, rf"{re.escape(str(folder / name))}: listed in the manifest but missing")

    def test_truncated(self, folder, name):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-3])
        refused(folder, rf"{re.escape(str(folder / name))}: changed or truncated")

    def test_changed_byte(self, folder, name):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        refused(folder, rf"{re.escape(str(folder / name))}: changed or truncated")


def test_no_bundle_here(tmp_path):
    refused(tmp_path, r"not a bundle \(manifest\.json is missing\)")
    refused(tmp_path / "nowhere", r"nowhere: not a bundle")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_manifest_that_is_not_json(folder, content):
    (folder / MANIFEST).write_bytes(content)
    refused(folder, r"manifest\.json: not readable as JSON")


@pytest.mark.parametrize("content", ["[]", "null", '"text"', "{}"])
def test_manifest_of_another_kind(folder, content):
    (folder / MANIFEST).write_text(content)
    refused(folder, r"manifest\.json: format version None, this release reads 1")


def test_unknown_format_version(folder):
    edit(folder, lambda manifest: manifest.update(format_version=99))
    refused(folder, r"format version 99, this release reads 1; train again")


def test_other_pipeline(folder):
    refused(folder, "a bundle of 'test', not of 'sessions'", pipeline="sessions")


@pytest.mark.parametrize("files", [{}, None, ["vectors.npy"]])
def test_manifest_without_files(folder, files):
    edit(folder, lambda manifest: manifest.update(files=files))
    refused(folder, "lists no files")


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/hostname", "..", "sub/../vectors.npy"])
def test_manifest_can_not_lead_out_of_its_folder(folder, name):
    np.save(folder.parent / "outside.npy", np.zeros(2))
    digest = hashlib.sha256((folder.parent / "outside.npy").read_bytes()).hexdigest()
    edit(folder, lambda manifest: manifest["files"].update({name: {"sha256": digest}}))
    refused(folder, "listed in the manifest but missing")


@pytest.mark.parametrize("facts", [{}, None, {"sha256": None}])
def test_file_without_a_checksum(folder, facts):
    edit(folder, lambda manifest: manifest["files"].update({"vectors.npy": facts}))
    refused(folder, r"vectors\.npy: changed or truncated")


@pytest.mark.parametrize("said", [{"shape": [2, 3]}, {"dtype": "float64"}])
def test_wrong_shape_or_type_in_the_manifest(folder, said):
    edit(folder, lambda manifest: manifest["files"]["vectors.npy"].update(said))
    refused(folder, r"vectors\.npy: holds float32 \[3, 2\], but the manifest says")


def replace_file(folder, name, write):
    """Put another file in place, with a checksum that fits."""
    write(folder / name)
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    edit(folder, lambda manifest: manifest["files"][name].update(sha256=digest))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_array_with_nan_is_not_opened(folder, value):
    array = ARRAYS["vectors"].copy()
    array[1, 1] = value
    replace_file(folder, "vectors.npy", lambda path: np.save(path, array))
    refused(folder, r"vectors\.npy: holds NaN or infinity")


def test_weights_with_nan_are_not_opened(folder):
    weights = {"w": torch.tensor([1.0, float("nan")])}
    replace_file(folder, WEIGHTS, lambda path: save_file(weights, path))
    with pytest.raises(InputError, match=r"weights\.safetensors: w holds NaN"):
        open_bundle(folder, "test").weights()


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_objects_are_never_unpickled(folder, capsys):
    bomb = np.array([Bomb()], dtype=object)
    replace_file(folder, "vectors.npy", lambda path: np.save(path, bomb, allow_pickle=True))
    refused(folder, r"vectors\.npy: not a readable \.npy array")
    assert "unpickled" not in capsys.readouterr().out


def test_asking_for_what_is_not_there(folder):
    opened = open_bundle(folder, "test")
    with pytest.raises(InputError, match=r"the bundle has no other\.npy"):
        opened.array("other")
    with pytest.raises(InputError, match=r"the bundle has no other\.parquet"):
        opened.table("other")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_nan_is_not_written(folder, value):
    for content in (
        {"arrays": {"vectors": np.array([value])}},
        {"weights": {"w": torch.tensor([value])}},
    ):
        with pytest.raises(ValueError, match="holds NaN or infinity"):
            write(folder, **content)
    assert open_bundle(folder, "test").manifest["metrics"] == {"recall@10": 0.5}


def test_a_new_version_replaces_the_old_one_whole(folder):
    write(folder, arrays={"other": np.zeros(1)})
    opened = open_bundle(folder, "test")
    assert "metrics" not in opened.manifest
    assert not (folder / "vectors.npy").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("failing", ["save_file", "_sha256", "to_json"])
def test_crash_while_writing_leaves_the_old_version(folder, monkeypatch, failing):
    def crash(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(bundle, failing, crash)
    with pytest.raises(OSError, match="disk full"):
        write(folder, arrays={"other": np.zeros(1)})
    monkeypatch.undo()
    assert open_bundle(folder, "test").manifest["metrics"] == {"recall@10": 0.5}
    write(folder, arrays={"other": np.zeros(1)})
    assert open_bundle(folder, "test").array("other").tolist() == [0]
