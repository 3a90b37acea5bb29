"""Small networks of every structure, and how states are compared; what several tests share.

Each network spikes, in part, on inputs of size one. `DT` is its time step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli import NirtorchWarning, nir_to_torch
from nirtorch_cli.conversion.defaults import default_map

DT = 1e-3


def weights(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def lif(*shape: int) -> nir.LIF:
    size = int(np.prod(shape))
    return nir.LIF(
        tau=np.linspace(2e-3, 6e-3, size).reshape(shape),
        r=np.linspace(1.5, 3.0, size).reshape(shape),
        v_leak=np.linspace(-0.1, 0.1, size).reshape(shape),
        v_threshold=np.linspace(0.3, 0.6, size).reshape(shape),
        v_reset=np.linspace(-0.2, 0.1, size).reshape(shape),
    )


def cuba_lif(*shape: int) -> nir.CubaLIF:
    size = int(np.prod(shape))
    return nir.CubaLIF(
        tau_syn=np.linspace(3e-3, 2e-3, size).reshape(shape),
        tau_mem=np.linspace(2e-3, 6e-3, size).reshape(shape),
        r=np.linspace(2.0, 4.0, size).reshape(shape),
        v_leak=np.zeros(shape),
        v_threshold=np.linspace(0.3, 0.5, size).reshape(shape),
        w_in=np.linspace(1.0, 2.0, size).reshape(shape),
    )


def li(*shape: int) -> nir.LI:
    size = int(np.prod(shape))
    tau = np.linspace(3e-3, 5e-3, size).reshape(shape)
    return nir.LI(tau=tau, r=np.ones(shape), v_leak=np.full(shape, 0.1))


def ends(given: tuple[int, ...], taken: tuple[int, ...]) -> dict[str, nir.NIRNode]:
    return {"input": nir.Input(np.array(given)), "output": nir.Output(np.array(taken))}


def feedforward() -> nir.NIRGraph:
    """Every neuron type in a row; stateful and stateless nodes."""
    nodes = {
        **ends((3,), (2,)),
        "affine": nir.Affine(weights(4, 3), weights(4, seed=2)),
        "cuba": cuba_lif(4),
        "linear": nir.Linear(weights(4, 4, seed=3)),
        "sum": nir.I(np.full(4, 0.3)),
        "if": nir.IF(np.ones(4), np.full(4, 0.5)),
        "wait": nir.Delay(np.array([0, 1, 2, 1]) * DT),
        "readout": nir.Linear(weights(2, 4, seed=4)),
        "li": li(2),
    }
    names = ["input", "affine", "cuba", "linear", "sum", "if", "wait", "readout", "li", "output"]
    return nir.NIRGraph(nodes, list(pairwise(names)), type_check=False)


def convolutional() -> nir.NIRGraph:
    """Two convolutions with pooling between, flattened into a layer of neurons."""
    nodes = {
        **ends((1, 8, 8), (3,)),
        "conv": nir.Conv2d(None, weights(2, 1, 3, 3), 1, 1, 1, 1, weights(2)),
        "lif": lif(2, 8, 8),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "conv_2": nir.Conv2d(None, weights(2, 1, 2, 2), 2, "valid", 1, 2, None),
        "average": nir.AvgPool2d(np.array([2, 2]), np.array([1, 1]), np.array([1, 1])),
        "flatten": nir.Flatten(np.array([2, 3, 3]), 0, -1),
        "linear": nir.Linear(weights(3, 18)),
        "cuba": cuba_lif(3),
    }
    names = ["input", "conv", "lif", "pool", "conv_2", "average", "flatten", "linear", "cuba"]
    edges = [*pairwise(names), ("cuba", "output")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def recurrent() -> nir.NIRGraph:
    """Two loops: neurons that hear their own spikes, and a feedback without any neuron."""
    nodes = {
        **ends((3,), (2,)),
        "affine": nir.Affine(weights(4, 3), weights(4, seed=2)),
        "lif": lif(4),
        "back": nir.Affine(weights(4, 4, seed=3), np.full(4, 0.2)),
        "readout": nir.Linear(weights(2, 4, seed=4)),
        "echo": nir.Scale(np.array([0.5, -0.4])),
        "again": nir.Scale(np.array([0.9, 0.8])),
    }
    edges = [
        ("input", "affine"),
        ("affine", "lif"),
        ("lif", "back"),
        ("back", "lif"),
        ("lif", "readout"),
        ("readout", "echo"),
        ("echo", "again"),
        ("again", "echo"),
        ("echo", "output"),
    ]
    return nir.NIRGraph(nodes, edges, type_check=False)


def nested() -> nir.NIRGraph:
    """A recurrent graph inside a graph inside a graph, under names that Python cannot use."""
    middle = nir.NIRGraph(
        {**ends((3,), (2,)), "lambda": recurrent(), "0": lif(2)},
        [("input", "lambda"), ("lambda", "0"), ("0", "output")],
        type_check=False,
    )
    nodes = {**ends((3,), (2,)), "first.layer": lif(3), "middle": middle, "li": li(2)}
    edges = [("input", "first.layer"), ("first.layer", "middle"), ("middle", "li")]
    return nir.NIRGraph(nodes, [*edges, ("li", "output")], type_check=False)


def several_ends() -> nir.NIRGraph:
    """Two inputs that meet, two outputs, a shared neuron."""
    nodes = {
        "left": nir.Input(np.array([3])),
        "right": nir.Input(np.array([2])),
        "spikes": nir.Output(np.array([4])),
        "voltage": nir.Output(np.array([2])),
        "from_left": nir.Linear(weights(4, 3)),
        "from_right": nir.Affine(weights(4, 2, seed=5), weights(4)),
        "lif": lif(4),
        "readout": nir.Linear(weights(2, 4, seed=4)),
        "li": li(2),
    }
    edges = [
        ("left", "from_left"),
        ("right", "from_right"),
        ("from_left", "lif"),
        ("from_right", "lif"),
        ("lif", "spikes"),
        ("lif", "readout"),
        ("readout", "li"),
        ("li", "voltage"),
    ]
    return nir.NIRGraph(nodes, edges, type_check=False)


NETWORKS: dict[str, Callable[[], nir.NIRGraph]] = {
    function.__name__: function
    for function in (feedforward, convolutional, recurrent, nested, several_ends)
}


def module_of(*arguments: Any, **options: Any) -> Any:
    """`nir_to_torch` where a test is not about what is noticed of the graph, errors included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NirtorchWarning)
        return nir_to_torch(*arguments, on_error="warn", **options)


