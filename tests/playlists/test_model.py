import pytest
import torch
from pydantic import ValidationError
from torch_geometric.nn import GATConv, HeteroConv

from spotify_engine.learning.attention import Neighbours
from spotify_engine.learning.parameters import parameter_counts
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.layer import HeteroGATLayer
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.schema import (
    ARTIST,
    BY,
    CONTAINS,
    EDGE_TYPES,
    GENRE,
    IN,
    MADE,
    PERFORMED_BY,
    PERFORMS,
    PLAYLIST,
    TRACK,
)

SHAPE = GraphShape(
    {PLAYLIST: 7, TRACK: 11, ARTIST: 5, GENRE: 3},
    {PLAYLIST: 8, TRACK: 8, ARTIST: 1, GENRE: 0},
    EDGE_TYPES,
)


def pyg_twin(gat, in_source, in_destination):
    """A GATConv with the same weights; one row of ``W_dst`` a head carries our vector q."""
    conv = GATConv(
        (in_source, in_destination),
        gat.channels,
        heads=gat.heads,
        add_self_loops=False,
        bias=False,
    )
    with torch.no_grad():
        conv.lin_src.weight.copy_(gat.value.weight)
        conv.att_src[0].copy_(gat.key)
        conv.att_dst.zero_()
        conv.att_dst[0, :, 0] = 1
        conv.lin_dst.weight.view(gat.heads, gat.channels, in_destination)[:, 0] = gat.query.weight
    return conv


@pytest.mark.filterwarnings("ignore:There exist node types")  # artists are sources alone
@pytest.mark.parametrize("last", [True, False])
def test_layer_equals_pyg_hetero_conv_plus_own_linear(last):
    """A hand graph: three playlists, four tracks, two artists."""
    torch.manual_seed(0)
    widths = {PLAYLIST: 3, TRACK: 5, ARTIST: 2}
    layer = HeteroGATLayer(widths, 8, 2, [CONTAINS, IN, MADE], 0.0, 0.0, last)
    x = {kind: torch.randn(n, widths[kind]) for kind, n in ((PLAYLIST, 3), (TRACK, 4), (ARTIST, 2))}
    edges = {
        # Sorted by destination. Track 3 is in no playlist; tracks 1 and 3 have no artist.
        CONTAINS: torch.tensor([[0, 1, 1, 2], [0, 0, 1, 2]]),
        IN: torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2]]),
        MADE: torch.tensor([[0, 1, 1], [0, 0, 2]]),
    }
    theirs = HeteroConv(
        {
            kind: pyg_twin(layer.gat(kind), widths[kind[0]], widths[kind[2]])
            for kind in layer.relations
        },
        aggr="sum",
    )
    expected = theirs(x, edges)
    projected = layer.project(x)
    for kind in (TRACK, PLAYLIST):
        rows = {}
        for relation, edge_index in edges.items():
            if relation[2] == kind:
                counts = torch.bincount(edge_index[1], minlength=len(x[kind]))
                indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
                rows[relation] = Neighbours(indptr, edge_index[0])
        out, attention = layer.update(kind, x[kind], projected, rows)
        total = expected[kind]
        if not (last and kind == PLAYLIST):
            total = total + layer.own[kind](x[kind])
        if not last:
            total = torch.nn.functional.elu(layer.norm[kind](total))
        torch.testing.assert_close(out, total)
        assert set(attention) == set(rows), "attention is captured by edge type"
        for relation, weights in attention.items():
            assert weights.shape == (edges[relation].shape[1], 2)


def test_relations_that_cannot_reach_a_score_are_not_built():
    three = PlaylistGATConfig(layers=(128, 64, 32), heads=(4, 4, 4))
    model = PlaylistGAT(SHAPE, three)
    built = [set(model.layer(depth).relations) for depth in range(3)]
    assert built[2] == {CONTAINS, IN, MADE}
    assert built[1] == {CONTAINS, IN, MADE, BY, PERFORMED_BY}
    assert built[0] == built[1] | {PERFORMS}


