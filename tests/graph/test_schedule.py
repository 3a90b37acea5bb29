"""The schedule: hand-made loops, and what holds for every graph (checked with networkx)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Collection, Iterable

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nirtorch_cli.graph.loops import components, neighbours
from nirtorch_cli.graph.schedule import Edge, Schedule, schedule


def edges_of(text: str) -> list[Edge]:
    """`"a b c, c a"`: the edges along each chain."""
    chains = [chain.split() for chain in text.split(",")]
    return [edge for chain in chains for edge in itertools.pairwise(chain)]


def scheduled(text: str, **options: Collection[str]) -> Schedule:
    edges = edges_of(text)
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    return schedule(names, edges, sources=[n for n in names if n.startswith("in")], **options)


@pytest.mark.parametrize(
    ("text", "neurons", "delayed"),
    [
        pytest.param("in lif out", "lif", "", id="chain"),
        pytest.param("in lif out, lif w lif", "lif", "lif w", id="the spikes arrive late"),
        pytest.param("in lif out, lif a b lif", "lif", "lif a", id="over two nodes"),
        pytest.param("in l1 l2 out, l2 l1", "l1 l2", "l2 l1", id="two neurons"),
        pytest.param("in l1 l2 out, l2 w l1", "l1 l2", "l2 w", id="two neurons and weights"),
        pytest.param("in z b a out, a z", "z b a", "a z", id="names do not count"),
        pytest.param("in w lif out, lif w", "lif", "lif w", id="entry at the weights"),
        pytest.param("in w lif v w, lif out", "lif", "lif v", id="entry in the middle"),
        pytest.param("in lif lif out", "lif", "lif lif", id="self-loop"),
        pytest.param("in w w out", "", "w w", id="self-loop without a neuron"),
        pytest.param("in a b a, b out", "", "b a", id="no neuron: on the edge"),
        pytest.param("in lif w lif, w out", "lif", "w lif", id="w feeds another: on the edge"),
        pytest.param("in lif w v lif, w out", "lif", "v lif", id="first of two feeds another"),
        pytest.param("in lif w lif, in w, lif out", "lif", "lif w", id="w hears the outside too"),
        pytest.param("in l1 l2 w l1, l1 w, l2 out", "l1 l2", "l1 w, l2 w", id="w fed by two"),
        pytest.param("in lif a w lif, a out, w lif", "lif", "w lif", id="fed by no neuron"),
        pytest.param(
            "in l1 l2 l3 w l1, w l2, l3 out",
            "l1 l2 l3",
            "l3 w",
            id="two edges back out of a region",
        ),
        pytest.param(
            "in l1 l2 l3 w l1, w v l2, l3 out", "l1 l2 l3", "l3 w", id="a region of two nodes"
        ),
        pytest.param("in a b c b, c a, c out", "a b c", "c a, c b", id="nested loops"),
        pytest.param("in a b a, b c b, c out", "a b c", "b a, c b", id="loops that share a node"),
        pytest.param("in a b a, in c d c, b out, d out", "a b c d", "b a, d c", id="side by side"),
        pytest.param("in lif out, x lif, x y x", "lif x y", "y x", id="a loop without a way in"),
    ],
)
def test_which_edges_are_delayed(text: str, neurons: str, delayed: str) -> None:
    found = scheduled(text, neurons=neurons.split())
    assert set(found.delayed) == set(edges_of(delayed))
    assert found.shortened == frozenset()


@pytest.mark.parametrize(
    ("text", "delayed"),
    [
        pytest.param("in lif delay lif, lif out", "lif delay", id="no extra step"),
        pytest.param("in lif w delay lif, lif out", "w delay", id="behind weights"),
        pytest.param("in delay lif delay, lif out", "in delay, lif delay", id="all ways in"),
        pytest.param("in delay lif out", "", id="a delay outside of loops is left alone"),
        pytest.param(
            "in lif delay lif, lif w lif, lif out", "lif delay, lif w", id="beside another way back"
        ),
        pytest.param(
            "in lif w lif, w delay lif, lif out", "w lif, w delay", id="w may not come late for it"
        ),
    ],
)
def test_a_delay_is_read_before_it_is_written(text: str, delayed: str) -> None:
    found = scheduled(text, neurons=["lif"], delays=["delay"])
    assert set(found.delayed) == set(edges_of(delayed))
    assert found.shortened == ({"delay"} if delayed else frozenset())
    assert found.ambiguous == ()


def test_a_delay_of_no_step_is_a_node_like_any_other() -> None:
    found = scheduled("in lif delay lif, lif out", neurons=["lif"], delays=[])
    assert found.delayed == (("lif", "delay"),)
    assert found.shortened == frozenset()


@pytest.mark.parametrize(
    ("text", "delays", "partial", "shortened"),
    [
        pytest.param("in lif p lif, lif out", "", "p", "p", id="needed"),
        pytest.param("in lif p w d lif, lif out", "d", "p", "d", id="another waits for it"),
        pytest.param(
            "in lif p w q lif, lif out", "", "p q", "q", id="the last before the way back"
        ),
        pytest.param("in lif p w lif, lif q lif, lif out", "", "p q", "p q", id="side by side"),
        pytest.param("in lif p lif, lif w lif, lif out", "", "p", "p", id="beside a way without"),
        pytest.param("in lif p out", "", "p", "", id="no loop"),
        pytest.param("in a p b a, b q b, b out", "", "p q", "p q", id="a loop in a loop"),
        pytest.param("in a b p a, a p, b out", "", "p", "p", id="two ways into it"),
    ],
)
def test_a_delay_of_some_elements_is_used_where_a_loop_has_no_other(
    text: str, delays: str, partial: str, shortened: str
) -> None:
    found = scheduled(
        text, neurons=["lif", "a", "b"], delays=delays.split(), partial_delays=partial.split()
    )
    assert found.shortened == set(shortened.split())
    at_delays = {edge for edge in edges_of(text) if edge[1] in found.shortened}
    assert at_delays <= set(found.delayed)


def test_what_comes_out_of_a_delay_is_no_way_into_its_loop() -> None:
    """`b` hears `a` from outside, and itself by the delay: the loop's head is `a`."""
    for first, second in (("a", "b"), ("b", "a")):
        text = f"in {first} {second} {first}, {second} delay {second}, {second} out"
        found = scheduled(text, neurons=["a", "b"], delays=["delay"])
        assert set(found.delayed) == {(second, first), (second, "delay")}
        assert found.ambiguous == ()


