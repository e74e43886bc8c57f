from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import HeteroData
from torch_geometric.sampler import NodeSamplerInput

from spotify_engine.learning.draws import NodeDraws
from spotify_engine.learning.incoming_edges import IncomingEdges, _distinct
from spotify_engine.learning.sampler import (
    NeighbourSampler,
    neighbours_of,
)

LIKES, LIKED_BY, NEAR = ("u", "likes", "v"), ("v", "rev_likes", "u"), ("v", "near", "v")
SIZES = {"u": 6, "v": 9}


@st.composite
def graphs(draw):
    """Edges of three relations over two node types; none twice."""

    def pairs(source, destination):
        chosen = draw(
            st.lists(
                st.tuples(
                    st.integers(0, SIZES[source] - 1), st.integers(0, SIZES[destination] - 1)
                ),
                unique=True,
                max_size=40,
            )
        )
        return torch.tensor(chosen, dtype=torch.int64).reshape(-1, 2).T.contiguous()

    data = HeteroData()
    for kind, n in SIZES.items():
        data[kind].num_nodes = n
    for relation in (LIKES, LIKED_BY, NEAR):
        data[relation].edge_index = pairs(relation[0], relation[2])
    return data


@st.composite
def questions(draw):
    ids = draw(st.permutations(range(SIZES["v"])))
    n_roots = draw(st.integers(0, 4))
    n_late = draw(st.integers(0, 3))
    fanouts = tuple(draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3]), min_size=1, max_size=3)))
    roots, late = np.array(ids[:n_roots], dtype=np.int64), ids[n_roots : n_roots + n_late]
    return roots, np.array(late, dtype=np.int64), fanouts


def hops(out):
    """Hop of each sampled node, by type."""
    return {
        kind: np.repeat(np.arange(len(counts)), counts)
        for kind, counts in out.num_sampled_nodes.items()
    }


@settings(max_examples=150)
@given(graphs(), questions(), st.integers(0, 99))
def test_sample_against_brute_force(data, question, seed):
    roots, late, fanouts = question
    sampler = NeighbourSampler.from_data(data, fanouts, seed)
    out = sampler.sample("v", roots, late)
    hop = hops(out)

    nodes = {kind: ids.tolist() for kind, ids in out.node.items()}
    for ids in nodes.values():
        assert len(ids) == len(set(ids)), "a node stands in the sample once"
    assert nodes["v"][: len(roots)] == roots.tolist()
    reached = {kind: [set() for _ in range(len(fanouts) + 1)] for kind in nodes}
    for relation in (LIKES, LIKED_BY, NEAR):
        source_kind, _, kind = relation
        whole = data[relation].edge_index
        row, col, edge = (part[relation].tolist() for part in (out.row, out.col, out.edge))
        assert col == sorted(col), "edges are sorted by destination"
        assert len(edge) == len(set(edge)), "no edge is drawn twice"
        for source, destination, id_ in zip(row, col, edge, strict=True):
            ends = [nodes[source_kind][source], nodes[kind][destination]]
            assert ends == whole[:, id_].tolist(), "ids are columns of edge_index"
            reached[source_kind][hop[kind][destination] + 1].add(ends[0])
        drawn = Counter(col)
        for local, node in enumerate(nodes[kind]):
            degree = int((whole[1] == node).sum())
            at = hop[kind][local]
            # Nodes of the last hop are not expanded.
            fanout = fanouts[at] if at < len(fanouts) else 0
            assert drawn[local] == (degree if fanout < 0 else min(degree, fanout))
    for kind, ids in nodes.items():
        for local, node in enumerate(ids):
            at = hop[kind][local]
            if at == 0:
                assert node in roots
            else:
                found = reached[kind][at] | (
                    set(late.tolist()) if kind == "v" and at == 1 else set()
                )
                assert node in found, "a node of hop h has an edge to a node of hop h - 1"
    assert set(roots.tolist()) | set(late.tolist()) <= set(nodes["v"])
    for id_ in late.tolist():
        assert hop["v"][nodes["v"].index(id_)] == 1, "late nodes are expanded one hop less"
    assert all((local == -1).all() for local in sampler._local.values())


@settings(max_examples=50)
@given(graphs(), questions(), st.integers(0, 99))
def test_same_seed_same_sample_and_calls_leave_no_trace(data, question, seed):
    roots, late, fanouts = question

    def parts(sampler):
        out = sampler.sample("v", roots, late)
        return [
            (key, value.tolist())
            for field in (out.node, out.row, out.col, out.edge)
            for key, value in field.items()
        ]

    once = parts(NeighbourSampler.from_data(data, fanouts, seed))
    used = NeighbourSampler.from_data(data, fanouts, 1)
    used.sample("u", np.arange(3))
    used.seed, used.calls = seed, 0
    assert parts(used) == once


@settings(max_examples=50)
@given(graphs(), questions(), st.integers(0, 99))
def test_a_node_draws_the_same_neighbours_whatever_else_is_asked_for(data, question, key):
    roots, late, fanouts = question
    sampler = NeighbourSampler.from_data(data, fanouts)

    def drawn(nodes):
        """Edges of each root by relation; the roots are the first nodes of a sample."""
        out = sampler.sample("v", nodes, draws=NodeDraws(key))
        return {
            (relation, node): out.edge[relation][out.col[relation] == row].tolist()
            for relation in (LIKES, NEAR)
            for row, node in enumerate(nodes.tolist())
        }

    together = drawn(np.concatenate([roots, late]))
    assert drawn(roots[::-1]) | drawn(late) == together


