"""Shape inference: the rule of every node type, what exporters leave, and what is refused."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import nir
import numpy as np
import pytest
from networks import contents

from nirtorch_cli.findings.errors import ShapeError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.shapes import ShapedGraph, input_shape, output_shape
from nirtorch_cli.graph.shapes import infer_shapes as inferred
from nirtorch_cli.graph.sound import errors_in
from nirtorch_cli.primitives.parameters import pair, single

Shape = tuple[int, ...]


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


def lif(*shape: int) -> nir.LIF:
    return nir.LIF(ones(*shape), ones(*shape), ones(*shape), ones(*shape))


def conv1d(weight: Shape, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1):
    return nir.Conv1d(None, ones(*weight), stride, padding, dilation, groups, None)


def conv2d(weight: Shape, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1):
    return nir.Conv2d(None, ones(*weight), stride, padding, dilation, groups, None)


def flatten(declared: Shape | None, start: int = 1, end: int = -1) -> nir.Flatten:
    known = None if declared is None else np.array(declared)
    return nir.Flatten({"input": known}, start, end)


def graph_of(nodes: dict[str, nir.NIRNode], edges: str) -> nir.NIRGraph:
    chains = [chain.split() for chain in edges.split(",")]
    pairs = [edge for chain in chains for edge in itertools.pairwise(chain)]
    return nir.NIRGraph(nodes, pairs, type_check=False)


def ports(given: Shape | None, wanted: Shape | None = None) -> dict[str, nir.NIRNode]:
    """An Input and an Output; None declares nothing."""
    given_, wanted_ = (None if s is None else np.array(s, dtype=int) for s in (given, wanted))
    return {
        "input": nir.Input({"input": given_}),
        "output": nir.Output({"output": wanted_}),
    }


def chain(given: Shape | None, *nodes: nir.NIRNode, wanted: Shape | None = None) -> nir.NIRGraph:
    named = {f"n{number}": node for number, node in enumerate(nodes)}
    return graph_of({**ports(given, wanted), **named}, " ".join(["input", *named, "output"]))


def shapes(shaped: ShapedGraph) -> dict[str, tuple[Shape | None, Shape | None]]:
    return {n: (input_shape(m), output_shape(m)) for n, m in shaped.graph.nodes.items()}


def infer_shapes(graph: nir.NIRGraph) -> ShapedGraph:
    """The graph with its shapes, of which none may contradict another."""
    shaped = inferred(graph)
    if errors := errors_in(shaped.findings):
        raise ShapeError(errors)
    return shaped


FILLED_IN = ("NIR206", "NIR207")
"""What nearly every graph here leaves out; see test_repairs.py."""


def codes(shaped: ShapedGraph) -> list[tuple[str, str | None, str | None]]:
    """What was found beyond shapes that were filled in."""
    told: list[Finding] = [f for f in shaped.findings if f.code not in FILLED_IN]
    return [(finding.code, finding.node, finding.parameter) for finding in told]


def refusals(graph: nir.NIRGraph) -> list[tuple[str, str | None, str]]:
    with pytest.raises(ShapeError) as caught:
        infer_shapes(graph)
    assert all(finding.severity == "error" for finding in caught.value.findings)
    return [(finding.code, finding.node, finding.message) for finding in caught.value.findings]


# ------------------------------------------------------------------------ every node type


def every_neuron(*shape: int) -> list[nir.NIRNode]:
    one = ones(*shape)
    return [
        nir.I(one),
        nir.IF(one, one),
        nir.LI(one, one, one),
        nir.LIF(one, one, one, one),
        nir.CubaLI(one, one, one, one),
        nir.CubaLIF(one, one, one, one, one),
        nir.Scale(one),
        nir.Threshold(one),
        nir.Delay(one),
    ]


@pytest.mark.parametrize("node", every_neuron(2, 3), ids=lambda node: type(node).__name__)
def test_elementwise_nodes_keep_the_shape(node: nir.NIRNode) -> None:
    shaped = infer_shapes(chain((2, 3), node))
    assert shapes(shaped)["n0"] == ((2, 3), (2, 3))
    assert shapes(shaped)["output"] == ((2, 3), (2, 3))
    assert codes(shaped) == []


RULES = [
    (nir.Linear(ones(4, 3)), (3,), (4,)),
    (nir.Affine(ones(4, 3), ones(4)), (3,), (4,)),
    (nir.Linear(ones(5, 4, 3)), (5, 3), (5, 4)),
    (conv1d((4, 2, 3)), (2, 9), (4, 7)),
    (conv1d((4, 2, 3), 2, 1, 2), (2, 9), (4, 4)),
    (conv1d((4, 2, 3), padding="same"), (2, 9), (4, 9)),
    (conv1d((4, 2, 3), padding="valid"), (2, 9), (4, 7)),
    (conv1d((4, 2, 3), np.array([2]), np.array(1), np.array([1]), np.array(2)), (4, 9), (4, 5)),
    (conv2d((4, 2, 3, 3)), (2, 8, 9), (4, 6, 7)),
    (conv2d((4, 2, 1, 3)), (2, 8, 9), (4, 8, 7)),
    (conv2d((4, 2, 3, 5), (2, 1), (1, 2)), (2, 8, 9), (4, 4, 9)),
    (conv2d((4, 2, 3, 3), 1, 0, (2, 3)), (2, 8, 9), (4, 4, 3)),
    (conv2d((4, 1, 3, 3), groups=2), (2, 8, 9), (4, 6, 7)),
    (conv2d((4, 2, 2, 3), padding="same", dilation=2), (2, 8, 9), (4, 8, 9)),
    (conv2d((4, 2, 3, 3), padding=np.array("same")), (2, 8, 9), (4, 8, 9)),
    (nir.SumPool2d(np.array([2, 3]), np.array([2, 3]), np.array([0, 0])), (5, 8, 9), (5, 4, 3)),
    (nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 0])), (5, 8, 9), (5, 5, 4)),
    (nir.SumPool2d(2, 2, 0), (5, 9, 9), (5, 4, 4)),
    (flatten((2, 3, 4), 0), (2, 3, 4), (24,)),
    (flatten((2, 3, 4), 1), (2, 3, 4), (2, 12)),
    (flatten((2, 3, 4), 0, 1), (2, 3, 4), (6, 4)),
    (flatten((2, 3, 4), -2), (2, 3, 4), (2, 12)),
    (flatten(None, 0), (2, 3, 4), (24,)),
]


@pytest.mark.parametrize(("node", "taken", "given"), RULES)
def test_the_rule_of_a_node_type(node: nir.NIRNode, taken: Shape, given: Shape) -> None:
    shaped = infer_shapes(chain(taken, node))
    assert shapes(shaped)["n0"] == (taken, given)
    assert shapes(shaped)["output"] == (given, given)
    assert codes(shaped) == []


def test_a_matrix_acts_on_the_last_axis_of_what_a_neuron_gives() -> None:
    shaped = infer_shapes(chain((5, 3), lif(5, 3), nir.Linear(ones(4, 3))))
    assert shapes(shaped)["n1"] == ((5, 3), (5, 4))


def test_every_nir_type_has_a_rule_here() -> None:
    tested = {type(node) for node in every_neuron(1)} | {type(node) for node, _, _ in RULES}
    tested |= {nir.Input, nir.Output, nir.NIRGraph}
    types = [kind for kind in vars(nir.ir).values() if isinstance(kind, type)]
    types = {kind for kind in types if issubclass(kind, nir.NIRNode)}
    assert types - tested - {nir.NIRNode} == set()


class Custom(nir.NIRNode):
    """A type of somebody else's, which says its own shapes."""

    def __init__(self, taken: Shape | None, given: Shape | None) -> None:
        self.input_type = {"input": None if taken is None else np.array(taken)}
        self.output_type = {"output": None if given is None else np.array(given)}