def test_every_parameter_gets_a_gradient(world):
    """Nothing is built that the score does not use; needed for data-parallel training."""
    data, _ = world.graph()
    model = PlaylistGAT(GraphShape.of(data), PlaylistGATConfig(layers=(8, 8, 4), heads=(2, 2, 2)))
    states = {
        kind: model.inputs(kind, data[kind].x, torch.arange(data[kind].num_nodes))
        for kind in data.node_types
    }
    neighbours = {}
    for kind in data.edge_types:
        order = data[kind].edge_index[1].argsort(stable=True)
        counts = torch.bincount(data[kind].edge_index[1], minlength=data[kind[2]].num_nodes)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        neighbours[kind] = Neighbours(indptr, data[kind].edge_index[0][order])
    reach = [
        {kind: data[kind].num_nodes for kind in (*model.layer(depth).own, PLAYLIST)}
        for depth in range(3)
    ]
    ranked = data[TRACK].num_nodes
    p, t, attention = model(states, neighbours, reach, states[PLAYLIST], neighbours[IN], ranked)
    (p @ t.T).square().sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == ["bias.weight"], "added to the scores outside"
    assert [set(layer) for layer in attention] == [
        set(model.layer(0).relations),
        set(model.layer(1).relations),
        set(model.layer(2).relations) - {IN},
    ]


def gat_size(source, destination, out, heads):
    return source * out + out + destination * heads


def test_parameter_counts_by_formula():
    config = PlaylistGATConfig(
        embedding_dim=4, layers=(12, 8), heads=(3, 2), skip=False, playlist_embedding=True
    )
    first = {PLAYLIST: 12, TRACK: 12, ARTIST: 5, GENRE: 4}
    # Two layers: genres reach artists in the first, artists reach tracks in the second.
    attention = sum(
        gat_size(first[kind[0]], first[kind[2]], 12, 3)
        for kind in (CONTAINS, IN, MADE, BY, PERFORMED_BY)
    ) + 3 * gat_size(12, 12, 8, 2)
    own = sum((first[kind] + 1) * 12 for kind in (PLAYLIST, TRACK, ARTIST)) + (12 + 1) * 8
    norms = 3 * 2 * 12
    embedding = (7 + 11 + 5 + 3) * 4
    counts = parameter_counts(PlaylistGAT(SHAPE, config))
    assert counts["embedding"] == embedding
    assert counts["attention"] == attention
    assert counts["total"] == attention + own + norms + embedding + 11 + 1


def test_no_playlist_embedding_by_default():
    three = {"layers": (128, 64, 32), "heads": (4, 4, 4)}
    model = PlaylistGAT(SHAPE, PlaylistGATConfig(**three))
    assert set(model.embedding) == {TRACK, ARTIST, GENRE}
    with_own = PlaylistGAT(SHAPE, PlaylistGATConfig(**three, playlist_embedding=True))
    assert set(with_own.embedding) == {PLAYLIST, TRACK, ARTIST, GENRE}


def test_unseen_playlist_has_a_zero_embedding():
    model = PlaylistGAT(SHAPE, PlaylistGATConfig(embedding_dim=4, playlist_embedding=True))
    model.eval()
    features = torch.randn(2, 8)
    unseen = model.inputs(PLAYLIST, features, None)
    assert torch.equal(unseen, torch.cat([torch.zeros(2, 4), features], dim=1))
    seen = model.inputs(PLAYLIST, features, torch.tensor([3, 0]))
    assert torch.equal(seen[:, :4], model.embedding[PLAYLIST].weight[[3, 0]])


def test_same_seed_same_weights():
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(PlaylistGAT(SHAPE, PlaylistGATConfig()).state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": (4, 4)}, "2 heads given for 1 layers"),
        (
            {"layers": (128, 64, 30), "heads": (4, 4, 4)},
            "a layer of 30 does not divide into 4 heads",
        ),
        ({"heads": (0,)}, "does not divide into 0 heads"),
        ({"dropout": 1.0}, "less than 1"),
        ({"width": 3}, "Extra inputs"),
    ],
)
def test_configuration_is_checked(settings, message):
    with pytest.raises(ValidationError, match=message):
        PlaylistGATConfig(**settings)
