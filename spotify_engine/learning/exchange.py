"""Adding up gradients over data-parallel workers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


def sum_gradients(model: nn.Module) -> None:
    """Replace every gradient by its sum over all workers; does nothing with one worker.

    Dense gradients travel as one flat vector. Sparse ones (embeddings) travel as the rows that were
    touched, never as the whole table. A worker that had nothing to do takes part with zeros.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    sparse_tables = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.sparse
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    dense = [p for p in parameters if id(p) not in sparse_tables]
    flat = torch.cat([_gradient(p).reshape(-1) for p in dense])
    dist.all_reduce(flat)
    for parameter, piece in zip(dense, flat.split([p.numel() for p in dense]), strict=True):
        parameter.grad = piece.view_as(parameter)
    for parameter in parameters:
        if id(parameter) in sparse_tables:
            parameter.grad = _sum_rows(parameter)


def sum_over_workers(value: float) -> float:
    """The sum of what every worker brings; the value itself with one worker."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total)


def gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """All workers' rows, ``[sum(counts), width]``, in the order of ranks.

    A gradient flows back to where a row came from, summed over the workers that used it; every
    worker must take part in both directions.

    Args:
        counts: rows of each worker.
    """
    if len(counts) == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows, counts)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return torch.cat(_gathered(rows, counts))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.split(ctx.counts)[dist.get_rank()], None


def _gathered(rows: Tensor, counts: list[int]) -> list[Tensor]:
    """Every worker's rows. Gathering needs equal shapes: pad to the longest, cut afterwards."""
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return [part[:n] for part, n in zip(parts, counts, strict=True)]


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _sum_rows(table: nn.Parameter) -> Tensor:
    """The touched rows of every worker as one sparse gradient."""
    if table.grad is None:
        rows = torch.zeros(0, dtype=torch.int64, device=table.device)
        values = table.new_zeros((0, table.shape[1]))
    else:
        local = table.grad.coalesce()
        rows, values = local.indices()[0], local.values()
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)]))
    counts = [int(n) for n in sizes]
    return torch.sparse_coo_tensor(
        torch.cat(_gathered(rows, counts))[None],
        torch.cat(_gathered(values, counts)),
        table.shape,
        check_invariants=False,
    ).coalesce()
