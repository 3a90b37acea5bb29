"""Readable modules beside the converted ones that they were written from.

`written` writes one and loads it; the asserts run both: outputs, states and gradients are the same,
bit for bit. `layered` makes a network of a few nodes; `Mine` is a neuron as a user writes it.
"""

from __future__ import annotations

import itertools
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import equations
import nir
import numpy as np
import torch
from networks import assert_same, flat, run

from nirtorch_cli import Neuron
from nirtorch_cli.conversion.artefacts.source.writing import save

STEPS = 50
DTYPES = (torch.float32, torch.float64)


def written(module: Any, folder: Path, name: str = "model") -> Any:
    """The readable module of a converted one, loaded from its two files; and its Python module."""
    save(module, folder / f"{name}.py")
    spec = spec_from_file_location(f"readable_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec.loader.exec_module(found)
        return found.load()


def drawn(module: Any, steps: int = STEPS, batch: tuple[int, ...] = (2,), seed: int = 3) -> Any:
    """For each step the arguments of a converted module."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [module.meta["shapes"][name][1] for name in module.meta["inputs"]]
    dtype = next((t.dtype for t in module.state_dict().values() if t.is_floating_point()), None)
    return [
        tuple(torch.randn(*batch, *shape, generator=generator).to(dtype) * 2 for shape in shapes)
        for _ in range(steps)
    ]


def same_bits(actual: Any, expected: Any) -> None:
    assert_same(actual, expected)
    ours, theirs = flat(actual), flat(expected)
    for path, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert ours[path].numpy().tobytes() == value.numpy().tobytes(), path


def assert_same_steps(
    module: Any, readable: Any, batch: tuple[int, ...] = (2,), steps: int = STEPS
) -> Any:
    arguments = drawn(module, steps, batch)
    with torch.no_grad():
        expected = run(module, arguments)
        same_bits(run(readable, arguments), expected)
        half = expected[steps // 2][1]
        same_bits(run(readable, arguments[-3:], half), run(module, arguments[-3:], half))
    return expected


def assert_same_gradients(module: Any, readable: Any, steps: int = 8) -> None:
    arguments = drawn(module, steps)
    found = []
    for one in (module, readable):
        results = run(one, arguments)
        values = [*flat([y for y, _ in results]).values(), *flat(results[-1][1]).values()]
        trained = [t for t in values if isinstance(t, torch.Tensor) and t.requires_grad]
        sum(value.square().sum() for value in trained).backward()
        found.append({name: p.grad for name, p in one.named_parameters()})
    expected, actual = found
    assert sorted(actual) == sorted(expected)
    assert any(gradient is not None and gradient.any() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (actual[name] is None) == (gradient is None), name
        assert gradient is None or torch.equal(actual[name], gradient), name


def layered(*nodes: nir.NIRNode, shape: tuple[int, ...]) -> nir.NIRGraph:
    """Nodes in a row between ports, with a scale in front, so that there is something to train."""
    named = {f"n{number}": node for number, node in enumerate(nodes)}
    ports = {"input": nir.Input(np.array(shape)), "output": nir.Output(None)}
    names = ["input", "scale", *named, "output"]
    scale = nir.Scale(np.linspace(0.8, 1.4, int(np.prod(shape))).reshape(shape))
    edges = list(itertools.pairwise(names))
    return nir.NIRGraph({**ports, "scale": scale, **named}, edges, type_check=False)


def first_of_packs() -> dict[str, equations.Case]:
    """A network of each pack."""
    cases = {case.pack: case for case in reversed(equations.CASES.values())}
    node = equations.lava_node(np.full(5, 1024.0), np.full(5, 512.0), np.full(5, 0.75))
    graph = equations.graph_of(node)
    return {**cases, "lava": equations.Case("lava", graph, equations.above, {}, dt=1e-4)}


FACTOR = 0.75


def halved(x: torch.Tensor) -> torch.Tensor:
    return FACTOR * x


def steep(u: torch.Tensor) -> torch.Tensor:
    return halved(torch.exp(-u.abs()))


class Mine(Neuron):
    """Mine: v = 0.75 v + x, \\ and "quotes" """

    beta: torch.Tensor

    def charge(self, x: torch.Tensor, *before: torch.Tensor) -> Any:
        (v,) = before
        return halved(v) * self.beta + x  # {name} stays

    def fire(self, *charged: torch.Tensor) -> torch.Tensor:
        return self.spike(charged[0], self.beta)

    def reset(self, z: torch.Tensor, *charged: torch.Tensor) -> Any:
        return charged[0] - z.detach() * self.beta