def converted(graph: nir.NIRGraph, **options: Any) -> Any:
    return module_of(graph, {}, default_map(dt=DT), **options)


def inputs(module: Any, steps: int, batch: int = 2, dtype: torch.dtype = torch.float32) -> Any:
    """For each step the arguments of a converted module, all different."""
    generator = torch.Generator().manual_seed(3)
    shapes = [module.meta["shapes"][name][0] for name in module.meta["inputs"]]
    return [
        tuple(torch.randn(batch, *shape, generator=generator).to(dtype) for shape in shapes)
        for _ in range(steps)
    ]


def run(module: Any, steps: list[tuple[Tensor, ...]], state: Any = None) -> list[tuple[Any, Any]]:
    """Output and state of each step."""
    results = []
    for arguments in steps:
        output, state = module(*arguments, state)
        results.append((output, state))
    return results


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """A nested dict, list or tuple as one dict from paths to what is in it."""
    if isinstance(tree, Mapping):
        items: Any = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    else:
        return {path: tree}
    found = {path + "/": type(tree).__name__} if not tree else {}
    for key, value in items:
        found |= flat(value, f"{path}/{key}")
    return found


def assert_same(actual: Any, expected: Any) -> None:
    """Two outputs or states: one structure, and tensors equal in dtype, device and every bit."""
    left, right = flat(actual), flat(expected)
    assert list(left) == list(right)
    assert any(isinstance(value, Tensor) for value in right.values()), "nothing to compare"
    for path, value in right.items():
        if isinstance(value, Tensor):
            other = left[path]
            assert isinstance(other, Tensor), path
            assert (other.dtype, other.device) == (value.dtype, value.device), path
            assert other.shape == value.shape, path
            assert torch.equal(other, value), path
            assert torch.isfinite(value).all(), path
        else:
            assert left[path] == value, path


def contents(value: Any) -> Any:
    """Everything in a graph, in a form that `==` compares."""
    if isinstance(value, nir.NIRNode):
        return type(value), {key: contents(inner) for key, inner in vars(value).items()}
    if isinstance(value, dict):
        return {key: contents(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [contents(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return value
