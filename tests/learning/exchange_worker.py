"""One of two workers of test_exchange.py: run as a process of its own, writes what it found."""

import sys
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn

from spotify_engine.learning.exchange import sum_gradients
from spotify_engine.learning.trainers.base import BaseTrainer

ROWS, WIDTH = 5000, 3


def build() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "table": nn.Embedding(ROWS, WIDTH, sparse=True),
            "layer": nn.Linear(WIDTH, 4),
            "frozen": nn.Linear(2, 2).requires_grad_(False),
            "other": nn.Embedding(ROWS, 1, sparse=True),
        }
    )


def backward(model: nn.ModuleDict, ids: list[int]) -> None:
    """A loss that is a sum over ids, so that gradients of parts add up to those of the whole."""
    index = torch.tensor(ids)
    out = model["layer"](model["table"](index)).tanh() * (1 + model["other"](index))
    out.sum().backward()


# (ids of worker 0, ids of worker 1): equal, overlapping and uneven, one worker without work, none.
SCENES = [([1, 2, 3], [4, 5, 6]), ([1, 1, 7], [7, 9, 0, 1, 11]), ([3, 4], []), ([], [])]


def gradients(model: nn.ModuleDict) -> dict[str, torch.Tensor | None]:
    return {
        name: None if p.grad is None else p.grad.to_dense() for name, p in model.named_parameters()
    }


class Wire:
    """Counts the numbers that this worker gives to each kind of exchange."""

    def __init__(self) -> None:
        self.sent = {"all_gather": 0, "all_reduce": 0}
        gather, reduce = dist.all_gather, dist.all_reduce

        def counted_gather(parts: list[torch.Tensor], tensor: torch.Tensor) -> None:
            self.sent["all_gather"] += tensor.numel()
            gather(parts, tensor)

        def counted_reduce(tensor: torch.Tensor) -> None:
            self.sent["all_reduce"] += tensor.numel()
            reduce(tensor)

        dist.all_gather, dist.all_reduce = counted_gather, counted_reduce


class Scripted(BaseTrainer):
    """Only rank 0 knows how good an epoch was."""

    def __init__(self) -> None:
        super().__init__(epochs=9, patience=2, monitor="score")
        self.model, self.optimizers = build(), []

    def train_epoch(self, epoch: int) -> dict[str, float]:
        return {"loss": 0.0}

    def validate(self) -> dict[str, float]:
        assert self.worker.rank == 0
        return {"score": [0.1, 0.3, 0.2, 0.1, 0.9][self.next_epoch - 1]}


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2
    )
    found = []
    wire = Wire()
    for scene in SCENES:
        model = build()
        if scene[rank]:
            backward(model, scene[rank])
        wire.sent.update(all_gather=0, all_reduce=0)
        sum_gradients(model)
        found.append(gradients(model))
        found[-1]["sent"] = dict(wire.sent)
        found[-1]["is_sparse"] = model["table"].weight.grad.is_sparse
        found[-1]["rows"] = model["table"].weight.grad._nnz()
    best: list[bool] = []
    Scripted().fit(lambda report: best.append(report.best))
    found.append({"best": best})
    torch.save(found, folder / f"found{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
