"""Graphs as programs build them: tensors, lists and numbers as parameters, and what is no node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import assert_same, contents

from nirtorch_cli import ConversionError, default_map, inspect, nir_to_torch
from nirtorch_cli.conversion.artefacts.nir import exported
from nirtorch_cli.graph.sound import required_sound

DT = 1e-3


def with_node(node: Any) -> nir.NIRGraph:
    nodes = {"input": nir.Input(np.array([2])), "a": node, "output": nir.Output(np.array([2]))}
    return nir.NIRGraph(nodes, [("input", "a"), ("a", "output")], type_check=False)


def changed(node: nir.NIRNode, **fields: Any) -> nir.NIRNode:
    """A node with fields as no constructor would take them."""
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def lif(**fields: Any) -> nir.NIRNode:
    parameters = {"tau": 5e-3, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.25, "v_reset": -0.5}
    node = nir.LIF(**{name: np.full(2, value) for name, value in parameters.items()})
    return changed(node, **{name: make(getattr(node, name)) for name, make in fields.items()})


def trained(values: Any) -> torch.Tensor:
    return torch.nn.Parameter(torch.tensor(values))


def convolution(make: Callable[[Any], Any]) -> nir.NIRGraph:
    weight, bias = make(np.arange(18.0).reshape(2, 1, 3, 3)), make(np.ones(2))
    nodes = {
        "input": nir.Input(np.array([1, 4, 4])),
        "a": changed(
            nir.Conv2d((4, 4), weight, [1, 1], (0, 0), (1, 1), 1, bias),
            dilation=make(np.array([1.0, 1.0])),
        ),
        "output": nir.Output(np.array([2, 2, 2])),
    }
    return nir.NIRGraph(nodes, [("input", "a"), ("a", "output")], type_check=False)


SQUARE = np.array([[1.0, 0.5], [0.25, -1.0]])

CASES: dict[str, tuple[Callable[[], nir.NIRGraph], Callable[[], nir.NIRGraph]]] = {
    "parameters of torch": (
        lambda: with_node(nir.Affine(trained(SQUARE), trained([0.5, 0.25]))),
        lambda: with_node(nir.Affine(SQUARE, np.array([0.5, 0.25]))),
    ),
    "a tensor with gradients": (
        lambda: with_node(lif(tau=lambda v: torch.tensor(v, requires_grad=True) * 1)),
        lambda: with_node(lif()),
    ),
    "all of a neuron": (
        lambda: with_node(lif(tau=trained, r=trained, v_leak=trained, v_threshold=trained)),
        lambda: with_node(lif()),
    ),
    "bfloat16": (
        lambda: with_node(lif(r=lambda v: torch.tensor(v, dtype=torch.bfloat16))),
        lambda: with_node(lif(r=lambda v: v.astype(np.float32))),
    ),
    "a convolution": (lambda: convolution(trained), lambda: convolution(np.asarray)),
    "lists": (
        lambda: with_node(changed(nir.Linear(SQUARE), weight=SQUARE.tolist())),
        lambda: with_node(nir.Linear(SQUARE)),
    ),
    "a tuple": (lambda: with_node(lif(tau=tuple)), lambda: with_node(lif())),
    "numbers": (
        lambda: with_node(lif(tau=lambda v: 5e-3, r=lambda v: 2, v_reset=lambda v: -0.5)),
        lambda: with_node(lif(tau=lambda v: np.array(5e-3), r=np.array, v_reset=np.array)),
    ),
    "in a nested graph": (
        lambda: with_node(with_node(lif(tau=trained))),
        lambda: with_node(with_node(lif())),
    ),
    "in metadata": (
        lambda: changed(
            with_node(lif()), metadata={"dt": trained(0.5), "by": {"x": trained([1.0])}}
        ),
        lambda: changed(
            with_node(lif()), metadata={"dt": np.array(0.5), "by": {"x": np.array([1.0])}}
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_exporters_leave_is_taken_as_arrays(name: str) -> None:
    given, plain = (make() for make in CASES[name])
    found = inspect(given).to_json()
    expected = inspect(plain).to_json()
    values, others = (shown.pop("nodes")[1]["parameters"] for shown in (found, expected))
    assert values.keys() == others.keys()
    for name, value in values.items():
        assert value["min"] == pytest.approx(others[name]["min"])  # it may be rounded to float32
        assert value["max"] == pytest.approx(others[name]["max"])
    assert found.pop("metadata").keys() == expected.pop("metadata").keys()
    assert found == expected
    one, other = (nir_to_torch(graph, {}, default_map(dt=DT)) for graph in (given, plain))
    x = torch.rand(3, *one.meta["shapes"]["input"][1], generator=torch.Generator().manual_seed(1))
    assert_same(one(x), other(x))
    assert all(p.is_leaf and p.data_ptr() for p in one.parameters())
    assert exported(required_sound(given).graph) is not None


@pytest.mark.parametrize("name", CASES)
def test_the_given_graph_is_not_changed(name: str) -> None:
    graph = CASES[name][0]()
    before, values = contents(graph), vars(graph.nodes["a"]).copy()
    module = nir_to_torch(graph, {}, default_map(dt=DT))
    inspect(graph)
    assert contents(graph) == before
    assert all(vars(graph.nodes["a"])[key] is value for key, value in values.items())
    with torch.no_grad():  # and the module shares no memory with it
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert repr(contents(graph)) == repr(before)


def test_a_graph_of_arrays_is_handed_on_as_it_is() -> None:
    node = lif()
    seen: list[nir.NIRNode] = []

    def mapper(given: nir.NIRNode) -> torch.nn.Module:
        seen.append(given)
        return torch.nn.Identity()

    nir_to_torch(with_node(node), {nir.LIF: mapper})
    assert all(getattr(seen[0], name) is getattr(node, name) for name in ("tau", "r", "v_leak"))


def test_a_single_node() -> None:
    module = nir_to_torch(nir.Linear(trained(SQUARE)), {})
    assert torch.equal(module(torch.eye(2)), torch.tensor(SQUARE, dtype=torch.float32).T)
    with pytest.raises(ConversionError, match=r"is None, not a nir\.NIRNode"):
        nir_to_torch(None, {})


def test_a_type_of_ones_own_is_left_alone() -> None:
    """Its mapper may want the tensor; `inspect` shows it all the same."""

    class Own(nir.NIRNode):  # type: ignore[misc]
        def __init__(self) -> None:
            self.gain, self.odd = torch.ones(2, requires_grad=True), [[1], [1, 2]]
            self.metadata: dict[str, Any] = {}
            self.input_type, self.output_type = {"input": None}, {"output": None}

    seen: list[Any] = []
    own = Own()
    nir_to_torch(with_node(own), {Own: lambda node: seen.append(node.gain) or torch.nn.Identity()})
    assert seen[0] is own.gain
    row = next(row for row in inspect(with_node(own)).nodes if row.node == "a")
    assert {n: value.text for n, value in row.parameters.items()} == {"gain": "1", "odd": "list"}


WRONG: dict[str, tuple[Any, str, str | None]] = {
    "None": (None, "is None, not a nir.NIRNode", None),
    "a number": (3, "is of the type int, not a nir.NIRNode", None),
    "a class": (nir.LIF, "is the class LIF, not a nir.NIRNode", None),
    "a module": (torch.nn.Linear(2, 2), "is of the type Linear, not a nir.NIRNode", None),
    "a missing parameter": (lif(tau=lambda v: None), "is None, and LIF needs it", "tau"),
    "a missing bias": (
        changed(nir.Affine(SQUARE, np.ones(2)), bias=None),
        "is None, and Affine needs it",
        "bias",
    ),
    "a tensor without values": (
        lif(tau=lambda v: torch.empty(2, device="meta")),
        "is of the type Tensor, and no array: Cannot copy out of meta tensor",
        "tau",
    ),
    "a ragged list": (
        lif(r=lambda v: [[1.0], [1.0, 2.0]]),
        "is of the type list, and no array: ",
        "r",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda graph: nir_to_torch(graph, {}),
        lambda graph: nir_to_torch(graph, {}, skip_unmapped=True),
        inspect,
        lambda graph: exported(required_sound(graph).graph),
    ],
)
def test_what_is_no_node_or_no_array_is_named(name: str, nested: bool, function: Any) -> None:
    node, text, parameter = WRONG[name]
    graph = with_node(with_node(node)) if nested else with_node(node)
    with pytest.raises(ConversionError) as caught:
        function(graph)
    (finding,) = caught.value.findings
    assert finding.node == ("a/a" if nested else "a")
    assert finding.parameter == parameter
    assert finding.message.startswith(text)
    assert finding.severity == "error"


def test_all_of_them_are_named() -> None:
    nodes = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([2]))}
    graph = nir.NIRGraph(
        {**nodes, **{name: WRONG[name][0] for name in WRONG}}, [], type_check=False
    )
    with pytest.raises(ConversionError) as caught:
        inspect(graph)
    assert [finding.node for finding in caught.value.findings] == list(WRONG)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"nodes": None}, "its nodes are None, not a dict"),
        ({"nodes": [lif()]}, "its nodes are of the type list, not a dict"),
        ({"edges": None}, "are not pairs of names"),
        ({"edges": [("input", "a", "output")]}, "are not pairs of names"),
        ({"edges": ["ab"]}, "are not pairs of names"),
        ({"edges": [1]}, "are not pairs of names"),
    ],
)
def test_a_graph_without_nodes_or_edges(fields: dict[str, Any], text: str) -> None:
    for function in (inspect, lambda graph: nir_to_torch(graph, {})):
        with pytest.raises(ConversionError, match=text):
            function(changed(with_node(lif()), **fields))


def test_a_graph_in_itself() -> None:
    graph = with_node(lif())
    graph.nodes.update(a=with_node(graph), b=graph)
    with pytest.raises(ConversionError) as caught:
        inspect(graph)
    assert [(f.code, f.node) for f in caught.value.findings] == [("NIR011", "a/a"), ("NIR011", "b")]
