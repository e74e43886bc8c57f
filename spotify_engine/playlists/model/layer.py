"""One layer of PlaylistGAT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from spotify_engine.learning.attention import BipartiteGAT, Neighbours, Projected
from spotify_engine.playlists.schema import PLAYLIST, TRACK, EdgeType


class HeteroGATLayer(nn.Module):
    """One layer: every relation attends, a node's own state is added, then norm and ELU.

    The last layer stops at the sum: without norm or non-linearity, a seed track's share of a score
    is its attention weight times its value's dot product with the candidate, exactly. There a
    playlist has no state of its own to add either.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        out: int,
        heads: int,
        relations: Iterable[EdgeType],
        dropout: float,
        attention_dropout: float,
        last: bool,
    ) -> None:
        super().__init__()
        self.relations = tuple(relations)
        self.last = last
        self.dropout = dropout
        self.attend = nn.ModuleDict(
            {
                "__".join(kind): BipartiteGAT(
                    widths[kind[0]], widths[kind[2]], out, heads, attention_dropout
                )
                for kind in self.relations
            }
        )
        reached = dict.fromkeys([TRACK, *(kind[2] for kind in self.relations)])
        self.own = nn.ModuleDict(
            {
                kind: nn.Linear(widths[kind], out)
                for kind in reached
                if not (last and kind == PLAYLIST)
            }
        )
        self.norm = nn.ModuleDict({} if last else {kind: nn.LayerNorm(out) for kind in reached})

    def gat(self, kind: EdgeType) -> BipartiteGAT:
        """The attention along one kind of edge."""
        module = self.attend["__".join(kind)]
        assert isinstance(module, BipartiteGAT)
        return module

    def project(
        self, states: Mapping[str, Tensor], relations: Iterable[EdgeType] | None = None
    ) -> dict[EdgeType, Projected]:
        """Sources of relations (None: of every one) as attention sees them."""
        chosen = self.relations if relations is None else relations
        return {kind: self.gat(kind).project(states[kind[0]]) for kind in chosen}

    def update(
        self,
        kind: str,
        state: Tensor,
        projected: Mapping[EdgeType, Projected],
        neighbours: Mapping[EdgeType, Neighbours],
    ) -> tuple[Tensor, dict[EdgeType, Tensor]]:
        """New states of some nodes of one type, from their old ones and their neighbours.

        Args:
            state: ``[n, width]`` old states.
            projected: of every source of the relations that lead here.
            neighbours: their edges, over the same ``n`` nodes; a missing relation adds nothing.

        Returns:
            (new states ``[n, out]``, attention ``[edges, heads]`` by relation)
        """
        attention: dict[EdgeType, Tensor] = {}
        total = self.own[kind](state) if kind in self.own else None
        for relation, edges in neighbours.items():
            out, attention[relation] = self.gat(relation)(projected[relation], state, edges)
            total = out if total is None else total + out
        assert total is not None
        if kind in self.norm:
            total = F.dropout(F.elu(self.norm[kind](total)), self.dropout, self.training)
        return total, attention