def test_calls_without_a_key_draw_other_neighbours(chain):
    chain[NEAR].edge_index = torch.stack([torch.arange(1, 9), torch.zeros(8, dtype=torch.int64)])
    sampler = NeighbourSampler.from_data(chain, (2,))
    assert len({tuple(sampler.sample("v", np.array([0])).node["v"].tolist()) for _ in "12345"}) > 1


@settings(max_examples=50)
@given(graphs(), questions())
def test_all_neighbours_is_the_breadth_first_neighbourhood(data, question):
    roots, _, fanouts = question
    out = NeighbourSampler.from_data(data, (-1,) * len(fanouts)).sample("v", roots)
    known = {"u": set(), "v": set(roots.tolist())}
    frontier = {kind: set(ids) for kind, ids in known.items()}
    for _ in fanouts:
        found = {"u": set(), "v": set()}
        for relation in (LIKES, LIKED_BY, NEAR):
            for source, destination in data[relation].edge_index.T.tolist():
                if destination in frontier[relation[2]]:
                    found[relation[0]].add(source)
        frontier = {kind: found[kind] - known[kind] for kind in known}
        known = {kind: known[kind] | found[kind] for kind in known}
    assert {kind: set(ids.tolist()) for kind, ids in out.node.items()} == known


@settings(max_examples=50)
@given(graphs(), questions(), st.integers(0, 99))
def test_neighbours_of_leaves_dropped_edges_out(data, question, seed):
    roots, late, fanouts = question
    out = NeighbourSampler.from_data(data, fanouts, seed).sample("v", roots, late)
    rng = np.random.default_rng(seed)
    for relation in (LIKES, LIKED_BY, NEAR):
        drop = rng.random(data[relation].edge_index.shape[1]) < 0.4
        for mask in (None, drop):
            neighbours = neighbours_of(out, relation, mask)
            row, col, edge = (part[relation].numpy() for part in (out.row, out.col, out.edge))
            kept = np.ones(len(edge), dtype=bool) if mask is None else ~mask[edge]
            assert neighbours.source.tolist() == row[kept].tolist()
            assert neighbours.destination.tolist() == col[kept].tolist()
            assert len(neighbours.indptr) == len(out.node[relation[2]]) + 1


def test_floyd_draws_every_subset_equally_often():
    drawn = _distinct(np.full(30_000, 6), 3, NodeDraws(0), np.arange(30_000), 0)
    counts = Counter(map(frozenset, drawn.tolist()))
    assert set(counts) == {frozenset(c) for c in combinations(range(6), 3)}
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_neighbours_are_drawn_uniformly_whatever_the_degrees():
    degrees = [7, 2, 11]
    edge_index = torch.tensor(
        [
            [s for n in degrees for s in range(n)],
            [d for d, n in enumerate(degrees) for _ in range(n)],
        ]
    )
    incoming = IncomingEdges.from_edge_index(edge_index, 3)
    seen = np.zeros(edge_index.shape[1])
    for call in range(4000):
        counts, positions = incoming.sample(np.array([2, 0, 1]), 4, NodeDraws(0, call))
        assert counts.tolist() == [4, 4, 2]
        seen[incoming.edge_id[positions]] += 1
    assert (seen[7:9] == 4000).all()
    for part in (seen[:7], seen[9:]):
        assert chisquare(part).pvalue > 0.01


def test_edge_ids_are_columns_of_edge_index():
    edge_index = torch.tensor([[4, 1, 3, 0], [2, 0, 2, 1]])
    incoming = IncomingEdges.from_edge_index(edge_index, 4)
    assert incoming.indptr.tolist() == [0, 1, 2, 4, 4]
    assert incoming.source.tolist() == [1, 0, 4, 3]
    assert incoming.edge_id.tolist() == [1, 3, 0, 2]


@pytest.fixture
def chain():
    """v0 <- v1 <- v2 <- ... <- v8."""
    data = HeteroData()
    data["v"].num_nodes = 9
    data[NEAR].edge_index = torch.stack([torch.arange(1, 9), torch.arange(8)])
    return data


def test_late_roots_reach_one_hop_less(chain):
    out = NeighbourSampler.from_data(chain, (-1, -1)).sample("v", np.array([0]), np.array([5]))
    assert out.node["v"].tolist() == [0, 1, 5, 2, 6]
    assert out.num_sampled_nodes["v"] == [1, 2, 2]


def test_relations_can_be_left_out(chain):
    chain[("v", "far", "v")].edge_index = torch.tensor([[8], [0]])
    out = NeighbourSampler.from_data(chain, (-1,), relations=[NEAR]).sample("v", np.array([0]))
    assert out.node["v"].tolist() == [0, 1]
    assert set(out.row) == {NEAR}


def test_pyg_interface(chain):
    sampler = NeighbourSampler.from_data(chain, (-1,))
    asked = NodeSamplerInput(input_id=None, node=torch.tensor([3]), input_type="v")
    assert sampler.sample_from_nodes(asked).node["v"].tolist() == [3, 4]
    assert sampler.edge_permutation is None
    with pytest.raises(TypeError, match="expands nodes"):
        sampler.sample_from_edges()
