"""The structural rules: each finds what it is for, and leaves its neighbour alone."""

from __future__ import annotations

import itertools
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nirtorch_cli import NirtorchWarning, nir_to_torch
from nirtorch_cli.findings.errors import StructureError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.checks.structure import examine
from nirtorch_cli.graph.checks.time import time_steps
from nirtorch_cli.graph.repairs import repaired
from nirtorch_cli.graph.sound import examined, required_sound
from nirtorch_cli.graph.time_step import TimeStep
from nirtorch_cli.reading.limits import MAX_NESTING

CHAIN = [("in", "a"), ("a", "out")]
OTHER = [*CHAIN, ("b", "o")]


def nodes(**more: nir.NIRNode) -> dict[str, nir.NIRNode]:
    one = np.array([1])
    return {"in": nir.Input(one), "a": nir.Scale(np.ones(1)), "out": nir.Output(one), **more}


def graph_of(members: dict[Any, nir.NIRNode], edges: list[Any]) -> nir.NIRGraph:
    return nir.NIRGraph(members, edges, type_check=False)


def found(graph: nir.NIRGraph) -> list[tuple[str, str, str | None]]:
    return [(finding.code, finding.severity, finding.node) for finding in examine(graph)]


def sound() -> nir.NIRGraph:
    return graph_of(nodes(), list(CHAIN))


def without(name: str) -> dict[str, nir.NIRNode]:
    return {other: node for other, node in nodes().items() if other != name}


def test_a_sound_graph_has_no_findings() -> None:
    examination = required_sound(sound())
    assert examination.findings == ()
    assert sorted(examination.graph.edges) == sorted(CHAIN)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (graph_of({}, []), [("NIR108", "error", None)]),
        (
            graph_of(without("in"), CHAIN[1:]),
            [("NIR102", "error", None), ("NIR106", "warning", "a")],
        ),
        (graph_of(without("out"), CHAIN[:1]), [("NIR103", "error", None)]),
        (graph_of(nodes(), [*CHAIN, ("in", "typo")]), [("NIR101", "error", None)]),
        (graph_of(nodes(), [*CHAIN, ("typo", "typo")]), [("NIR101", "error", None)]),
        (graph_of(nodes(), [*CHAIN, *CHAIN[:1]]), [("NIR104", "warning", "a")]),
        (graph_of(nodes(), [*CHAIN, ("a", "a")]), [("NIR113", "warning", "a")]),
        (graph_of(nodes(), [*CHAIN, ("a", "in")]), [("NIR105", "error", "in")]),
        (graph_of(nodes(), [*CHAIN, ("out", "a")]), []),
        (graph_of(nodes(b=nir.Scale(np.ones(1))), CHAIN), [("NIR106", "warning", "b")]),
        (graph_of(nodes(), [("in", "a")]), [("NIR106", "error", "out")]),
        (graph_of(nodes(i=nir.Input(np.array([1]))), CHAIN), [("NIR112", "warning", "i")]),
        (graph_of(nodes(g=sound()), [*CHAIN, ("a", "g"), ("g", "out")]), []),
        (graph_of(nodes(g=sound()), [*CHAIN, ("a", "g")]), [("NIR112", "warning", "g")]),
        (
            graph_of(nodes(b=nir.Scale(np.ones(1))), [*CHAIN, ("a", "b"), ("b", "b")]),
            [("NIR113", "warning", "b"), ("NIR112", "warning", "b")],
        ),
        (
            graph_of(nodes(b=nir.Scale(np.ones(1))), [*CHAIN, ("b", "b"), ("b", "a")]),
            [("NIR113", "warning", "b"), ("NIR110", "warning", "b")],
        ),
        (
            graph_of(nodes(o=nir.Output(np.array([1])), b=nir.Scale(np.ones(1))), OTHER),
            [("NIR106", "warning", "b"), ("NIR110", "warning", "o")],
        ),
        (
            graph_of(nodes(), [("in", "a"), ("out", "out")]),
            [("NIR113", "warning", "out"), ("NIR111", "error", None), ("NIR112", "warning", "in")],
        ),
        (
            graph_of(
                nodes(g=graph_of(nodes(o=nir.Output(np.array([1]))), [*CHAIN, ("a", "o")])),
                [*CHAIN, ("a", "g")],
            ),
            [("NIR107", "error", "g")],
        ),
        (
            graph_of(
                nodes(g=graph_of(nodes(i=nir.Input(np.array([1]))), [*CHAIN, ("i", "a")])),
                [*CHAIN, ("a", "g")],
            ),
            [("NIR107", "error", "g")],
        ),
    ],
)
def test_a_rule_finds_what_it_is_for(
    graph: nir.NIRGraph, expected: list[tuple[str, str, str | None]]
) -> None:
    assert found(graph) == expected


