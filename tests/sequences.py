"""Inputs and neurons whose sums are exact in float32, and runs compared tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import nir
import numpy as np
import torch
from networks import DT, flat, lif, weights
from torch import Tensor

from nirtorch_cli import run_sequence
from nirtorch_cli.running.recording import spiking_paths

STEPS = 23


OPTIONS = [
    {"integration": integration, "reset": reset, "integrator_input": charge}
    for integration in ("euler", "exact")
    for reset in ("value", "subtract")
    for charge in ("charge", "current")
] + [
    {"reset": "none", "fire_at": "reached"},
    {"reset": "value", "reset_delay": True},
    {"reset": "subtract", "reset_delay": True, "integration": "exact"},
]


def exact(array: Any) -> np.ndarray:
    """To multiples of 1/64, so that sums of products of them are exact in float32."""
    return np.round(np.asarray(array) * 64) / 64


def made_exact(graph: nir.NIRGraph) -> nir.NIRGraph:
    for node in graph.nodes.values():
        if isinstance(node, nir.NIRGraph):
            made_exact(node)
        for name in ("weight", "bias"):
            if getattr(node, name, None) is not None:
                setattr(node, name, exact(getattr(node, name)))
    return graph


def sequence(module: Any, steps: int = STEPS, batch: tuple[int, ...] = (2,), seed: int = 3) -> Any:
    """Random inputs (T, *batch, *shape) in multiples of 1/16, by argument."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: module.meta["shapes"][name][1] for name in module.meta["inputs"]}
    like = next((p for p in module.state_dict().values() if p.is_floating_point()), torch.empty(0))
    return {
        name: (torch.randn(steps, *batch, *shape, generator=generator) * 16)
        .round()
        .div(16)
        .to(like)
        for name, shape in shapes.items()
    }


class Steps(NamedTuple):
    """Outputs over time, (T, *batch, *shape) or a dict of such, and the state after the last."""

    outputs: Any
    state: Any


def run_steps(module: Any, inputs: Any, state: Any = None) -> Steps:
    """What a session is held to: a call of the module for each step."""
    named = {module.meta["inputs"][0]: inputs} if isinstance(inputs, Tensor) else inputs
    outputs, states = by_steps(module, named, state)
    return Steps(outputs, states[-1])


def spikes_of(module: Any, inputs: Any) -> dict[str, Tensor]:
    """By NIR path, the spikes of every node that gives some, over time."""
    paths = spiking_paths(module)
    trace = run_sequence(module, inputs, record=paths).trace
    return {path: trace[path]["spikes"].detach() for path in paths}


def by_steps(module: Any, inputs: Any, state: Any = None) -> tuple[Any, list[Any]]:
    """Outputs over time, and the state after each step."""
    outputs, states = [], []
    for step in range(len(next(iter(inputs.values())))):
        output, state = module(**{name: x[step] for name, x in inputs.items()}, state=state)
        outputs.append(output)
        states.append(state)
    if isinstance(outputs[0], dict):
        return {name: torch.stack([o[name] for o in outputs]) for name in outputs[0]}, states
    return torch.stack(outputs), states


def compare(found: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Two trees of tensors: the same entries, shapes and types, and numbers."""
    one, other = flat(found), flat(expected)
    assert one.keys() == other.keys()
    for path, value in one.items():
        if not isinstance(value, Tensor):
            assert value == other[path]
            continue
        assert value.dtype == other[path].dtype, path
        assert value.shape == other[path].shape, path
        if tolerance:
            torch.testing.assert_close(value, other[path], atol=tolerance, rtol=tolerance)
        else:
            assert torch.equal(value, other[path]), path


N = 5


def _random(low: float, high: float, seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape or (N,))


NEURONS: dict[str, Callable[[], nir.NIRNode]] = {
    "I": lambda: nir.I(_random(0.2, 0.9, 1)),
    "IF": lambda: nir.IF(_random(0.5, 1, 1), _random(0.3, 1, 2), _random(-0.3, 0.1, 3)),
    "IF to zero": lambda: nir.IF(np.ones(N), np.ones(N), np.zeros(N)),
    "LI": lambda: nir.LI(_random(2, 9, 1) * DT, _random(0.5, 2, 2), _random(-0.1, 0.1, 3)),
    "LI of one step": lambda: nir.LI(np.full(N, DT), np.ones(N), np.zeros(N)),
    "LI that overshoots": lambda: nir.LI(np.full(N, 0.7 * DT), np.ones(N), np.zeros(N)),
    "LIF": lambda: lif(N),
    "CubaLI": lambda: nir.CubaLI(
        _random(2, 9, 1) * DT, _random(2, 9, 2) * DT, _random(0.5, 2, 3), _random(-0.1, 0.1, 4)
    ),
    "CubaLIF": lambda: nir.CubaLIF(
        _random(2, 9, 1) * DT,
        _random(2, 9, 2) * DT,
        _random(1, 4, 3),
        _random(-0.1, 0.1, 4),
        _random(0.2, 0.5, 5),
        _random(-0.2, 0.1, 6),
        _random(0.5, 2, 7),
    ),
    "Delay": lambda: nir.Delay(np.array([0, 1, 2, 40, 3]) * DT),
    "Delay of one length": lambda: nir.Delay(np.full(N, 4 * DT)),
    "no Delay": lambda: nir.Delay(np.zeros(N)),
    "Threshold": lambda: nir.Threshold(_random(-0.5, 0.5, 1)),
    "Scale": lambda: nir.Scale(_random(-0.5, 0.5, 1)),
    "Linear": lambda: nir.Linear(exact(weights(3, N))),
    "Affine": lambda: nir.Affine(exact(weights(3, N)), exact(weights(3))),
}
