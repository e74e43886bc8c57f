"""Counting the parameters that a model learns."""

from __future__ import annotations

from torch import nn


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters in all, in embeddings, and in attention layers."""
    total = sum(p.numel() for p in model.parameters())
    embedding = sum(
        p.numel() for name, p in model.named_parameters() if name.startswith("embedding.")
    )
    attention = sum(p.numel() for name, p in model.named_parameters() if ".attend." in name)
    return {"total": total, "embedding": embedding, "attention": attention}