def test_several_ports_are_fine_in_the_outermost_graph() -> None:
    more = nodes(i=nir.Input(np.array([1])), o=nir.Output(np.array([1])))
    assert found(graph_of(more, [*CHAIN, ("i", "o")])) == []


def test_findings_in_nested_graphs_name_their_path() -> None:
    bad = graph_of(nodes(), [*CHAIN, ("a", "in"), ("a", "typo")])
    middle = graph_of(nodes(deep=bad), [*CHAIN, ("a", "deep"), ("deep", "out")])
    graph = graph_of(nodes(g=middle), [*CHAIN, ("a", "g"), ("g", "out")])
    assert found(graph) == [("NIR101", "error", "g/deep"), ("NIR105", "error", "g/deep/in")]


def test_every_reason_is_listed_at_once() -> None:
    bad = graph_of(nodes(), [("in", "x"), ("y", "out"), ("a", "in"), ("in", "a"), ("in", "a")])
    graph = graph_of(nodes(g=bad), [*CHAIN, ("a", "g"), ("g", "z")])
    with pytest.raises(StructureError) as caught:
        required_sound(graph)
    codes = [(finding.code, finding.node) for finding in caught.value.findings]
    assert codes == [("NIR101", None), ("NIR101", "g"), ("NIR101", "g"), ("NIR105", "g/in")]
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({}, "the graph has 'a', 'in', 'out'"),
        ({"b": nir.Scale(np.ones(1))}, "'b' has no edge: is it meant?"),
        (
            {"b": nir.Scale(np.ones(1)), "c": nir.Scale(np.ones(1))},
            "without an edge are 'b', 'c'",
        ),
    ],
)
def test_the_hint_of_a_dangling_edge(more: dict[str, nir.NIRNode], hint: str) -> None:
    findings = examine(graph_of(nodes(**more), [*CHAIN, ("in", "typo"), ("in", "typo")]))
    dangling = [finding for finding in findings if finding.code == "NIR101"]
    assert [finding.hint for finding in dangling] == [hint]
    assert "2 edges to or from 'typo', which names no node" in dangling[0].message
    assert "(first 'in' -> 'typo')" in dangling[0].message


def test_names_may_be_anything_that_becomes_text() -> None:
    one = np.array([1])
    graph = graph_of({0: nir.Input(one), 1: nir.Output(one)}, [(0, 1)])
    clean, findings = repaired(graph)
    assert findings == []
    assert (list(clean.nodes), clean.edges) == (["0", "1"], [("0", "1")])


def test_neither_the_order_of_edges_nor_of_nodes_decides_what_is_found() -> None:
    edges = [("in", "x"), ("y", "a"), ("a", "in"), ("out", "in"), ("in", "a"), ("in", "a")]
    members = nodes(b=nir.Scale(np.ones(1)), c=nir.Scale(np.ones(1)))
    expected = examined(graph_of(members, edges)).findings
    assert len(expected) >= 6
    for shuffled in itertools.islice(itertools.permutations(edges), 0, 720, 90):
        backwards = dict(reversed(members.items()))
        assert examined(graph_of(backwards, list(shuffled))).findings == expected


def test_the_given_graph_is_not_changed() -> None:
    inner = graph_of(nodes(), [["in", "a"], ["in", "a"], ["a", "out"]])
    graph = graph_of(nodes(g=inner), [*CHAIN, *CHAIN, ("a", "g")])
    clean, _ = repaired(graph)
    assert graph.edges == [*CHAIN, *CHAIN, ("a", "g")]
    assert graph.nodes["g"] is inner
    assert inner.edges == [["in", "a"], ["in", "a"], ["a", "out"]]
    assert clean.edges == sorted([*CHAIN, ("a", "g")])
    assert clean.nodes["g"].edges == sorted(CHAIN)


def nest(depth: int) -> nir.NIRGraph:
    graph = sound()
    for _ in range(depth):
        graph = graph_of(nodes(g=graph), [("in", "g"), ("g", "a"), ("a", "out")])
    return graph