def test_a_type_of_somebody_elses_gives_what_it_says() -> None:
    shaped = infer_shapes(chain((3,), Custom((3,), (7,))))
    assert shapes(shaped)["output"] == ((7,), (7,))


# ---------------------------------------------------------------------- stale declarations


def test_two_weights_win_over_what_an_input_declares() -> None:
    nodes = {**ports((99,)), "a": nir.Linear(ones(4, 3)), "b": nir.Linear(ones(4, 3))}
    shaped = infer_shapes(graph_of(nodes, "input a output, input b output"))
    assert shapes(shaped)["input"] == ((3,), (3,))
    assert codes(shaped) == [("NIR202", "input", "shape")]
    assert shaped.findings[0].message == "declares the shape (99,), but feeds (3,)"
    assert shaped.findings[0].hint == "taken as (3,)"
    assert shaped.findings[0].repair == "stale-shape"


@pytest.mark.parametrize("node", [nir.Affine(ones(4, 3), ones(4)), lif(3)])
def test_two_places_win_over_what_an_output_declares(node: nir.NIRNode) -> None:
    shaped = infer_shapes(chain((3,), node, wanted=(98,)))
    assert codes(shaped) == [("NIR202", "output", "shape")]


@pytest.mark.parametrize(
    ("given", "node", "wanted"),
    [
        ((99,), nir.Linear(ones(4, 3)), (98,)),
        ((99,), nir.Linear(ones(4, 3)), (4,)),
        ((99,), nir.Linear(ones(4, 3)), None),
        ((5,), nir.Linear(ones(5, 2)), (2,)),
        ((5,), nir.Linear(ones(5, 2)), None),
        ((3,), nir.Linear(ones(4, 3)), (98,)),
        ((9,), lif(4), (9,)),
        ((9,), nir.Scale(ones(4)), (9,)),
        ((9,), nir.Scale(ones(4)), None),
    ],
)
def test_one_place_against_another_is_refused(
    given: Shape, node: nir.NIRNode, wanted: Shape | None
) -> None:
    """Either could be the one that is wrong: a weight that is transposed, say."""
    assert {code for code, _, _ in refusals(chain(given, node, wanted=wanted))} == {"NIR203"}