@pytest.mark.parametrize(
    ("text", "ports", "delayed"),
    [
        ("in lif port w lif, port out", "port", "port w"),
        ("in lif p q w lif, q out", "p q", "q w"),
        ("in entry lif exit w entry, exit out", "entry exit", "exit w"),
        ("in entry lif exit w entry, exit v entry, exit out", "entry exit", "exit w, exit v"),
        ("in a lif a, lif out", "", "lif a"),
        ("in lif port lif, in port, lif out", "port", "lif port"),
    ],
)
def test_a_delay_sits_behind_a_port_as_it_does_behind_its_neuron(
    text: str, ports: str, delayed: str
) -> None:
    found = scheduled(text, neurons=["lif"], ports=ports.split())
    assert set(found.delayed) == set(edges_of(delayed))


def test_the_weights_at_a_port_are_looked_at_one_by_one() -> None:
    """`v` hears the spikes alone, `w` also a node that is no neuron: only `v` passes it up."""
    text = "in lif out, lif q out, lif v port, q w port, port lif"
    with_port = scheduled(text, neurons=["lif"], ports=["port"])
    without = scheduled("in lif out, lif q out, lif v lif, q w lif", neurons=["lif"])
    assert set(without.delayed) == {("lif", "v"), ("w", "lif")}
    assert set(with_port.delayed) == {("lif", "v"), ("w", "port")}


@pytest.mark.parametrize(
    ("text", "ambiguous"),
    [
        ("in lif lif", []),
        ("in a b c a, b a", []),
        ("x x", []),
        ("in a b a, in b", [("a", "b")]),
        ("in lif w lif, in w", [("lif", "w")]),
        ("a b a", [("a",)]),
        ("in a b c b, a c, c a", [("b", "c")]),
    ],
)
def test_only_a_loop_with_several_entries_is_ambiguous(
    text: str, ambiguous: list[tuple[str, ...]]
) -> None:
    assert list(scheduled(text).ambiguous) == ambiguous


def test_edges_may_come_from_a_generator() -> None:
    edges = edges_of("in a b a")
    assert schedule(["in", "a", "b"], iter(edges), sources=["in"]) == scheduled("in a b a")


def test_nodes_alike_in_place_are_ordered_by_what_they_are() -> None:
    """The names say z, y, x; the rank says x, y, z; the distance from the source goes first."""
    edges = edges_of("in z out, in y out, in x out")
    sort_key = {"in": 0, "z": 3, "y": 2, "x": 1, "out": 0}
    found = schedule(
        ["out", "z", "y", "x", "in"], edges, sources=["in"], sort_key=sort_key.__getitem__
    )
    assert found.order == ("in", "x", "y", "z", "out")


