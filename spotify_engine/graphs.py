"""Heterogeneous graphs of both pipelines: edges with their reverses, counts and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from rich.table import Table as RichTable

from spotify_engine.errors import InputError
from spotify_engine.strict_json import to_json

if TYPE_CHECKING:  # importing it costs seconds
    from torch_geometric.data import HeteroData

EdgeType = tuple[str, str, str]


class Summary(TypedDict):
    """Counts of a graph by type; of features, the columns."""

    nodes: dict[str, int]
    edges: dict[str, int]
    isolated: dict[str, int]
    features: dict[str, int]


def connect(
    data: HeteroData,
    kind: EdgeType,
    reverse: EdgeType,
    source: np.ndarray,
    target: np.ndarray,
    attributes: np.ndarray | None = None,
) -> None:
    """Add a relation and its reverse; both list their edges in the same order.

    Args:
        source, target: int ``[edges]``.
        attributes: float ``[edges, columns]``, the same tensor in both directions.
    """
    edges = torch.from_numpy(np.stack([source, target]).astype(np.int64))
    data[kind].edge_index = edges
    data[reverse].edge_index = edges.flip(0).contiguous()
    if attributes is not None:
        values = torch.from_numpy(np.ascontiguousarray(attributes, dtype=np.float32))
        data[kind].edge_attr = data[reverse].edge_attr = values


def summary(data: HeteroData) -> Summary:
    """Counts of nodes and edges, isolated nodes by type: what the report and the log show."""
    nodes = {kind: int(data[kind].num_nodes) for kind in data.node_types}
    touched = {kind: np.zeros(n, dtype=bool) for kind, n in nodes.items()}
    for kind in data.edge_types:
        touched[kind[2]][data[kind].edge_index[1].numpy()] = True
    return {
        "nodes": nodes,
        "edges": {"__".join(kind): int(data[kind].edge_index.shape[1]) for kind in data.edge_types},
        "isolated": {kind: int((~hit).sum()) for kind, hit in touched.items()},
        "features": {kind: int(data[kind].x.shape[1]) for kind in data.node_types},
    }


def render_summary(counts: Summary) -> RichTable:
    """The summary as a table to print."""
    table = RichTable(title="Graph")
    for column in ("nodes or edges", "count", "isolated", "features"):
        table.add_column(column, justify="left" if column == "nodes or edges" else "right")
    for kind, n in counts["nodes"].items():
        table.add_row(
            kind, f"{n:,}", f"{counts['isolated'][kind]:,}", str(counts["features"][kind])
        )
    for kind, n in counts["edges"].items():
        table.add_row(" ".join(kind.split("__")), f"{n:,}", "", "")
    return table


def save_graph(data: HeteroData, folder: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """One ``.npy`` an array, so that every worker of a machine maps the same pages.

    Args:
        metadata: plain values that :func:`read_metadata` gives back, beside the summary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in data.node_types:
        np.save(folder / f"x__{kind}.npy", data[kind].x.numpy())
    for kind in data.edge_types:
        name = "__".join(kind)
        np.save(folder / f"edges__{name}.npy", data[kind].edge_index.numpy())
        if "edge_attr" in data[kind]:
            np.save(folder / f"attributes__{name}.npy", data[kind].edge_attr.numpy())
    content = {**summary(data), **(metadata or {})}
    (folder / "graph.json").write_text(to_json(content))


def load_graph(
    folder: Path, node_types: Sequence[str], edge_types: Sequence[EdgeType]
) -> HeteroData:
    """Open a saved graph without reading it: pages are mapped copy-on-write as they are touched.

    Raises:
        InputError: the folder holds no graph.
    """
    read_metadata(folder)
    from torch_geometric.data import HeteroData

    data = HeteroData()
    for kind in node_types:
        data[kind].x = _mapped(folder / f"x__{kind}.npy")
        data[kind].num_nodes = data[kind].x.shape[0]
    for edge in edge_types:
        name = "__".join(edge)
        path = folder / f"edges__{name}.npy"
        if path.exists():
            data[edge].edge_index = _mapped(path)
        path = folder / f"attributes__{name}.npy"
        if path.exists():
            data[edge].edge_attr = _mapped(path)
    return data


def read_metadata(folder: Path) -> dict[str, Any]:
    """The summary and the metadata of a saved graph.

    Raises:
        InputError: the folder holds no graph.
    """
    path = folder / "graph.json"
    if not path.exists():
        raise InputError(f"{folder}: no graph here (graph.json is missing); run the job again")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _mapped(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
