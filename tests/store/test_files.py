from spotify_engine.store.files import write_text


def test_write_text_replaces_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "report.json"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