# ------------------------------------------------------------------------- for every graph


@st.composite
def graphs(draw: st.DrawFn, size: int = 9) -> tuple[list[str], list[Edge]]:
    """Names and edges; "in" is never a target. Few edges a node, so that some are reducible."""
    inner = [f"n{number}" for number in range(draw(st.integers(1, size)))]
    edge = st.tuples(st.sampled_from(["in", *inner]), st.sampled_from(inner))
    edges = draw(st.lists(edge, unique=True, max_size=2 * len(inner) + 2))
    return ["in", *inner], edges


@st.composite
def kinds(draw: st.DrawFn) -> dict[str, list[str]]:
    """Which of the nodes are neurons, delays and ports."""
    chosen = draw(st.lists(st.sampled_from(["neurons", "delays", "ports", ""]), min_size=9))
    return {
        kind: [f"n{number}" for number, other in enumerate(chosen[:9]) if other == kind]
        for kind in ("neurons", "delays", "ports")
    }


def digraph(names: Iterable[str], edges: Iterable[Edge]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from(edges)
    return graph


def run(graph: tuple[list[str], list[Edge]], options: dict[str, list[str]]) -> Schedule:
    names, edges = graph
    known = {kind: [n for n in chosen if n in names] for kind, chosen in options.items()}
    return schedule(names, edges, sources=["in"], **known)


def loops_of(graph: nx.DiGraph) -> list[set[str]]:
    found = nx.strongly_connected_components(graph)
    return [loop for loop in found if len(loop) > 1 or graph.has_edge(*list(loop) * 2)]


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_components_are_those_of_networkx(graph: tuple[list[str], list[Edge]]) -> None:
    names, edges = graph
    found = [frozenset(c) for c in components(names, neighbours(names, edges))]
    assert sum(map(len, found)) == len(names)
    expected = map(frozenset, nx.strongly_connected_components(digraph(names, edges)))
    assert set(found) == set(expected)


@settings(max_examples=400, deadline=None)
@given(graphs(), kinds())
def test_every_edge_that_is_not_delayed_leads_forward(
    graph: tuple[list[str], list[Edge]], options: dict[str, list[str]]
) -> None:
    names, edges = graph
    found = run(graph, options)
    assert sorted(found.order) == sorted(names)
    place = {name: number for number, name in enumerate(found.order)}
    assert all(place[s] < place[t] for s, t in edges if (s, t) not in found.delayed)
    assert set(found.delayed) <= set(edges)
    assert len(set(found.delayed)) == len(found.delayed)
    kept = digraph(names, [edge for edge in edges if edge not in found.delayed])
    assert nx.is_directed_acyclic_graph(kept)
    if nx.is_directed_acyclic_graph(digraph(names, edges)):
        assert found.delayed == ()
        assert found.ambiguous == ()


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_without_neurons_no_delay_is_superfluous(graph: tuple[list[str], list[Edge]]) -> None:
    names, edges = graph
    delayed = schedule(names, edges, sources=["in"]).delayed
    for edge in delayed:
        kept = [other for other in edges if other == edge or other not in delayed]
        assert not nx.is_directed_acyclic_graph(digraph(names, kept))


@settings(max_examples=200, deadline=None)
@given(graphs(), kinds(), st.randoms(use_true_random=False))
def test_the_order_of_names_and_edges_does_not_count(
    graph: tuple[list[str], list[Edge]], options: dict[str, list[str]], random: object
) -> None:
    names, edges = graph
    shuffled_names, shuffled_edges = list(names), list(edges)
    random.shuffle(shuffled_names)  # type: ignore[attr-defined]
    random.shuffle(shuffled_edges)  # type: ignore[attr-defined]
    backwards = {kind: chosen[::-1] for kind, chosen in options.items()}
    assert run((shuffled_names, shuffled_edges), backwards) == run(graph, options)


@settings(max_examples=400, deadline=None)
@given(graphs(), kinds(), st.permutations(range(9)))
def test_names_do_not_decide_what_is_delayed(
    graph: tuple[list[str], list[Edge]], options: dict[str, list[str]], other: list[int]
) -> None:
    """Unless a loop is reported, other names give the same schedule under other names."""
    names, edges = graph
    renamed = {f"n{number}": f"n{place}" for number, place in enumerate(other)} | {"in": "in"}
    found = run(graph, options)
    after = schedule(
        [renamed[name] for name in names],
        [(renamed[s], renamed[t]) for s, t in edges],
        sources=["in"],
        **{kind: [renamed[n] for n in chosen if n in names] for kind, chosen in options.items()},
    )
    assert bool(after.ambiguous) == bool(found.ambiguous)
    assert {renamed[name] for name in found.shortened} == after.shortened
    if not found.ambiguous:
        assert {(renamed[s], renamed[t]) for s, t in found.delayed} == set(after.delayed)


def by_dominators(names: list[str], edges: list[Edge], delays: list[str]) -> set[Edge] | None:
    """The delayed edges by the definition, or None where a loop has several entries.

    An edge leads back when its target dominates its source; a loop has one entry when
    without its edges that lead back it is none.
    """
    whole = digraph(names, edges)
    around = {name: number for number, loop in enumerate(loops_of(whole)) for name in loop}
    held = {(s, t) for s, t in edges if t in delays and t in around}
    rest = digraph(names, [edge for edge in edges if edge not in held])
    delayed = set(held)
    for loop in loops_of(rest):
        number = around[next(iter(loop))]
        into = [(s, t) for s, t in rest.edges if t in loop and s not in loop]
        entries = {t for s, t in into if around.get(s) != number} or {t for _, t in into}
        if not entries and len(loop) == 1:
            entries = loop
        if len(entries) != 1:
            return None
        inside = nx.DiGraph(rest.subgraph(loop))
        (entry,) = entries
        above = nx.immediate_dominators(inside, entry)
        back = {(s, t) for s, t in inside.edges if t in dominators(above, s)}
        inside.remove_edges_from(back)
        if not nx.is_directed_acyclic_graph(inside):
            return None
        delayed |= back
    return delayed


def dominators(above: dict[str, str | None], name: str | None) -> set[str]:
    found: set[str] = set()
    while name is not None and name not in found:
        found.add(name)
        name = above.get(name)  # the root: itself, None or absent, by version
    return found


@settings(max_examples=600, deadline=None)
@given(graphs(), kinds())
def test_delayed_and_ambiguous_are_what_dominators_say(
    graph: tuple[list[str], list[Edge]], options: dict[str, list[str]]
) -> None:
    names, edges = graph
    delays = [name for name in options["delays"] if name in names]
    found = schedule(names, edges, sources=["in"], delays=delays)
    expected = by_dominators(names, edges, delays)
    assert bool(found.ambiguous) == (expected is None)
    if expected is not None:
        assert set(found.delayed) == expected


def test_the_generated_graphs_are_not_all_of_one_sort() -> None:
    """The properties above would hold emptily if no graph had a loop, or none a clear one."""
    seen: set[tuple[bool, bool]] = set()

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(graphs())
    def collect(graph: tuple[list[str], list[Edge]]) -> None:
        found = schedule(*graph, sources=["in"])
        seen.add((bool(found.delayed), bool(found.ambiguous)))

    collect()
    assert seen == {(False, False), (True, False), (True, True)}


RECURRENT = """
import nir, numpy as np
from nirtorch_cli import nir_to_torch
def lif(size): return nir.LIF(*(np.full(size, value) for value in (0.01, 1.0, 0.0, 0.5)))
nodes = {"in": nir.Input(np.array([2])), "out": nir.Output(np.array([2]))}
edges = [("in", "p"), ("q", "out"), ("in", "r"), ("s", "out")]
for name in "pqrs":
    nodes[name], nodes["w" + name] = lif(2), nir.Affine(np.eye(2), np.ones(2))
    edges += [(name, "w" + name), ("w" + name, name)]
edges += [("p", "q"), ("q", "p"), ("r", "s"), ("s", "wr"), ("wq", "wp")]
graph = nir.NIRGraph(nodes, list(set(edges)), type_check=False)
module = nir_to_torch(graph, {})
print(module.code, module.meta["delayed_edges"], module.meta["findings"])
"""


def test_the_hash_seed_does_not_count() -> None:
    """`list(set(edges))` above also hands the edges over in another order each time."""
    printed = []
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        process = subprocess.run(
            [sys.executable, "-c", RECURRENT], env=environment, capture_output=True, timeout=120
        )
        assert process.returncode == 0, process.stderr.decode()
        printed.append(process.stdout)
    assert b"_prev_output" in printed[0]
    assert printed[0] == printed[1] == printed[2]