def test_a_transposed_weight_is_called_one() -> None:
    shaped = inferred(chain((5,), nir.Linear(ones(5, 2)), wanted=(2,)))
    (error,) = errors_in(shaped.findings)
    assert error.message == (
        "Linear has weights for inputs of shape (2,) (and gives (5,)), but its input has (5,)"
    )
    assert error.hint == (
        "it looks transposed: what comes in has (5,), what follows (2,), and a weight of NIR has "
        "the axes (outputs, inputs)"
    )


def test_a_weight_acts_on_the_last_axis_behind_an_input_too() -> None:
    shaped = infer_shapes(chain((3, 5), nir.Linear(ones(2, 5)), lif(3, 2), wanted=(3, 2)))
    assert shapes(shaped)["n0"] == ((3, 5), (3, 2))
    assert codes(shaped) == []


def test_what_follows_says_that_an_axis_in_front_is_the_batch() -> None:
    shaped = infer_shapes(chain((3, 5), nir.Linear(ones(2, 5)), lif(2), wanted=(3, 2)))
    assert shapes(shaped)["n0"] == ((5,), (2,))
    assert codes(shaped) == [("NIR202", "input", "shape"), ("NIR202", "output", "shape")]


@pytest.mark.parametrize(
    ("shape", "layer"), [((1, 2, 3), (2, 3)), ((1, 1, 4), (4,)), ((3, 1), (3,)), ((4,), (1, 4))]
)
def test_axes_of_one_in_the_parameters_of_a_neuron(shape: Shape, layer: Shape) -> None:
    graph = chain(layer, nir.Scale(ones(*layer)), lif(*shape), wanted=layer)
    shaped = infer_shapes(graph)
    assert codes(shaped) == [("NIR208", "n1", None)]
    assert shaped.findings[0].repair == "size-one-axes"
    node = shaped.graph.nodes["n1"]
    assert {np.shape(getattr(node, n)) for n in ("tau", "r", "v_leak", "v_reset")} == {layer}


