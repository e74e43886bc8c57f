"""What each choice of the playlist model buys: recall@10 and NDCG@10 on validation without it.

    python benchmarks/ablations.py --run runs/kaggle-balanced
    python benchmarks/ablations.py --run runs/kaggle-balanced --only 'as shipped' 'BPR loss'

Learns again from a finished run's graph and split, in this process, once for each row. Nothing of
the test part is looked at. ``alone`` is the graph model, ``mixed`` has the item-item term chosen
for that model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from spotify_engine.command import STOPPED, job
from spotify_engine.config import load_config, read_yaml
from spotify_engine.evaluation.ranking import ranking_metrics, top_k
from spotify_engine.evaluation.splits import load_split
from spotify_engine.learning.item_item import add_item_item_scores
from spotify_engine.learning.trainers.base import EpochReport
from spotify_engine.pipelines import MONITOR
from spotify_engine.playlists.model.encoding import encode_tracks, fold_in, score_tracks
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import load_graph, playlist_features
from spotify_engine.playlists.model.network import GraphShape
from spotify_engine.playlists.model.start import find_start
from spotify_engine.playlists.recommend.item_item_choice import choose_item_item
from spotify_engine.playlists.schema import ARTIST, CONTAINS, GENRE, IN, TRACK
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.training import PlaylistTrainer
from spotify_engine.ragged import Ragged


@dataclass(frozen=True)
class Variant:
    """One row: what is changed, and how.

    Attributes:
        settings: ``--set`` texts.
        without: node types whose relations are left out of the graph, or a relation.
        started: whether it begins from the factors of the graph.
        attends: whether attention may leave plain means.
    """

    name: str
    settings: tuple[str, ...] = ()
    without: tuple[str | tuple[str, str, str], ...] = ()
    started: bool = True
    attends: bool = True


VARIANTS = (
    Variant("as shipped"),
    Variant("random start", started=False),
    Variant("start alone, no epoch", ("training.epochs=1", "training.learning_rate=1e-12",
                                      "training.embedding_learning_rate=1e-12")),
    Variant("means, no attention", attends=False),
    Variant("no artists, no genres", without=(ARTIST, GENRE)),
    Variant("no playlist-to-track attention", without=(CONTAINS,)),
    Variant("128 dimensions", ("model.embedding_dim=128", "model.layers=[128]")),
    Variant("BPR loss", ("training.loss=bpr",)),
    Variant("1,024 negatives", ("training.negatives=1024",)),
    Variant("no seed dropout", ("model.seed_dropout=0",)),
    Variant("rare tracks keep embeddings", ("training.forget_rare=0",)),
    Variant("half of each playlist as targets", ("training.keep=[0.4,0.6]",)),
)  # fmt: skip


def learn(run: Path, variant: Variant) -> dict[str, float]:
    """Train one variant and measure it on validation.

    Raises:
        InputError: ``run`` is not a finished run.
    """
    config = load_config(KaggleJob, [("run", read_yaml(run / "config.yaml"))], variant.settings)
    data, _ = load_graph(run / "graph")
    for kind in list(data.edge_types):
        if kind in variant.without or {kind[0], kind[2]} & set(variant.without):
            del data[kind]
    shape = GraphShape.of(data)
    split = load_split(run / "split.parquet", shape.nodes[TRACK], len(data["playlist"].x))
    torch.manual_seed(config.training.seed)
    model = PlaylistGAT(shape, config.model)
    started = time.perf_counter()
    if variant.started:
        find_start(data, split.train, split.val, config.model, config.start)[0].apply(model)
    if not variant.attends:
        last = model.layer(len(model.layers) - 1).gat(IN)
        torch.nn.init.zeros_(last.key).requires_grad_(False)
        last.query.requires_grad_(False)
    trainer = PlaylistTrainer(model, data, split.train, split.val, config.training)
    best: dict[str, torch.Tensor] = {}

    def keep(report: EpochReport) -> None:
        if report.best:
            best.update({name: value.clone() for name, value in model.state_dict().items()})

    trainer.fit(keep)
    seconds = time.perf_counter() - started
    model.load_state_dict(best)
    encoded = encode_tracks(model, data)
    audio = data[TRACK].x.numpy() if data[TRACK].x.shape[1] else None

    def score(seeds: Ragged) -> np.ndarray:
        vectors, _ = fold_in(model, encoded.folds, seeds, playlist_features(seeds, audio))
        return score_tracks(vectors, encoded)

    items, _ = choose_item_item(score, split.train, split.val, shape.nodes[TRACK], config.item_item)

    def mixed(seeds: Ragged) -> np.ndarray:
        scores = score(seeds)
        if items is not None:
            add_item_item_scores(scores, items, seeds)
        return scores

    figures = {"seconds": seconds, "epochs": trainer.stopping.best_epoch + 1.0}
    for name, function in (("alone", score), ("mixed", mixed)):
        for metric, value in measure(function, split.train, split.val).items():
            figures[f"{name} {metric}"] = value
    return figures


def measure(score: Callable[[Ragged], np.ndarray], train: Ragged, val: Ragged) -> dict[str, float]:
    """Recall and NDCG at 10 over all playlists with a validation part."""
    rows, lists = np.flatnonzero(val.lengths), []
    for start in range(0, len(rows), 256):
        seeds = train.select(rows[start : start + 256])
        lists.append(top_k(score(seeds), seeds, 10)[0])
    found = ranking_metrics(np.concatenate(lists), val.select(rows), (10,))
    return {name: found[name] for name in ("recall@10", "ndcg@10")}


def render(rows: dict[str, dict[str, float]]) -> Table:
    """One line a variant; ratios to the first."""
    table = Table(title=f"On validation ({MONITOR} chooses)", box=SIMPLE_HEAD)
    table.add_column("variant", no_wrap=True)
    heads = ["alone recall@10", "alone ndcg@10", "mixed recall@10", "mixed ndcg@10"]
    for head in [*heads, "mixed / shipped", "best epoch", "s"]:
        table.add_column(head, justify="right")
    base = next(iter(rows.values()))
    for name, each in rows.items():
        ratio = each["mixed recall@10"] / base["mixed recall@10"]
        cells = [f"{each[head]:.4f}" for head in heads]
        table.add_row(
            name, *cells, f"{ratio:.3f}", f"{each['epochs']:.0f}", f"{each['seconds']:.0f}"
        )
    return table


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="directory of a finished run")
    parser.add_argument("--only", nargs="+", choices=[each.name for each in VARIANTS])
    parser.add_argument("--out", type=Path, help="write all figures here as JSON")
    given = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    rows: dict[str, dict[str, float]] = {}
    for variant in VARIANTS:
        if given.only is None or variant.name in given.only:
            rows[variant.name] = learn(given.run, variant)
            console.print(f"{variant.name}: {rows[variant.name]}")
            if given.out:
                given.out.write_text(json.dumps(rows, indent=1))
    console.print(render(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
