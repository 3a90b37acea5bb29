"""The numbers of graphs with loops: against the float64 oracle and loops written out by hand."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import nir
import numpy as np
import oracles
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import module_of

from nirtorch_cli import default_map
from nirtorch_cli.graph.inlining import inline
from nirtorch_cli.graph.plan import plan_graph
from nirtorch_cli.graph.schedule import schedule
from nirtorch_cli.graph.shapes import infer_shapes

torch.set_num_threads(1)

DT = 1e-4
MAP = default_map(dt=DT)

Edges = list[tuple[str, str]]


def graph_of(nodes: dict[str, nir.NIRNode], edges: str) -> nir.NIRGraph:
    """A graph with these edges, each "source target", joined by commas; chains may be longer."""
    chains = [chain.split() for chain in edges.split(",")]
    pairs = [edge for chain in chains for edge in itertools.pairwise(chain)]
    return nir.NIRGraph(nodes, pairs, type_check=False)


def port(size: int = 2) -> dict[str, nir.NIRNode]:
    return {"input": nir.Input(np.array([size])), "output": nir.Output(np.array([size]))}


def lif(size: int = 2, threshold: float = 0.3, leak: float = 0.0) -> nir.LIF:
    tau, r = np.full(size, 5 * DT), np.full(size, 2.0)
    return nir.LIF(tau, r, np.full(size, leak), np.full(size, threshold))


def counting(size: int = 1) -> nir.IF:
    """Fires at every step at which it hears more than a half; keeps nothing below that."""
    return nir.IF(np.ones(size), np.full(size, 0.5), np.zeros(size))


def affine(seed: int, size: int = 2, bias: bool = True) -> nir.NIRNode:
    random = np.random.default_rng(seed)
    weight = random.normal(0, 0.6, (size, size))
    return nir.Affine(weight, random.normal(0, 0.5, size)) if bias else nir.Linear(weight)


def converted(graph: nir.NIRGraph) -> torch.fx.GraphModule:
    return module_of(graph, {}, MAP, dtype=torch.float64)


def outputs(module: torch.fx.GraphModule, xs: Any) -> np.ndarray:
    state, rows = None, []
    for x in torch.as_tensor(np.asarray(xs, dtype=np.float64)):
        y, state = module(x, state)
        rows.append(y.detach().numpy())
    return np.stack(rows)


def inputs(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, shape)


# ------------------------------------------------------------------------ random graphs


def random_node(kind: str, random: np.random.Generator) -> nir.NIRNode:
    def some(low: float, high: float) -> np.ndarray:
        return random.uniform(low, high, 2)

    tau, r, leak = some(3 * DT, 20 * DT), some(0.5, 3.0), some(-0.1, 0.1)
    return {
        "I": lambda: nir.I(some(0.1, 0.5)),
        "IF": lambda: nir.IF(r, some(0.2, 0.8), some(-0.1, 0.1)),
        "LI": lambda: nir.LI(tau, r, leak),
        "LIF": lambda: nir.LIF(tau, r, leak, some(0.1, 0.5), some(-0.1, 0.0)),
        "CubaLIF": lambda: nir.CubaLIF(
            some(3 * DT, 9 * DT), tau, r, leak, some(0.1, 0.4), some(-0.1, 0.0), some(0.5, 3.0)
        ),
        "Affine": lambda: nir.Affine(random.normal(0, 0.4, (2, 2)), random.normal(0, 0.3, 2)),
        "Linear": lambda: nir.Linear(random.normal(0, 0.4, (2, 2))),
        "Scale": lambda: nir.Scale(some(-0.5, 0.5)),
        "Threshold": lambda: nir.Threshold(some(0.0, 0.4)),
        "Delay": lambda: nir.Delay(random.integers(0, 4, 2) * DT),
    }[kind]()


KINDS = ("IF", "LI", "LIF", "CubaLIF", "Affine", "Linear", "Scale", "Threshold", "Delay")


@st.composite
def networks(draw: st.DrawFn, kinds: Sequence[str] = KINDS, size: int = 6) -> nir.NIRGraph:
    """A random graph in which every node can be reached; one of them gives the output."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=size))
    names = [f"n{number}" for number in range(len(chosen))]
    edges = {("input", "n0")}
    for number, name in enumerate(names[1:]):
        edges.add((draw(st.sampled_from(names[: number + 1])), name))
    pair = st.tuples(st.sampled_from(names), st.sampled_from(names))
    edges |= set(draw(st.lists(pair, max_size=size)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nodes = {name: random_node(kind, random) for name, kind in zip(names, chosen, strict=True)}
    edges.add((draw(st.sampled_from(names)), "output"))
    return nir.NIRGraph({**nodes, **port()}, sorted(edges), type_check=False)


def with_shorter_delays(graph: nir.NIRGraph, delayed: set[tuple[str, str]]) -> nir.NIRGraph:
    """A Delay that hears last step's values only has one step less to wait, if it waits at all."""
    shorter = copy.copy(graph)
    shorter.nodes = dict(graph.nodes)
    for name, node in graph.nodes.items():
        into = {edge for edge in graph.edges if edge[1] == name}
        whole_steps = isinstance(node, nir.Delay) and oracles.delay_in_steps(node.delay, DT)
        if isinstance(node, nir.Delay) and into <= delayed and np.max(whole_steps) >= 1:
            shorter.nodes[name] = nir.Delay((np.maximum(whole_steps, 1) - 1) * DT)
    return shorter


@settings(max_examples=100, deadline=None)
@given(networks(), st.integers(0, 2**32 - 1))
def test_a_module_is_its_graph_with_the_scheduled_delays(graph: nir.NIRGraph, seed: int) -> None:
    module = converted(graph)
    delayed = {(source, target) for source, target in module.meta["delayed_edges"]}
    xs = inputs(seed, 7, 3, 2)
    expected = oracles.run_graph(with_shorter_delays(graph, delayed), xs, delayed=delayed, dt=DT)
    oracles.assert_close(outputs(module, xs), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(networks(kinds=("LIF", "LI", "Linear", "Scale")), st.integers(0, 2**32 - 1))
def test_moving_a_delay_to_the_neurons_changes_no_number_without_a_bias(
    graph: nir.NIRGraph, seed: int
) -> None:
    """Last step's weighted spikes are the weighted spikes of last step."""
    names = sorted(graph.nodes)
    on_edges = schedule(names, graph.edges, sources=["input"])
    assume(not on_edges.ambiguous)
    xs = inputs(seed, 7, 2)
    expected = oracles.run_graph(graph, xs, delayed=on_edges.delayed, dt=DT)
    oracles.assert_close(outputs(converted(graph), xs), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(networks(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_edges_changes_nothing(graph: nir.NIRGraph, random: Any) -> None:
    names, edges = list(graph.nodes), list(graph.edges)
    random.shuffle(names)
    random.shuffle(edges)
    shuffled = nir.NIRGraph({name: graph.nodes[name] for name in names}, edges, type_check=False)
    modules = converted(graph), converted(shuffled)
    assert modules[0].code == modules[1].code
    assert modules[0].meta == modules[1].meta


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 2**32 - 1))
def test_other_names_change_no_number(graph: nir.NIRGraph, seed: int) -> None:
    """Names that sort the other way round; a loop in which they decide is reported."""
    inner = sorted(set(graph.nodes) - {"input", "output"})
    named = dict(zip(inner, [f"m{name}" for name in reversed(inner)], strict=True))
    named |= {"input": "input", "output": "output"}
    renamed = nir.NIRGraph(
        {named[name]: node for name, node in graph.nodes.items()},
        [(named[source], named[target]) for source, target in graph.edges],
        type_check=False,
    )
    modules = converted(graph), converted(renamed)
    reported = [any(f["code"] == "NIR109" for f in m.meta["findings"]) for m in modules]
    assert reported[0] == reported[1]
    assume(not reported[0])
    xs = inputs(seed, 7, 2)
    oracles.assert_close(outputs(modules[1], xs), outputs(modules[0], xs), rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------- loops written out


def test_a_bias_in_the_recurrent_weights_acts_from_the_first_step_on() -> None:
    weights, neuron = affine(3), lif()
    graph = graph_of({**port(), "lif": neuron, "w": weights}, "input lif output, lif w lif")
    xs = inputs(1, 12, 2)
    v, z, expected = np.zeros(2), np.zeros(2), []
    for x in xs:
        current = x + weights.weight @ z + weights.bias
        v = v + DT / neuron.tau * (neuron.v_leak - v + neuron.r * current)
        z = (v > neuron.v_threshold).astype(float)
        v = np.where(z > 0, neuron.v_reset, v)
        expected.append(z)
    assert 0 < np.sum(expected) < np.size(expected)
    oracles.assert_same_spikes(outputs(converted(graph), xs), expected)


def spikes_with_feedback(xs: np.ndarray, lags: Sequence[int]) -> np.ndarray:
    """`counting` neurons that hear their own spikes `lags` steps later, one lag for each."""
    z, v = np.zeros(xs.shape), np.zeros(xs.shape[1])
    for now, x in enumerate(xs):
        late = [z[now - lag, n] if now >= lag else 0.0 for n, lag in enumerate(lags)]
        v = v + x + np.array(late)
        z[now] = v > 0.5
        v = np.where(z[now] > 0, 0.0, v)
    return z


@pytest.mark.parametrize("between", ["delay", "delay one", "one delay", "one delay two"])
@pytest.mark.parametrize("lags", [(1, 1), (2, 2), (5, 5), (1, 3), (4, 2)])
def test_a_delay_in_a_loop_waits_as_long_as_it_says(lags: tuple[int, int], between: str) -> None:
    identity = {name: nir.Linear(np.eye(2)) for name in ("one", "two")}
    nodes = {**port(), "if": counting(2), "delay": nir.Delay(np.array(lags) * DT), **identity}
    nodes = {name: node for name, node in nodes.items() if name in f"{between} if input output"}
    graph = graph_of(nodes, f"input if output, if {between} if")
    xs = np.zeros((14, 2))
    xs[0] = 1.0
    expected = spikes_with_feedback(xs, lags)
    assert expected[lags[0], 0] == 1
    assert expected[lags[0] - 1, 0] == (lags[0] == 1)
    oracles.assert_same_spikes(outputs(converted(graph), xs), expected)


def test_two_delays_in_a_loop_wait_for_their_sum() -> None:
    nodes = {**port(1), "if": counting(), "d": nir.Delay(np.array([2 * DT]))}
    graph = graph_of({**nodes, "e": nir.Delay(np.array([3 * DT]))}, "input if output, if d e if")
    xs = np.zeros((13, 1))
    xs[0] = 1.0
    oracles.assert_same_spikes(outputs(converted(graph), xs), spikes_with_feedback(xs, (5,)))


def test_a_delay_that_hears_the_input_too_delays_it_as_long() -> None:
    nodes = {**port(1), "if": counting(), "d": nir.Delay(np.array([2 * DT]))}
    graph = graph_of(nodes, "input d if output, if d")
    xs = np.zeros((9, 1))
    xs[0] = 1.0
    assert np.flatnonzero(outputs(converted(graph), xs)).tolist() == [2, 4, 6, 8]


def test_what_comes_late_and_what_comes_at_once_are_added() -> None:
    """`if` hears the input, `s` in the same step, and itself, weighted, a step late."""
    nodes = {**port(1), "if": nir.LI(np.array([DT]), np.ones(1), np.zeros(1))}
    nodes |= {"s": nir.Scale(np.array([10.0])), "w": nir.Scale(np.array([100.0]))}
    graph = graph_of(nodes, "input if output, input s if, if w if")
    # LI with dt = tau gives what it hears.
    expected = [11.0, 11.0 * 100 + 22, (11.0 * 100 + 22) * 100]
    found = outputs(converted(graph), [[1.0], [2.0], [0.0]])
    oracles.assert_close(found[:, 0], expected, rtol=1e-12, atol=0)


def test_a_loop_without_a_neuron_keeps_the_value_of_its_edge() -> None:
    nodes = {**port(1), "a": nir.Scale(np.array([2.0])), "b": nir.Scale(np.array([3.0]))}
    module = converted(graph_of(nodes, "input a b a, b output"))
    y, state = module(torch.ones(1, dtype=torch.float64))
    assert (y.item(), state["b_prev_output"].item()) == (6.0, 6.0)
    y, state = module(torch.ones(1, dtype=torch.float64), state)
    assert y.item() == 3 * 2 * (1 + 6)


# ------------------------------------------------------------------------ nested graphs


def nested(**nodes: nir.NIRNode) -> nir.NIRGraph:
    """A graph whose nodes form a chain."""
    return graph_of({**port(), **nodes}, " ".join(["input", *nodes, "output"]))


def test_a_loop_inside_of_a_nested_graph_stays_there() -> None:
    inner = graph_of({**port(), "lif": lif(), "w": affine(1)}, "input lif output, lif w lif")
    graph = graph_of({**port(), "g": inner, "v": affine(2)}, "input v g output")
    module = converted(graph)
    assert isinstance(module.g, torch.fx.GraphModule)
    assert module.meta["delayed_edges"] == []
    assert module.g.meta["delayed_edges"] == [["lif", "w"]]
    xs = inputs(4, 9, 3, 2)
    expected = oracles.run_graph(graph, xs, delayed=[("g.lif", "g.w")], dt=DT)
    oracles.assert_same_spikes(outputs(module, xs), expected)
    _, state = module(torch.zeros(2, dtype=torch.float64))
    assert set(state["g"]) == {"input", "output", "lif", "w", "lif_prev_output"}


NEURON, WEIGHTS = lif(), nir.Affine(affine(7).weight, np.array([1.0, 1.2]))
FLAT = graph_of({**port(), "lif": NEURON, "w": WEIGHTS}, "input lif output, lif w lif")
IDENTITY = graph_of(port(), "input output")

THROUGH = {
    "neuron": graph_of({**port(), "g": nested(lif=NEURON), "w": WEIGHTS}, "input g output, g w g"),
    "weights": graph_of(
        {**port(), "lif": NEURON, "g": nested(w=WEIGHTS)}, "input lif output, lif g lif"
    ),
    "both": graph_of(
        {**port(), "g": nested(lif=NEURON), "h": nested(w=WEIGHTS)}, "input g output, g h g"
    ),
    "nothing": graph_of(
        {**port(), "lif": NEURON, "w": WEIGHTS, "g": IDENTITY}, "input lif output, lif g w lif"
    ),
    "nothing, behind the weights": graph_of(
        {**port(), "lif": NEURON, "w": WEIGHTS, "g": IDENTITY}, "input lif output, lif w g lif"
    ),
    "two levels": graph_of(
        {**port(), "g": nested(deep=nested(lif=NEURON)), "w": WEIGHTS}, "input g output, g w g"
    ),
    "two levels of weights": graph_of(
        {**port(), "lif": NEURON, "g": nested(deep=nested(w=WEIGHTS))},
        "input lif g lif, lif output",
    ),
    "a name that is taken": graph_of(
        {**port(), "g": nested(lif=NEURON), "w": WEIGHTS, "g.lif": nir.Scale(np.ones(2))},
        "input g g.lif output, g w g",
    ),
    "to itself": graph_of(
        {
            **port(),
            "g": graph_of(
                {**port(), "w": WEIGHTS, "lif": NEURON, "s": nir.Scale(np.zeros(2))},
                "input lif output, lif w lif, input s lif",
            ),
            "off": nir.Scale(np.zeros(2)),
        },
        "input g output, g off g",
    ),
}


@pytest.mark.parametrize("name", THROUGH)
def test_a_loop_through_nested_graphs_is_that_of_the_flat_graph(name: str) -> None:
    xs = inputs(5, 15, 2)
    expected = outputs(converted(FLAT), xs)
    assert 0 < expected.sum() < expected.size
    late_bias = oracles.run_graph(FLAT, xs, delayed=[("w", "lif")], dt=DT)
    assert not np.array_equal(expected, late_bias), "these inputs would not show a late bias"
    oracles.assert_same_spikes(outputs(converted(THROUGH[name]), xs), expected)


def test_a_nested_graph_on_a_loop_is_inlined_and_no_other() -> None:
    nodes = {**port(), "g": nested(lif=NEURON), "w": WEIGHTS, "h": nested(w=affine(8))}
    module = converted(graph_of(nodes, "input g h output, g w g"))
    assert not hasattr(module, "g")
    assert isinstance(module.h, torch.fx.GraphModule)
    assert sorted(module.meta["names"].values()) == sorted(
        ["input", "output", "g/input", "g/lif", "g/output", "w", "h"]
    )


def test_names_that_collide_when_inlined_do_not_depend_on_the_order_of_nodes() -> None:
    first, second = nested(**{"b.c": lif()}), nested(c=lif())
    nodes = {"a": first, "a.b": second, "w": affine(1), **port()}
    edges = "input a a.b output, a.b w a"
    backwards = dict(reversed(nodes.items()))
    flat = [inline(graph_of(each, edges), lambda node: False) for each in (nodes, backwards)]
    assert flat[0].origin == flat[1].origin
    assert flat[0].origin["a.b.c"] == "a/b.c"
    assert flat[0].origin["a.b.c."] == "a.b/c"
    codes = [converted(graph_of(each, edges)).code for each in (nodes, backwards)]
    assert codes[0] == codes[1]


@st.composite
def groupings(draw: st.DrawFn) -> tuple[nir.NIRGraph, nir.NIRGraph]:
    """A flat graph, and the same with one node of it moved into a nested graph of its own.

    The node lies on a loop where there is one, and feeds the output too: then it matters
    that the delay is found behind the nested graph's Output.
    """
    flat = draw(networks(kinds=("LI", "LIF", "Affine", "Delay"), size=4))
    delayed = converted(flat).meta["delayed_edges"]
    candidates = {source for source, _ in delayed} or set(flat.nodes) - {"input", "output"}
    name = draw(st.sampled_from(sorted(candidates - {"input", "output"})))
    flat.edges = sorted({*flat.edges, (name, "output")})
    inner = graph_of({**port(), "x": flat.nodes[name]}, "input x output")
    if draw(st.booleans()):
        inner = graph_of({**port(), "y": inner}, "input y output")
    return flat, nir.NIRGraph({**flat.nodes, name: inner}, flat.edges, type_check=False)


@settings(max_examples=100, deadline=None)
@given(groupings(), st.integers(0, 2**32 - 1))
def test_grouping_nodes_changes_no_number(
    graphs: tuple[nir.NIRGraph, nir.NIRGraph], seed: int
) -> None:
    flat, grouped = graphs
    for graph in graphs:
        _, ambiguous = plan_graph(inline(infer_shapes(graph).graph, lambda node: False), DT)
        assume(not ambiguous)
    xs = inputs(seed, 7, 2)
    expected = outputs(converted(flat), xs)
    oracles.assert_close(outputs(converted(grouped), xs), expected, rtol=1e-9, atol=1e-9)


# --------------------------------------------------------------- ports and loose branches


def test_several_inputs_are_arguments_in_the_order_of_their_names() -> None:
    nodes = {
        "z": nir.Input(np.array([1])),
        "a": nir.Input(np.array([1])),
        "s": nir.Scale(np.array([10.0])),
        "sum": nir.Output(np.array([1])),
        "y": nir.Output(np.array([1])),
    }
    module = converted(graph_of(nodes, "z s sum, a sum, a y"))
    y, state = module(torch.tensor([1.0]).double(), torch.tensor([2.0]).double())
    assert {name: value.item() for name, value in y.items()} == {"sum": 21.0, "y": 1.0}
    assert module.meta["inputs"] == ["a", "z"]
    assert set(state) == set(nodes)


def test_a_node_without_input_hears_zeros() -> None:
    """The affine node gives its bias; the neuron, at rest above its threshold, fires."""
    nodes = {**port(), "w": affine(3), "alone": lif(leak=1.0), "s": nir.Scale(np.full(2, 5.0))}
    module = converted(graph_of(nodes, "input output, w output, alone s output"))
    found = outputs(module, np.ones((3, 4, 2)))
    expected = 1 + nodes["w"].bias + 5 * np.ones((3, 4, 2))
    oracles.assert_close(found[:1], expected[:1], rtol=1e-12, atol=0)
    drive = oracles.step_response(nodes["alone"], np.zeros((3, 4, 2)), dt=DT)
    oracles.assert_close(found, 1 + nodes["w"].bias + 5 * drive, rtol=1e-12, atol=0)


def test_a_branch_that_leads_nowhere_is_still_in_the_state() -> None:
    nodes = {**port(), "lif": lif(), "dead": lif(), "deader": affine(2)}
    module = converted(graph_of(nodes, "input lif output, lif dead deader"))
    xs = inputs(9, 6, 2)
    state = None
    for x in torch.as_tensor(xs):
        _, state = module(x, state)
    assert set(state) == set(nodes)
    trace = oracles.membrane_trace(
        nodes["dead"], oracles.step_response(nodes["lif"], xs, dt=DT), dt=DT
    )
    oracles.assert_close(state["dead"]["v"], trace["v"][-1], rtol=1e-12, atol=1e-12)


def test_an_output_that_feeds_a_node_passes_its_value_on() -> None:
    graph = graph_of({**port(), "lif": NEURON, "w": WEIGHTS}, "input lif output w lif")
    xs = inputs(5, 15, 2)
    oracles.assert_same_spikes(outputs(converted(graph), xs), outputs(converted(FLAT), xs))


def test_a_loop_with_several_entries_is_reported_by_its_path() -> None:
    inner = graph_of({**port(), "a": lif(), "b": lif()}, "input a b output, input b a")
    looping = graph_of({**port(), "g": inner, "w": affine(1)}, "input g output, g w g")
    outer = nested(h=looping)
    (finding,) = converted(outer).meta["findings"]
    assert (finding["code"], finding["severity"]) == ("NIR109", "warning")
    assert finding["node"] == "h/g/a"
    assert "is entered at 'h/g/a' and 'h/g/b'" in finding["message"]
    assert "'h/g/b' -> 'h/g/a'" in finding["message"]