@pytest.mark.parametrize("shape", [(2,), (3,), (2, 3)])
def test_an_axis_is_never_chosen_because_lengths_agree(shape: Shape) -> None:
    ((code, node, message),) = refusals(chain((2, 3, 2), nir.Scale(ones(2, 3, 2)), lif(*shape)))
    assert (code, node) == ("NIR203", "n1")
    assert message == f"LIF has parameters of shape {shape}, but its input has (2, 3, 2)"
    (error,) = errors_in(inferred(chain((2, 3, 2), nir.Scale(ones(2, 3, 2)), lif(2))).findings)
    assert error.hint == (
        "each could be meant for axis 0 or axis 2: say which, by the shape (2, 1, 1) or (1, 1, 2)"
    )


def test_a_neuron_settles_its_input_unless_one_value_may_be_for_a_whole_layer() -> None:
    assert shapes(infer_shapes(chain((9,), lif(4))))["input"] == ((4,), (4,))
    shaped = infer_shapes(chain((9,), lif(1)))
    assert shapes(shaped)["input"] == ((9,), (9,))
    assert codes(shaped) == []


@pytest.mark.parametrize("node", [conv2d((4, 2, 3, 3)), nir.SumPool2d(3, 1, 0)])
def test_an_input_that_counts_a_batch_axis(node: nir.NIRNode) -> None:
    shaped = infer_shapes(chain((1, 2, 8, 9), node))
    assert shapes(shaped)["n0"][0] == (2, 8, 9)
    assert codes(shaped) == [("NIR202", "input", "shape")]


def test_a_batch_axis_of_any_size_is_recognised_before_a_convolution() -> None:
    shaped = infer_shapes(chain((2, 2, 8, 9), conv2d((4, 2, 3, 3)), wanted=(2, 4, 6, 7)))
    assert shapes(shaped)["n0"][0] == (2, 8, 9)
    assert codes(shaped) == [("NIR202", "input", "shape"), ("NIR202", "output", "shape")]


def test_a_convolution_gets_the_input_shape_that_it_lacks() -> None:
    shaped = infer_shapes(chain((2, 8, 9), conv2d((4, 2, 3, 3)), conv2d((3, 4, 2, 2))))
    assert shaped.graph.nodes["n1"].input_shape == (6, 7)
    one = infer_shapes(chain((2, 8), conv1d((4, 2, 3))))
    assert one.graph.nodes["n0"].input_shape == 8


def test_a_convolution_that_declares_another_input_shape() -> None:
    node = nir.Conv2d((5, 5), ones(4, 2, 3, 3), 1, 0, 1, 1, None)
    shaped = infer_shapes(chain((2, 8, 9), node))
    assert shapes(shaped)["n0"] == ((2, 8, 9), (4, 6, 7))
    assert codes(shaped) == [("NIR202", "n0", "input_shape")]


# ------------------------------------------------------------- Flatten and the batch axis


@pytest.mark.parametrize(
    ("graph", "given"),
    [
        pytest.param(chain((2, 3), flatten(None), nir.Linear(ones(4, 6))), (6,), id="by Linear"),
        pytest.param(chain((2, 3), flatten(None), lif(6)), (6,), id="by a neuron"),
        pytest.param(chain((2, 3), flatten(None), wanted=(6,)), (6,), id="by the Output"),
        pytest.param(chain((2, 3), flatten((1, 2, 3))), (6,), id="by its own input_type"),
        pytest.param(chain((6,), flatten(None)), (6,), id="as nothing else is possible"),
        pytest.param(chain((2, 3, 4), flatten(None, 1, 2), lif(6, 4)), (6, 4), id="the end too"),
        pytest.param(chain((5, 2, 3), flatten(None, 2), lif(5, 6)), (5, 6), id="from axis 2"),
    ],
)
def test_a_flatten_that_counts_the_batch_axis(graph: nir.NIRGraph, given: Shape) -> None:
    shaped = infer_shapes(graph)
    assert shapes(shaped)["n0"][1] == given
    assert codes(shaped) == [("NIR204", "n0", "start_dim")]
    before, after = graph.nodes["n0"], shaped.graph.nodes["n0"]
    assert after.start_dim == before.start_dim - 1
    assert after.end_dim == (before.end_dim if before.end_dim < 0 else before.end_dim - 1)


