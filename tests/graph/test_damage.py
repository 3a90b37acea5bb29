"""From random sound graphs, damage of one kind: what is repaired gives the numbers of the sound
one.

Or it is refused. There is no third: a file that converts, warning or not, to other numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from files import Tree, graph, inlet, model, outlet, write
from networks import module_of
from sequences import run_steps

from nirtorch_cli.findings.errors import NirtorchError

Random = np.random.Generator
SEEDS = range(8)


# ---------------------------------------------------------------------------- sound graphs


def neuron(random: Random, kind: str, shape: tuple[int, ...]) -> Tree:
    """Parameters that differ from neuron to neuron, so that a wrong axis gives other numbers."""

    def some(low: float, high: float) -> np.ndarray:
        return random.uniform(low, high, shape)

    node: Tree = {"type": kind, "r": some(0.5, 2)}
    if kind in ("LIF", "LI"):
        node |= {"tau": some(3e-4, 2e-3), "v_leak": some(-0.1, 0.1)}
    if kind.startswith("Cuba"):
        node |= {"tau_mem": some(3e-4, 2e-3), "tau_syn": some(3e-4, 2e-3)}
        node |= {"v_leak": some(-0.1, 0.1), "w_in": some(0.5, 2)}
    if kind in ("LIF", "IF", "CubaLIF"):
        node |= {"v_threshold": some(0.2, 0.6), "v_reset": some(-0.2, 0.0)}
    return node


KINDS = ("LIF", "IF", "CubaLIF", "LI")


def affine(random: Random, outputs: int, inputs: int) -> Tree:
    weight = random.normal(0.3, 1, (outputs, inputs))
    if random.random() < 0.5:
        return {"type": "Linear", "weight": weight}
    return {"type": "Affine", "weight": weight, "bias": random.normal(0, 0.3, outputs)}


def dense(random: Random) -> Tree:
    sizes = random.integers(2, 6, random.integers(2, 4))
    nodes: Tree = {"input": inlet(int(sizes[0]))}
    for number, (inputs, outputs) in enumerate(pairwise(sizes.tolist())):
        nodes[f"w{number}"] = affine(random, outputs, inputs)
        nodes[f"n{number}"] = neuron(random, random.choice(KINDS), (outputs,))
    nodes["output"] = outlet(int(sizes[-1]))
    return model(nodes, list(pairwise(nodes)))


def convolutional(random: Random) -> Tree:
    channels, size = int(random.integers(1, 3)), int(random.integers(5, 8))
    deep = int(random.integers(2, 4))
    inside = size - 2
    flat = deep * inside * inside
    nodes: Tree = {
        "input": inlet(channels, size, size),
        "conv": {
            "type": "Conv2d",
            "weight": random.normal(0.2, 1, (deep, channels, 3, 3)),
            "bias": random.normal(0, 0.3, deep),
            "stride": np.array([1, 1]),
            "padding": np.array([0, 0]),
            "dilation": np.array([1, 1]),
            "groups": 1,
            "input_shape": np.array([size, size]),
        },
        "n": neuron(random, random.choice(KINDS), (deep, inside, inside)),
        "flat": {
            "type": "Flatten",
            "input_type": np.array([deep, inside, inside]),
            "start_dim": 0,
            "end_dim": -1,
        },
        "w": affine(random, 3, flat),
        "m": neuron(random, random.choice(KINDS), (3,)),
        "output": outlet(3),
    }
    return model(nodes, list(pairwise(nodes)))


def recurrent(random: Random) -> Tree:
    inputs, size = int(random.integers(2, 5)), int(random.integers(2, 5))
    inside = {
        "input": inlet(size),
        "lif": neuron(random, random.choice(("LIF", "CubaLIF")), (size,)),
        "w_rec": affine(random, size, size),
        "output": outlet(size),
    }
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    nodes = {
        "input": inlet(inputs),
        "w": affine(random, size, inputs),
        "net": graph(inside, edges),
        "v": affine(random, 2, size),
        "output": outlet(2),
    }
    return model(nodes, list(pairwise(nodes)))


SOUND: dict[str, Callable[[Random], Tree]] = {
    "dense": dense,
    "convolutional": convolutional,
    "recurrent": recurrent,
}


# ---------------------------------------------------------------------------------- damage


def nodes_of(tree: Tree) -> Tree:
    nodes: Tree = tree["node"]["nodes"]
    return nodes


def some_node(random: Random, tree: Tree, *kinds: str) -> tuple[str, Tree]:
    """A node of one of these types, nested ones too; the name of its own graph's."""
    found = [(name, node) for name, node in nodes_of(tree).items() if node["type"] in kinds]
    for node in nodes_of(tree).values():
        if node["type"] == "NIRGraph":
            found += [(n, inner) for n, inner in node["nodes"].items() if inner["type"] in kinds]
    if not found:
        pytest.skip("no such node in this graph")
    name, node = found[random.integers(len(found))]
    return str(name), node