def test_graphs_nested_too_deep() -> None:
    assert found(nest(MAX_NESTING)) == []
    ((code, severity, node),) = found(nest(MAX_NESTING + 1))
    assert (code, severity) == ("NIR011", "error")
    assert node == "/".join(["g"] * (MAX_NESTING + 1))


# ---------------------------------------------------------------------------- time steps


def lif(tau: Any) -> nir.LIF:
    tau = np.asarray(tau)
    one = np.ones(tau.shape)
    return nir.LIF(tau, one, one, one)


def step_findings(node: nir.NIRNode, dt: float) -> list[tuple[str, str, str | None]]:
    findings: list[Finding] = list(time_steps({"n": node}, TimeStep(dt, "given")))
    assert all(finding.node == "n" for finding in findings)
    return [(finding.code, finding.severity, finding.parameter) for finding in findings]


@pytest.mark.parametrize(
    ("dt", "expected"),
    [
        (0.9, []),
        (1.0, []),
        (1.1, [("NIR401", "warning", "tau")]),
        (1.9, [("NIR401", "warning", "tau")]),
        (2.0, [("NIR402", "error", "tau")]),
        (5.0, [("NIR402", "error", "tau")]),
    ],
)
def test_a_step_that_is_too_long(dt: float, expected: list[Any]) -> None:
    assert step_findings(lif([3.0, 1.0, 7.0]), dt) == expected
    one = np.ones(1)
    assert step_findings(nir.LI(one, one, one), dt) == expected


def test_a_step_that_is_only_a_guess_is_no_error_of_the_file() -> None:
    guess = TimeStep(2e-4, "a guess", is_guess=True)
    (found,) = time_steps({"n": lif([3.0, 5e-5])}, guess)
    assert (found.code, found.severity) == ("NIR402", "warning")
    assert "the guessed dt 0.0002 is longer than the time constant 5e-05" in found.message
    assert found.hint is not None
    assert "stable below 0.0001, and do not overshoot up to --dt 5e-05" in found.hint
    graph = nir.NIRGraph(
        {"in": nir.Input(np.array([2])), "n": lif([3.0, 4e-5]), "out": nir.Output(np.array([2]))},
        [("in", "n"), ("n", "out")],
    )
    with pytest.warns(NirtorchWarning) as warned:
        module = nir_to_torch(graph, {})
    assert {warning.message.finding.code for warning in warned} == {"NIR402", "NIR406"}
    assert module.meta["dt_is_guess"]


def test_each_time_constant_is_looked_at() -> None:
    one = np.ones(1)
    node = nir.CubaLIF(one * 1.0, one * 3.0, one, one, one)
    assert step_findings(node, 2.0) == [("NIR402", "error", "tau_syn")]
    assert step_findings(node, 4.0) == [
        ("NIR401", "warning", "tau_mem"),
        ("NIR402", "error", "tau_syn"),
    ]


def test_nodes_without_a_time_constant() -> None:
    one = np.ones(1)
    assert step_findings(nir.IF(one, one), 1e9) == []
    assert step_findings(nir.Delay(one), 1e9) == []


@pytest.mark.parametrize(
    ("tau", "expected"),
    [
        ([0.0], [("NIR402", "error", "tau")]),
        ([-1.0], [("NIR402", "error", "tau")]),
        ([np.nan], []),
        ([np.nan, 1.0], [("NIR401", "warning", "tau")]),
        ([np.inf], []),
        ([], []),
        (["text"], []),
        ([1j], []),
    ],
)
def test_odd_time_constants_neither_crash_nor_warn(tau: Any, expected: list[Any]) -> None:
    assert step_findings(lif(tau), 1.5) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=12))
def test_findings_say_what_the_edges_are(edges: list[tuple[str, str]]) -> None:
    """Against the definition of each rule, written out once more."""
    one = np.array([1])
    members = {"a": nir.Input(one), "b": nir.Output(one), "c": lif([1.0]), "d": lif([1.0])}
    codes = [finding.code for finding in examine(graph_of(members, edges))]
    assert codes.count("NIR101") == len({n for edge in edges for n in edge} & {"e", "f"})
    assert codes.count("NIR104") == sum(edges.count(edge) > 1 for edge in set(edges))
    assert codes.count("NIR105") == sum(target == "a" for _, target in edges)
    assert codes.count("NIR106") == len({"b", "c", "d"} - {target for _, target in edges})