@pytest.mark.parametrize(
    ("graph", "given"),
    [
        pytest.param(chain((2, 3, 4), flatten(None)), (2, 12), id="nothing says so"),
        pytest.param(chain((2, 3, 4), flatten(None), lif(2, 12)), (2, 12), id="a neuron agrees"),
        pytest.param(chain((2, 3, 4), flatten(None, 0), lif(24)), (24,), id="from axis 0"),
        pytest.param(chain((1, 6), flatten((1, 6)), lif(1)), (1, 6), id="a first axis of one"),
    ],
)
def test_a_flatten_that_does_not_count_it(graph: nir.NIRGraph, given: Shape) -> None:
    shaped = infer_shapes(graph)
    assert shapes(shaped)["n0"][1] == given
    assert codes(shaped) == []


def test_a_flatten_of_axes_that_are_not_there() -> None:
    ((code, node, message),) = refusals(chain((2, 3), flatten(None, 0, 4)))
    assert (code, node) == ("NIR203", "n0")
    assert "from axis 0 to 4 does not fit the shape (2, 3)" in message


# ------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (chain((5,), lif(1), lif(4)), "has parameters of shape (4,), but its input has (5,)"),
        (chain((1,), nir.Scale(ones(1)), lif(4)), "has parameters of shape (4,)"),
        (chain((4, 5), nir.Scale(ones(4, 5)), lif(5)), "has parameters of shape (5,)"),
        (chain((4,), lif(4), nir.Linear(ones(2, 1))), "has weights for inputs of shape (1,)"),
        (chain((5, 2), lif(5, 2), nir.Linear(ones(4, 3, 2))), "has weights for inputs"),
        (chain((3, 8, 8), conv2d((4, 2, 3, 3))), "with 2 channels, not the shape (3, 8, 8)"),
        (chain((3, 8), conv1d((4, 2, 3))), "with 2 channels, not the shape (3, 8)"),
        (chain((2, 8, 8), conv2d((4, 2, 9, 3))), "has a kernel (9, 3) larger than its input"),
        (chain((2, 8, 8), conv2d((4, 2, 3, 3), 2, "same")), "'same' with a stride"),
        (chain((2, 8, 8), conv2d((4, 2, 3, 3), (1, 2, 3))), "neither a number nor a pair"),
        (chain((2, 8, 8), conv2d((4, 2, 3, 3), 1.5)), "is not a whole number"),
        (chain((2, 8, 8), conv2d((4, 2, 3, 3), np.inf)), "is not finite"),
        (chain((2, 8, 8), conv2d((4, 2, 3, 3), None)), "is not a whole number"),
        (chain((2, 8, 8), conv2d((4, 2, 3, 3), 0)), "stride (0, 0)"),
        (chain((2, 8, 8), conv2d((4, 2, 3, 3), padding=-1)), "padding (-1, -1)"),
        (chain((2, 8), conv1d((4, 2, 3), (1, 2))), "is not one number"),
        (chain((7,), nir.SumPool2d(2, 2, 0)), "takes (channels, height, width)"),
    ],
)
def test_shapes_that_contradict_each_other(graph: nir.NIRGraph, text: str) -> None:
    found = refusals(graph)
    assert [code for code, _, _ in found] == ["NIR203"]
    assert text in found[0][2]