def parameters(node: Tree) -> list[str]:
    return [name for name in node if name != "type"]


def batch_in_a_port(random: Random, tree: Tree) -> None:
    for name in ("input", "output") if random.random() < 0.5 else ("input",):
        port = nodes_of(tree)[name]
        port["shape"] = np.array([random.integers(1, 6), *port["shape"]])


def axis_of_one_in_a_port(random: Random, tree: Tree) -> None:
    port = nodes_of(tree)[random.choice(["input", "output"])]
    port["shape"] = np.insert(port["shape"], random.integers(len(port["shape"]) + 1), 1)


def another_size_in_a_port(random: Random, tree: Tree) -> None:
    port = nodes_of(tree)[random.choice(["input", "output"])]
    port["shape"] = port["shape"].copy()
    port["shape"][random.integers(len(port["shape"]))] += random.choice([-1, 1, 2])


def batch_in_a_neuron(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, *KINDS)
    for name in parameters(node):
        node[name] = node[name][None]


def axis_of_one_in_a_parameter(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, *KINDS)
    name = random.choice(parameters(node))
    node[name] = np.expand_dims(node[name], random.integers(node[name].ndim + 1))


def one_value_for_a_layer(random: Random, tree: Tree) -> None:
    """The sound graph has one value too: in full."""
    _, node = some_node(random, tree, *KINDS)
    name = random.choice(parameters(node))
    node[name] = np.array(float(node[name].flat[0]))


def matrix_for_a_vector(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, *KINDS)
    name = random.choice(parameters(node))
    node[name] = np.multiply.outer(node[name], node[name])


def vector_for_a_layer(random: Random, tree: Tree) -> None:
    """Of a layer with several axes a parameter for one of them, which is not said."""
    _, node = some_node(random, tree, *KINDS)
    name = random.choice(parameters(node))
    axis = random.integers(node[name].ndim)
    node[name] = np.moveaxis(node[name], axis, 0).reshape(node[name].shape[axis], -1)[:, 0]


def transposed_weight(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, "Linear", "Affine")
    node["weight"] = np.ascontiguousarray(node["weight"].T)
    if node["weight"].shape[0] == node["weight"].shape[1]:
        pytest.skip("a square weight: nothing could tell")


def weight_of_four_axes(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, "Linear", "Affine")
    node["weight"] = node["weight"][..., None, None]


def weight_that_lost_a_row(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, "Linear", "Affine")
    axis = random.integers(2)
    node["weight"] = np.delete(node["weight"], 0, axis)


def cut_bias(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, "Affine", "Conv2d")
    node["bias"] = node["bias"][:-1]
    if node["bias"].size == 1:
        pytest.skip("one value is for all outputs")


def neuron_that_lost_one(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, *KINDS)
    for name in parameters(node):
        node[name] = np.delete(node[name], 0, -1)
    if node["r"].size == 1:
        pytest.skip("one value is for a whole layer")


def edge_twice(random: Random, tree: Tree) -> None:
    edges = tree["node"]["edges"]
    edges.append(edges[random.integers(len(edges))])


def renamed_node(random: Random, tree: Tree) -> None:
    nodes = nodes_of(tree)
    name = random.choice(list(nodes))
    tree["node"]["nodes"] = {("renamed" if n == name else n): node for n, node in nodes.items()}


def missing_port(random: Random, tree: Tree) -> None:
    name = random.choice(["input", "output"])
    del nodes_of(tree)[name]
    if random.random() < 0.5:
        tree["node"]["edges"] = [edge for edge in tree["node"]["edges"] if name not in edge]


def missing_edge(random: Random, tree: Tree) -> None:
    del tree["node"]["edges"][random.integers(len(tree["node"]["edges"]))]


def flat_nest(random: Random, tree: Tree) -> None:
    nodes = nodes_of(tree)
    if "net" not in nodes:
        pytest.skip("no nest in this graph")
    nest = nodes.pop("net")
    nodes |= {f"net.{name}": node for name, node in nest["nodes"].items()}
    tree["node"]["edges"] += [(f"net.{s}", f"net.{t}") for s, t in nest["edges"]]


