"""Adding up gradients over data-parallel workers."""

from __future__ import annotations

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


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _sum_rows(table: nn.Parameter) -> Tensor:
    """The touched rows of every worker as one sparse gradient."""
    if table.grad is None:
        rows = torch.zeros(0, dtype=torch.int64)
        values = table.new_zeros((0, table.shape[1]))
    else:
        local = table.grad.coalesce()
        rows, values = local.indices()[0], local.values()
    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)]))
    # Gathering needs equal shapes: pad to the longest, cut afterwards.
    longest = max(int(n) for n in counts)
    padded_rows = torch.zeros(longest, dtype=torch.int64)
    padded_rows[: len(rows)] = rows
    padded_values = values.new_zeros((longest, values.shape[1]))
    padded_values[: len(values)] = values
    all_rows = [torch.empty_like(padded_rows) for _ in counts]
    all_values = [torch.empty_like(padded_values) for _ in counts]
    dist.all_gather(all_rows, padded_rows)
    dist.all_gather(all_values, padded_values)
    return torch.sparse_coo_tensor(
        torch.cat([part[: int(n)] for part, n in zip(all_rows, counts, strict=True)])[None],
        torch.cat([part[: int(n)] for part, n in zip(all_values, counts, strict=True)]),
        table.shape,
        check_invariants=False,
    ).coalesce()
