import numpy as np
import pytest
import torch
from torch_geometric.nn import GATConv
from torch_geometric.utils import softmax

from spotify_engine.learning.attention import BipartiteGAT, Neighbours, segment_softmax

HEADS, CHANNELS, IN_SOURCE, IN_DESTINATION = 3, 4, 5, 6


def random_graph(seed=0, sources=20, destinations=15, edges=60):
    """edge_index sorted by destination, and the same as compressed rows; some have no edges."""
    rng = np.random.default_rng(seed)
    pairs = np.unique(
        np.stack([rng.integers(0, destinations - 2, edges), rng.integers(0, sources, edges)]),
        axis=1,
    )
    destination, source = torch.from_numpy(pairs)
    indptr = torch.zeros(destinations + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(destination, minlength=destinations), 0, out=indptr[1:])
    return torch.stack([source, destination]), Neighbours(indptr, source)


def inputs(seed=0, sources=20, destinations=15):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(sources, IN_SOURCE, generator=generator, requires_grad=True),
        torch.randn(destinations, IN_DESTINATION, generator=generator, requires_grad=True),
    )


def gat_and_pyg():
    """Ours, and PyG's layer with the same weights: its ``a_dst^T W_dst`` is our one vector q."""
    torch.manual_seed(0)
    ours = BipartiteGAT(IN_SOURCE, IN_DESTINATION, HEADS * CHANNELS, HEADS)
    theirs = GATConv(
        (IN_SOURCE, IN_DESTINATION), CHANNELS, heads=HEADS, add_self_loops=False, bias=False
    )
    with torch.no_grad():
        ours.value.weight.copy_(theirs.lin_src.weight)
        ours.key.copy_(theirs.att_src[0])
        by_head = theirs.lin_dst.weight.view(HEADS, CHANNELS, IN_DESTINATION)
        ours.query.weight.copy_((theirs.att_dst[0][:, :, None] * by_head).sum(1))
    return ours, theirs


def test_equals_pyg_forward_and_backward():
    ours, theirs = gat_and_pyg()
    edge_index, neighbours = random_graph()
    sources, destinations = inputs()
    out, attention = ours(ours.project(sources), destinations, neighbours)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * upstream).sum().backward()
    ours_gradients = [sources.grad, destinations.grad]

    same_sources, same_destinations = inputs()
    expected, (returned, weights) = theirs(
        (same_sources, same_destinations), edge_index, return_attention_weights=True
    )
    (expected * upstream).sum().backward()
    torch.testing.assert_close(out, expected)
    assert torch.equal(returned, edge_index)
    torch.testing.assert_close(attention, weights)
    for found, wanted in zip(
        ours_gradients, (same_sources.grad, same_destinations.grad), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(ours.value.weight.grad, theirs.lin_src.weight.grad)
    torch.testing.assert_close(ours.key.grad, theirs.att_src.grad[0])
    # q = sum_c a_c W_c, so the chain rule gives theirs from ours.
    by_head = theirs.lin_dst.weight.view(HEADS, CHANNELS, IN_DESTINATION)
    query = ours.query.weight.grad
    torch.testing.assert_close((query[:, None] * by_head).sum(2), theirs.att_dst.grad[0])
    torch.testing.assert_close(
        (theirs.att_dst[0][:, :, None] * query[:, None]).reshape(-1, IN_DESTINATION),
        theirs.lin_dst.weight.grad,
    )


def test_attention_is_the_softmax_by_hand():
    gat, _ = gat_and_pyg()
    _, neighbours = random_graph()
    sources, destinations = inputs()
    out, attention = gat(gat.project(sources), destinations, neighbours)
    for i in range(len(destinations)):
        mine = slice(int(neighbours.indptr[i]), int(neighbours.indptr[i + 1]))
        near = neighbours.source[mine]
        values = (sources[near] @ gat.value.weight.T).view(-1, HEADS, CHANNELS)
        logits = (values * gat.key).sum(2) + gat.query.weight @ destinations[i]
        weights = torch.where(logits > 0, logits, 0.2 * logits).softmax(0)
        torch.testing.assert_close(attention[mine], weights)
        torch.testing.assert_close(out[i], (weights[:, :, None] * values).sum(0).flatten())


def test_attention_sums_to_one_per_destination_and_head():
    gat, _ = gat_and_pyg()
    _, neighbours = random_graph()
    sources, destinations = inputs()
    _, attention = gat(gat.project(sources), destinations, neighbours)
    total = torch.zeros(15, HEADS).index_add(0, neighbours.destination, attention)
    has_neighbours = neighbours.indptr.diff() > 0
    torch.testing.assert_close(total, has_neighbours[:, None].float().expand(-1, HEADS))


def test_without_neighbours_zeros():
    gat, _ = gat_and_pyg()
    _, neighbours = random_graph()
    sources, destinations = inputs()
    out, _ = gat(gat.project(sources), destinations, neighbours)
    alone = neighbours.indptr.diff() == 0
    assert alone[-2:].all(), "the last destination has none, too"
    assert (out[alone] == 0).all()
    nothing = Neighbours(torch.zeros(16, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    out, attention = gat(gat.project(sources), destinations, nothing)
    assert torch.equal(out, torch.zeros(15, HEADS * CHANNELS))
    assert attention.shape == (0, HEADS)
    out, _ = gat(gat.project(sources[:0]), destinations, nothing)
    assert torch.equal(out, torch.zeros(15, HEADS * CHANNELS))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_softmax_is_that_of_pyg(kind):
    torch.manual_seed(3)
    _, neighbours = random_graph()
    one = torch.randn(len(neighbours.source), 3, dtype=kind).mul(9).requires_grad_()
    other = one.detach().clone().requires_grad_()
    ours, theirs = segment_softmax(one, neighbours), softmax(other, ptr=neighbours.indptr)
    assert torch.equal(ours, theirs)
    gradient = torch.randn_like(ours)
    ours.backward(gradient)
    theirs.backward(gradient)
    assert torch.equal(one.grad, other.grad)


def test_softmax_survives_huge_logits():
    neighbours = Neighbours(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 0]))
    logits = torch.tensor([[1e4], [1e4 - 1], [-1e4]], requires_grad=True)
    weights = segment_softmax(logits, neighbours)
    expected = torch.tensor([1.0, 0.0]).softmax(0)
    torch.testing.assert_close(weights[:, 0], torch.tensor([*expected, 1.0]))
    weights[0, 0].backward()
    assert logits.grad.isfinite().all()


def test_dropout_changes_messages_in_training_only_and_not_the_attention_returned():
    torch.manual_seed(0)
    gat = BipartiteGAT(IN_SOURCE, IN_DESTINATION, 8, 2, dropout=0.5)
    _, neighbours = random_graph()
    sources, destinations = inputs()
    trained, attention = gat(gat.project(sources), destinations, neighbours)
    gat.eval()
    expected, same = gat(gat.project(sources), destinations, neighbours)
    assert not torch.allclose(trained, expected)
    torch.testing.assert_close(attention, same)


def test_width_must_divide_into_heads():
    with pytest.raises(ValueError, match="10 output dimensions do not divide into 4 heads"):
        BipartiteGAT(3, 3, 10, 4)