def slash(random: Random, tree: Tree) -> None:
    name = random.choice([n for n in nodes_of(tree) if n not in ("input", "output")])
    nodes = nodes_of(tree)
    tree["node"]["nodes"] = {(f"a/{n}" if n == name else n): node for n, node in nodes.items()}
    tree["node"]["edges"] = [
        tuple(f"a/{end}" if end == name else end for end in edge) for edge in tree["node"]["edges"]
    ]


def flatten_that_counts_the_batch(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, "Flatten")
    node["start_dim"] = 1
    if random.random() < 0.5:
        node["input_type"] = np.array([1, *node["input_type"]])


def stale_convolution(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, "Conv2d")
    node["input_shape"] = node["input_shape"] + random.integers(1, 4)


def no_convolution_shape(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, "Conv2d")
    del node["input_shape"]


def another_spelling(random: Random, tree: Tree) -> None:
    _, node = some_node(random, tree, *KINDS, "Linear", "Affine", "Conv2d", "Flatten")
    node["type"] = random.choice([str.upper, str.lower, str.title])(node["type"])


DAMAGE = (
    batch_in_a_port,
    axis_of_one_in_a_port,
    another_size_in_a_port,
    batch_in_a_neuron,
    axis_of_one_in_a_parameter,
    one_value_for_a_layer,
    matrix_for_a_vector,
    vector_for_a_layer,
    transposed_weight,
    weight_of_four_axes,
    weight_that_lost_a_row,
    cut_bias,
    neuron_that_lost_one,
    edge_twice,
    renamed_node,
    missing_port,
    missing_edge,
    flat_nest,
    slash,
    flatten_that_counts_the_batch,
    stale_convolution,
    no_convolution_shape,
    another_spelling,
)

REPAIRABLE = {
    "batch_in_a_port",
    "batch_in_a_neuron",
    "axis_of_one_in_a_port",
    "edge_twice",
    "flat_nest",
    "slash",
    "no_convolution_shape",
    "another_spelling",
    "flatten_that_counts_the_batch",
    "stale_convolution",
}
"""Damage of these kinds is repaired whatever the graph."""

REFUSED = {
    "matrix_for_a_vector",
    "transposed_weight",
    "weight_of_four_axes",
    "weight_that_lost_a_row",
    "cut_bias",
    "neuron_that_lost_one",
}
"""Damage of these kinds has lost what was meant."""


def outputs(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """What a file gives for random input, (T, B, values)."""
    module: Any = module_of(path, {}, dtype=torch.float64)
    (name,) = module.meta["inputs"]
    taken = module.meta["shapes"][name][1]
    xs = torch.rand((25, 2, *shape), generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        return run_steps(module, xs.reshape(25, 2, *taken)).outputs.numpy().reshape(25, 2, -1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_repaired_to_the_same_numbers_or_refused(
    damage: Callable[[Random, Tree], None], kind: str, seed: int, tmp_path: Path
) -> None:
    random = np.random.default_rng([seed, len(kind)])
    sound = SOUND[kind](random)
    broken = copy.deepcopy(sound)
    damage(random, broken)
    if damage is one_value_for_a_layer:
        sound = in_full(sound, broken)
    shape = tuple(nodes_of(sound)["input"]["shape"].tolist())
    expected = outputs(write(tmp_path / "sound.nir", sound), shape)
    assert np.any(expected != 0)
    refusal, actual = None, expected
    try:
        actual = outputs(write(tmp_path / "broken.nir", broken), shape)
    except NirtorchError as error:
        refusal = error
    if refusal is not None:
        assert damage.__name__ not in REPAIRABLE, str(refusal)
        assert refusal.exit_code in (1, 3)
        return
    assert damage.__name__ not in REFUSED
    np.testing.assert_array_equal(actual, expected)


def in_full(sound: Tree, broken: Tree) -> Tree:
    """The sound graph with the value that stands for a layer in the broken one in each place."""
    full = copy.deepcopy(sound)

    def fill(nodes: Tree, others: Tree) -> None:
        for name, node in nodes.items():
            if node["type"] == "NIRGraph":
                fill(node["nodes"], others[name]["nodes"])
                continue
            for field, value in node.items():
                other = others[name][field]
                if field != "type" and np.ndim(value) and not np.ndim(other):
                    node[field] = np.full_like(value, other)

    fill(nodes_of(full), nodes_of(broken))
    return full