def test_all_contradictions_are_listed_at_once() -> None:
    inner = chain((4,), lif(1), lif(5))
    nodes = {
        **ports((3,)),
        "a": lif(3),
        "b": lif(4),
        "w": nir.Linear(ones(6, 9)),
        "inner": inner,
        "merge": lif(1),
    }
    found = refusals(graph_of(nodes, "input a b inner output, a w, b merge, w merge"))
    assert {node for _, node, _ in found} == {"b", "w", "inner/n1", "merge"}
    assert len(found) == 4


def test_edges_of_several_shapes_do_not_meet() -> None:
    nodes = {**ports((3,)), "w": nir.Linear(ones(1, 3)), "v": nir.Linear(ones(4, 3)), "m": lif(1)}
    ((_, node, message),) = refusals(graph_of(nodes, "input w m output, input v m"))
    assert node == "m"
    assert "takes the shape (" in message
    assert "(1,)" in message
    assert "(4,)" in message


def test_garbage_in_a_convolution_that_nothing_reaches_is_a_finding_too() -> None:
    node = conv2d((4, 2, 3, 3), groups=0.5)
    node.input_shape = (8, 8)
    nodes = {**ports((3,)), "c": node}
    found = refusals(graph_of(nodes, "input output, c output"))
    assert [(code, where) for code, where, _ in found] == [("NIR203", "c")]


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.array(3), np.array([3]), (3,)])
def test_numbers_however_a_file_writes_them(value: Any) -> None:
    assert single(value) == 3
    assert pair(value) == (3, 3)
    assert type(pair(value)[0]) is int


# ----------------------------------------------------------- cycles, nests and the unknown


def test_shapes_go_around_a_loop_once() -> None:
    nodes = {**ports((3,)), "lif": lif(1), "w": nir.Linear(ones(3, 3)), "d": nir.Delay(ones(1))}
    shaped = infer_shapes(graph_of(nodes, "input lif output, lif w d lif"))
    assert set(shapes(shaped).values()) == {((3,), (3,))}


def test_a_loop_that_does_not_close() -> None:
    nodes = {**ports((3,)), "lif": lif(3), "w": nir.Linear(ones(4, 3))}
    ((_, node, message),) = refusals(graph_of(nodes, "input lif output, lif w lif"))
    assert node == "lif"
    assert message == "takes the shape (3,), but 'w' gives it (4,)"


def test_a_nested_graph_takes_what_arrives() -> None:
    inner = chain((99,), lif(1), nir.Linear(ones(4, 3)))
    shaped = infer_shapes(chain((3,), nir.Linear(ones(3, 3)), inner))
    nested = shaped.graph.nodes["n1"]
    assert (input_shape(nested), output_shape(nested)) == ((3,), (4,))
    assert input_shape(nested.nodes["n0"]) == (3,)
    assert codes(shaped) == [("NIR202", "n1/input", "shape")]
    assert shapes(shaped)["output"] == ((4,), (4,))


def test_a_nested_graph_knows_itself_where_nothing_known_arrives() -> None:
    inner = chain(None, nir.Linear(ones(4, 3)))
    nodes = {**ports(None), "a": chain(None, lif(1)), "z": inner, "b": chain(None, lif(1))}
    shaped = infer_shapes(graph_of(nodes, "input z a b output"))
    assert shapes(shaped) == {
        "input": ((3,), (3,)),
        "z": ((3,), (4,)),
        "a": ((4,), (4,)),
        "b": ((4,), (4,)),
        "output": ((4,), (4,)),
    }
    assert input_shape(shaped.graph.nodes["b"].nodes["n0"]) == (4,)


@pytest.mark.parametrize("names", ["a b", "b a"])
def test_nested_graphs_in_a_loop_without_a_known_input(names: str) -> None:
    first, second = names.split()
    nodes = {
        **ports(None),
        first: chain(None, nir.Linear(ones(4, 3))),
        second: chain(None, nir.Linear(ones(5, 4))),
    }
    ((_, node, _),) = refusals(graph_of(nodes, f"input {first} {second} output, {second} {first}"))
    assert node == first


