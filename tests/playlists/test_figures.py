from matplotlib.image import imread

from spotify_engine.playlists.report.figures import plot_report


def test_the_picture_shows_training_and_board(tmp_path):
    report = {
        "epochs": [
            {"epoch": 0.0, "loss": 7.0, "val_recall@10": 0.1},
            {"epoch": 1.0, "loss": 6.0, "val_recall@10": 0.2},
        ],
        "metrics": {"test": {"recall@10": 0.15}},
        "baselines": {"ease": {"test": {}}, "itemknn": {"test": {"recall@10": 0.12}}},
    }
    plot_report(report, "playlist-gat", tmp_path / "report.png")
    left, right = (half for half in _halves(imread(tmp_path / "report.png")))
    for half in (left, right):
        colours = {tuple(pixel) for pixel in half.reshape(-1, half.shape[-1])[::7]}
        assert len(colours) > 10, "more than an empty frame"


def _halves(image):
    middle = image.shape[1] // 2
    return image[:, :middle], image[:, middle:]
