"""What `inspect` says about a file, and what a converted module says about itself."""

from __future__ import annotations

import itertools
from typing import Any

import nir
import numpy as np
import pytest
import torch

from nirtorch_cli import default_map, nir_to_torch
from nirtorch_cli.conversion.describe import count_parameters, describe, generated_code
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.graph.inspection import Inspection, inspect
from nirtorch_cli.reading.graphs import ModelFile


def graph_of(nodes: dict[str, nir.NIRNode], edges: str) -> nir.NIRGraph:
    chains = [chain.split() for chain in edges.split(",")]
    ports = {"in": nir.Input(np.array([2])), "out": nir.Output(np.array([2]))}
    pairs = [edge for chain in chains for edge in itertools.pairwise(chain)]
    return nir.NIRGraph({**ports, **nodes}, pairs, type_check=False)


def lif(tau: Any = 0.02) -> nir.LIF:
    """Its numbers tell dt, 0.0001, and are of no known program."""
    two = np.ones(2)
    return nir.LIF(tau * two, tau * two / 1e-4, 0.1 * two, two)


def weights() -> nir.Affine:
    return nir.Affine(np.eye(2), np.array([0.5, 0.25]))


def inspected(graph: nir.NIRGraph) -> Inspection:
    return inspect(ModelFile(graph, "1.0", "a model"))


def recurrent() -> nir.NIRGraph:
    return graph_of({"lif": lif(), "w": weights()}, "in lif out, lif w lif")


def test_nodes_are_listed_in_the_order_of_execution_and_edges_with_their_delays() -> None:
    found = inspected(recurrent())
    assert [(node.node, node.type) for node in found.nodes] == [
        ("in", "Input"),
        ("w", "Affine"),
        ("lif", "LIF"),
        ("out", "Output"),
    ]
    assert {(e.source, e.target) for e in found.edges if e.delayed} == {("lif", "w")}
    assert len(found.edges) == 4
    assert all(node.input_shape == node.output_shape == (2,) for node in found.nodes)
    assert found.findings == []


def test_the_schedule_is_that_of_the_conversion() -> None:
    inner = graph_of({"lif": lif(), "w": weights()}, "in lif out, lif w lif")
    graph = graph_of({"g": inner, "v": weights(), "h": recurrent()}, "in g h out, g v g")
    module = nir_to_torch(graph, {}, default_map(dt=1e-4))
    assert isinstance(module, ConvertedModule)
    found = inspected(graph)
    assert [node.node for node in found.nodes] == [row.node for row in describe(module)]
    delayed = {(e.source, e.target) for e in found.edges if e.delayed}
    late = {(source, row.node) for row in describe(module) for source in row.delayed_inputs}
    assert {("h/lif", "h/w"), ("g/lif", "g/w")} < delayed
    assert delayed == late


def test_an_unsound_graph_is_listed_as_it_stands() -> None:
    graph = graph_of({"lif": lif()}, "lif typo, in lif out")
    found = inspected(graph)
    edges = [(e.source, e.target) for e in found.edges]
    assert edges == [("in", "lif"), ("lif", "out"), ("lif", "typo")]
    assert {node.node for node in found.nodes} == {"in", "lif", "out"}
    assert [finding.code for finding in found.findings] == ["NIR101"]
    assert all(finding.file == "a model" for finding in found.findings)


def test_contradicting_shapes_are_findings() -> None:
    graph = graph_of({"w": nir.Linear(np.ones((3, 2))), "lif": lif()}, "in w lif out")
    assert [(f.code, f.node) for f in inspected(graph).findings] == [("NIR203", "lif")]


def row_of(node: nir.NIRNode) -> Any:
    (row,) = [row for row in inspected(graph_of({"n": node}, "in n out")).nodes if row.node == "n"]
    return row


@pytest.mark.parametrize(
    ("value", "text", "count"),
    [
        (np.array([0.5, 0.5]), "0.5", 2),
        (np.array([0.5, 0.25]), "[0.5,0.25]", 2),
        (np.full((2, 2), 3.0), "2x2 of 3", 4),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), "2x2 in 1..4", 4),
        (np.array([True, False]), "[1,0]", 2),
        (np.array([np.nan, 1.0]), "[nan,1.0]", 2),
        (np.array([]), "float64 (0,)", 0),
        (np.array(["a"]), "<U1 (1,)", 0),
        ("same", "same", 0),
        (None, "None", 0),
        (3, "3", 1),
    ],
)
def test_a_parameter_in_few_characters(value: Any, text: str, count: int) -> None:
    node = nir.Scale(np.ones(2))
    node.extra = value
    row = row_of(node)
    assert {name: value.text for name, value in row.parameters.items()} == {
        "scale": "1",
        "extra": text,
    }
    assert row.numbers == 2 + count


# -------------------------------------------------------------------- a converted module


def test_one_module_for_two_nodes_is_described_twice() -> None:
    shared = torch.nn.Linear(2, 2)
    graph = graph_of({"a": nir.Linear(np.eye(2)), "b": nir.Linear(np.eye(2))}, "in a b out")
    module = nir_to_torch(graph, {nir.Linear: lambda node: shared})
    rows = {row.name: (row.module, row.parameters) for row in describe(module)}
    assert rows["a"] == rows["b"] == ("Linear", 6)
    assert rows["in"] if "in" in rows else rows["nir_node_in"] == (None, 0)


def test_nested_graphs_follow_the_node_that_holds_them() -> None:
    module = nir_to_torch(graph_of({"g": recurrent()}, "in g out"), {}, default_map(dt=1e-4))
    rows = list(describe(module))
    assert [row.node for row in rows] == ["in", "g", "g/in", "g/w", "g/lif", "g/out", "out"]
    parameters = {row.node: row.parameters for row in rows}
    assert parameters["g"] == parameters["g/w"] == count_parameters(module) == 6
    assert {row.node for row in rows if row.stateful} == {"g", "g/lif"}
    codes = dict(generated_code(module))
    assert set(codes) == {"", "g"}
    assert "lif_prev_output" in codes["g"]