def test_unknown_shapes_stay_unknown() -> None:
    shaped = infer_shapes(chain(None, lif(1), nir.Scale(ones()), conv2d((4, 2, 3, 3))))
    assert set(shapes(shaped).values()) == {(None, None)}
    assert codes(shaped) == []


def test_what_is_known_later_goes_back_to_what_keeps_shapes() -> None:
    shaped = infer_shapes(chain(None, lif(1), nir.Scale(ones(1)), nir.Linear(ones(4, 3))))
    assert shapes(shaped)["input"] == ((3,), (3,))
    assert shapes(shaped)["n0"] == ((3,), (3,))
    assert codes(shaped) == []


def test_a_node_without_input_has_the_shape_of_its_parameters() -> None:
    nodes = {**ports((3,)), "alone": lif(1), "w": nir.Linear(ones(3, 1))}
    shaped = infer_shapes(graph_of(nodes, "input output, alone w output"))
    assert shapes(shaped)["alone"] == ((1,), (1,))


def test_a_convolution_says_what_it_takes_where_the_input_does_not() -> None:
    node = nir.Conv2d((8, 9), ones(4, 1, 3, 3), 1, 0, 1, 2, None)
    shaped = infer_shapes(chain(None, node))
    assert shapes(shaped)["n0"] == ((2, 8, 9), (4, 6, 7))


# ------------------------------------------------------------------- the graph is not changed


def test_the_given_graph_is_never_changed() -> None:
    inner = chain((98,), flatten(None), nir.Linear(ones(7, 24)))
    conv = conv2d((4, 1, 3, 3), groups=2)
    graph = chain((1, 2, 5, 4), conv, lif(1), inner, wanted=(99,))
    graph.edges = [list(edge) for edge in graph.edges]
    before, kept = contents(graph), copy.deepcopy(graph)
    graph.edges = [tuple(edge) for edge in graph.edges]
    shaped = infer_shapes(graph)
    graph.edges = [list(edge) for edge in graph.edges]
    assert contents(graph) == before == contents(kept)
    assert {code for code, _, _ in codes(shaped)} == {"NIR202", "NIR204"}
    assert contents(shaped.graph) != before


@pytest.mark.parametrize("bias", [ones(), ones(1), ones(1, 1)])
def test_a_bias_of_one_value_is_for_all_outputs(bias: np.ndarray) -> None:
    affine, conv = nir.Affine(ones(4, 3), bias), conv1d((4, 2, 3))
    conv.bias = bias
    for graph in (chain((3,), affine), chain((2, 9), conv)):
        shaped = inferred(graph)
        assert ("NIR206", "n0", "bias") in [(f.code, f.node, f.parameter) for f in shaped.findings]
        assert shaped.graph.nodes["n0"].bias.shape == (4,)


# ---------------------------------------------------------------- what lies further ahead


def test_a_nest_settles_the_input_that_feeds_it() -> None:
    deep = chain(None, chain(None, nir.Linear(ones(4, 3))))
    assert shapes(infer_shapes(chain(None, deep)))["input"] == ((3,), (3,))
    shaped = infer_shapes(chain((1, 3), deep, lif(4)))
    assert shapes(shaped)["input"] == ((3,), (3,))
    assert codes(shaped) == [("NIR202", "input", "shape")]


@pytest.mark.parametrize(
    "after",
    [
        [lif(1), nir.Linear(ones(4, 6))],
        [nir.Scale(ones()), lif(1), nir.Threshold(ones()), lif(6)],
        [chain(None, nir.Linear(ones(4, 6)))],
    ],
)
def test_a_flatten_is_judged_by_what_comes_after_what_keeps_shapes(after: Any) -> None:
    shaped = infer_shapes(chain((2, 3), flatten(None), *after))
    assert shapes(shaped)["n0"] == ((2, 3), (6,))
    assert codes(shaped) == [("NIR204", "n0", "start_dim")]
