"""A playlist recommender as the files of a bundle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.learning.attention import Projected
from spotify_engine.playlists.model.encoding import EncodedTracks
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import AudioScale
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.recommend.stand_ins import StandIns
from spotify_engine.playlists.recommend.titles import TitleModel, TitleSettings
from spotify_engine.playlists.schema import TRACK
from spotify_engine.playlists.second_stage.stage import HeadShape, SecondStage
from spotify_engine.store.bundle import Bundle, write_bundle

PIPELINE = "playlists"
BUNDLED_TABLES = ("tracks", "artists", "genres", "track_artists", "artist_genres")
ITEMS = ("data", "indices", "indptr")  # arrays of the item-item weights


class Parts(NamedTuple):
    """The parts that ``PlaylistRecommender`` is made from, in its order."""

    model: PlaylistGAT
    encoded: EncodedTracks
    tables: dict[str, pa.Table]
    scale: AudioScale | None
    popularity: np.ndarray
    items: sparse.csr_array | None
    stand_ins: StandIns | None
    titles: TitleModel | None
    together: sparse.csr_array | None
    second: SecondStage | None = None


def save(parts: Parts, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write a bundle; ``manifest`` brings config, data fingerprint and metrics."""
    encoded, titles = parts.encoded, parts.titles
    arrays = {
        "track_parts": encoded.parts.numpy(),
        "item_vectors": encoded.vectors.numpy(),
        "item_bias": encoded.bias.numpy(),
        "popularity": parts.popularity,
    }
    tables = dict(parts.tables)
    if parts.items is not None:
        for part in ITEMS:
            arrays[f"items_{part}"] = getattr(parts.items, part)
        if parts.together is not None:
            arrays["items_together"] = parts.together.data
    for depth, projected in enumerate(encoded.folds):
        arrays[f"fold_values_{depth}"] = projected.values.numpy()
        arrays[f"fold_keys_{depth}"] = projected.keys.numpy()
    if parts.stand_ins is not None:
        for depth, values in enumerate(parts.stand_ins.values):
            arrays[f"stand_in_values_{depth}"] = values.numpy()
    if parts.scale is not None:
        scale = parts.scale
        arrays["audio_scale"] = np.stack([scale.median, scale.mean, scale.std])
    if titles is not None:
        arrays["title_vectors"] = titles.vectors
        tables["titles"] = pa.table({"playlist": titles.playlists, "title": titles.titles})
    if parts.second is not None:
        arrays |= {f"second_{name}": each for name, each in parts.second.arrays().items()}
    shape = parts.model.shape
    content = {
        **manifest,
        "pipeline": PIPELINE,
        "model": parts.model.config.model_dump(mode="json"),
        "titles": vars(titles.settings) if titles else None,
        "second_stage": parts.second.shape._asdict() if parts.second else None,
        "graph": {
            "nodes": shape.nodes,
            "features": shape.features,
            "relations": [list(kind) for kind in shape.relations],
        },
    }
    write_bundle(folder, content, arrays, tables, parts.model.state_dict())


def load(bundle: Bundle) -> Parts:
    """Read an opened bundle.

    Raises:
        InputError: an array has not as many rows as there are tracks.
        LookupError, TypeError, ValueError, RuntimeError: parts don't fit each other.
    """
    config = PlaylistGATConfig.model_validate(bundle.manifest["model"])
    graph, files = bundle.manifest["graph"], bundle.manifest["files"]
    relations = tuple((r[0], r[1], r[2]) for r in graph["relations"])
    model = PlaylistGAT(GraphShape(graph["nodes"], graph["features"], relations), config)
    model.load_state_dict(bundle.weights())
    model.eval()

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(bundle.array(name))

    depths = range(len(config.layers))
    folds = [
        Projected(tensor(f"fold_values_{depth}"), tensor(f"fold_keys_{depth}")) for depth in depths
    ]
    encoded = EncodedTracks(
        folds, tensor("track_parts"), tensor("item_vectors"), tensor("item_bias")
    )
    tables = {name: bundle.table(name) for name in BUNDLED_TABLES}
    n = graph["nodes"][TRACK]
    _require_rows(bundle, "item_vectors.npy", len(encoded.vectors), n, "tracks")
    _require_rows(bundle, "item_bias.npy", len(encoded.bias), n, "tracks")
    _require_rows(bundle, "tracks.parquet", len(tables["tracks"]), n, "tracks")
    scale = AudioScale(*bundle.array("audio_scale")) if "audio_scale.npy" in files else None
    items, together = None, None
    if "items_data.npy" in files:
        data, indices, indptr = (bundle.array(f"items_{part}") for part in ITEMS)
        items = sparse.csr_array((data, indices, indptr), shape=(n, n))
        items.check_format(full_check=True)
        if "items_together.npy" in files:
            counts = bundle.array("items_together")
            _require_rows(bundle, "items_together.npy", len(counts), len(data), "weights")
            together = sparse.csr_array((counts, indices, indptr), shape=(n, n))
    stand_ins = None
    if "stand_in_values_0.npy" in files:
        values = [tensor(f"stand_in_values_{depth}") for depth in depths]
        for depth, each in enumerate(values):
            name, artists = f"stand_in_values_{depth}.npy", len(tables["artists"])
            _require_rows(bundle, name, len(each), artists, "artists")
        stand_ins = StandIns.of(model, values)
    titles = None
    if bundle.manifest["titles"] is not None:
        table, vectors = bundle.table("titles"), bundle.array("title_vectors")
        _require_rows(bundle, "title_vectors.npy", len(vectors), len(table), "titles")
        titles = TitleModel(
            table["playlist"].to_numpy(),
            table["title"].to_pylist(),
            vectors,
            TitleSettings(**bundle.manifest["titles"]),
        )
    popularity = bundle.array("popularity")
    return Parts(model, encoded, tables, scale, popularity, items, stand_ins, titles, together)


def second_stage(bundle: Bundle) -> tuple[dict[str, np.ndarray], HeadShape | None]:
    """The arrays and the shape of a bundle's second stage; nothing and None without one."""
    shape = bundle.manifest.get("second_stage")  # bundles of earlier releases don't speak of it
    if shape is None:
        return {}, None
    names = [Path(file).stem for file in bundle.manifest["files"] if file.startswith("second_")]
    arrays = {name.removeprefix("second_"): bundle.array(name) for name in names}
    return arrays, HeadShape(**shape)


def _require_rows(bundle: Bundle, name: str, found: int, expected: int, of: str) -> None:
    if found != expected:
        raise InputError(f"{bundle.folder / name}: {found} rows for {expected} {of}")
