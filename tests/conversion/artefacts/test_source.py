"""Readable modules: plain torch source that gives the numbers of the converted module, bit for bit.

In: networks of every structure, every node, every meaning of a step. Each is written, loaded from
its two files, and run beside the converted module.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import NETWORKS, assert_same, flat, module_of, run, weights
from neurons import DT, NEURONS, neuron
from readable import (
    DTYPES,
    assert_same_gradients,
    assert_same_steps,
    drawn,
    layered,
    written,
)

import nirtorch_cli
from nirtorch_cli import default_map
from nirtorch_cli.conversion.artefacts.source.writing import save

torch.set_num_threads(1)

# torch says this of every even kernel; its answer is right.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

DATA = Path(__file__).parents[2] / "data"


# -------------------------------------------------------------------------------------- structure


@pytest.mark.parametrize("batch", [(), (3,), (2, 1, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, dtype: torch.dtype, batch: tuple[int, ...], tmp_path: Path) -> None:
    module = module_of(NETWORKS[name](), {}, default_map(dt=1e-3), dtype=dtype)
    readable = written(module, tmp_path)
    expected = assert_same_steps(module, readable, batch)
    assert any(value.any() for value in flat(expected).values() if torch.is_tensor(value))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name: str, tmp_path: Path) -> None:
    module = module_of(NETWORKS[name](), {}, default_map(dt=1e-3))
    assert_same_gradients(module, written(module, tmp_path))


@pytest.mark.parametrize("file", ["digits", "digits_conv", "digits_recurrent", "damaged"])
def test_files(file: str, tmp_path: Path) -> None:
    module = module_of(DATA / f"{file}.nir", {})
    assert_same_steps(module, written(module, tmp_path), steps=100)
    assert_same_gradients(module, written(module, tmp_path))
    lines = (tmp_path / "model.py").read_text().splitlines()
    assert max(map(len, lines)) <= 100


def test_the_state_dict_is_that_of_the_module(tmp_path: Path) -> None:
    module = module_of(NETWORKS["nested"](), {}, default_map(dt=1e-3))
    readable = written(module, tmp_path)
    assert sorted(readable.state_dict()) == sorted(module.state_dict())
    nirtorch_cli.load_weights(module, tmp_path / "model.safetensors")
    assert_same_steps(module, readable)


# ------------------------------------------------------------------------------------------ nodes

NODES = {
    "affine": (nir.Affine(weights(4, 3), weights(4, seed=2)), (3,)),
    "linear": (nir.Linear(weights(4, 3)), (5, 3)),
    "stack": (nir.Affine(weights(2, 4, 3), weights(2, 4, seed=2)), (2, 3)),
    "stack_without_bias": (nir.Linear(weights(2, 4, 3)), (2, 3)),
    "scale": (nir.Scale(weights(2, 1, 1)), (2, 3, 4)),
    "conv1d": (nir.Conv1d(None, weights(4, 1, 3), 2, 1, 1, 2, weights(4)), (2, 9)),
    "conv1d_same": (nir.Conv1d(None, weights(2, 2, 4), 1, "same", 1, 1, None), (2, 7)),
    "conv2d": (nir.Conv2d(None, weights(3, 2, 3, 2), (2, 1), (0, 1), (1, 2), 1, None), (2, 5, 6)),
    "conv2d_valid": (
        nir.Conv2d(None, weights(2, 2, 2, 2), 1, "valid", 1, 1, weights(2)),
        (2, 4, 4),
    ),
    "sum_pool": (nir.SumPool2d((2, 3), (2, 3), (1, 0)), (2, 5, 7)),
    "sum_pool_over": (
        nir.SumPool2d((3, 2), (1, 2), (2, 1)),
        (1, 5, 6),
    ),
    "avg_pool": (nir.AvgPool2d((3, 2), (3, 2), (0, 1)), (2, 7, 5)),
    "avg_pool_over": (
        nir.AvgPool2d((3, 3), (1, 2), (2, 2)),
        (2, 5, 5),
    ),
    "flatten": (nir.Flatten({"input": np.array([2, 3, 4])}, 1, 2), (2, 3, 4)),
    "threshold": (nir.Threshold(weights(4)), (4,)),
    "threshold_of_channels": (nir.Threshold(weights(3, 1)), (3, 4)),
    "delay": (nir.Delay(np.array([0, 1, 4, 2]) * DT), (4,)),
    "delay_of_all": (nir.Delay(np.array([3, 3]) * DT), (2,)),
    "no_delay": (nir.Delay(np.array([0, 0]) * DT), (2,)),
    **{kind.__name__: (neuron(kind, 4), (4,)) for kind in NEURONS},
    "one_for_all": (neuron(nir.LIF, 1), (4,)),
    "of_channels": (nir.IF(np.ones((3, 1, 1)), weights(3, 1, 1) ** 2), (3, 2, 2)),
}


def test_every_primitive_is_among_them() -> None:
    from nirtorch_cli.primitives.table import PRIMITIVES

    kinds = {type(node).__name__ for node, _ in NODES.values()}
    assert kinds | {"Input", "Output"} == set(PRIMITIVES)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NODES)
def test_nodes(name: str, dtype: torch.dtype, batch: tuple[int, ...], tmp_path: Path) -> None:
    node, shape = NODES[name]
    module = module_of(layered(node, shape=shape), {}, default_map(dt=DT), dtype=dtype)
    assert_same_steps(module, written(module, tmp_path), batch)


@pytest.mark.parametrize("name", NODES)
def test_gradients_of_nodes(name: str, tmp_path: Path) -> None:
    node, shape = NODES[name]
    module = module_of(layered(node, shape=shape), {}, default_map(dt=DT))
    assert_same_gradients(module, written(module, tmp_path))


# --------------------------------------------------------------------------------- what a step is

MEANINGS = [
    {"integration": i, "reset": r, "reset_delay": d, "fire_at": f, "integrator_input": c}
    for i, r, d, f, c in itertools.product(
        ("euler", "exact"),
        ("value", "subtract", "none"),
        (False, True),
        ("above", "reached"),
        ("charge", "current"),
    )
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda m: "-".join(map(str, m.values())))
def test_every_neuron_with_every_meaning(
    meaning: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    for kind in NEURONS:
        graph = layered(neuron(kind, 4), neuron(kind, 4), shape=(4,))
        graph.nodes["scale"].scale *= 1 / DT if kind in (nir.I, nir.IF) else 1
        module = module_of(graph, {}, default_map(DT, **meaning), dtype=dtype)
        readable = written(module, tmp_path, kind.__name__)
        assert_same_steps(module, readable)
        assert_same_gradients(module, readable)


def test_a_value_on_the_threshold(tmp_path: Path) -> None:
    graph = layered(nir.IF(np.ones(1), np.full(1, 1.0)), shape=(1,))
    graph.nodes["scale"].scale[:] = 1
    for fire_at, expected in (("above", 0.0), ("reached", 1.0)):
        readable = written(module_of(graph, {}, default_map(fire_at=fire_at)), tmp_path, fire_at)
        assert readable(torch.ones(1))[0].item() == expected


@pytest.mark.parametrize("surrogate", sorted(nirtorch_cli.conversion.options.SURROGATES))
def test_surrogates(surrogate: str, tmp_path: Path) -> None:
    options = default_map(DT, surrogate=surrogate)
    graph = layered(neuron(nir.LIF, 4), nir.Threshold(np.full(4, 0.2)), shape=(4,))
    module = module_of(graph, {}, options)
    assert_same_gradients(module, written(module, tmp_path))
    assert f"def {surrogate}(" in (tmp_path / "model.py").read_text()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("integration", ["euler", "exact"])
def test_time_constants_that_half_precision_rounds(
    dtype: torch.dtype, integration: str, tmp_path: Path
) -> None:
    for kind in NEURONS:
        graph = layered(neuron(kind, 4), shape=(4,))
        module = module_of(graph, {}, default_map(DT, integration=integration), dtype=dtype)
        save(module, tmp_path / "model.py")
        readable = written(module, tmp_path)
        arguments = drawn(module)
        with torch.no_grad():
            assert_same(run(readable, arguments), run(module, arguments))
        stored = readable.state_dict().get("n0.tau")
        assert stored is None or stored.dtype == torch.float64
