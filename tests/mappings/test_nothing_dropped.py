"""Packs use every parameter of a node, or refuse it by name: none is dropped without a word.

Each parameter of a neuron that a pack takes is changed alone, at the same dt. Then the pack refuses
the node and names the parameter, or a weight that does not fit to it any more; or it calculates
something else than before.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import nir
import numpy as np
import pytest
import torch
from equations import CASES, ONE, Case, lava_node, pack
from networks import module_of
from sequences import run_steps

from nirtorch_cli import MapperError, default_map
from nirtorch_cli.conversion.maps import MapOptions, load_map

torch.set_num_threads(1)

Change = Callable[[np.ndarray], np.ndarray]

CHANGES: tuple[Change, ...] = (lambda value: value * 1.5, lambda value: value + 0.3)
LAYERS = ("snntorch", "norse", "sinabs", "spikingjelly", "rockpool")


def arrays_of(node: Any) -> dict[str, np.ndarray]:
    """The parameters of neurons by name."""
    values = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def named() -> Iterator[tuple[str, Case]]:
    """One case of each pack and type of neurons, with the options of the first."""
    known = set()
    lava = lava_node(np.full(5, 512), np.full(5, 256), ONE)
    nodes = {"input": nir.Input(np.array([5])), "n": lava, "output": nir.Output(np.array([5]))}
    graph = nir.NIRGraph(nodes, [("input", "n"), ("n", "output")], type_check=False)
    extra = {"lava": Case("lava", graph, lambda x: (x, {}), {}, {}, (0.2, 0.5))}
    for case in (*CASES.values(), *extra.values()):
        node = case.graph.nodes["n"]
        key = f"{case.pack} {type(node).__name__}"
        if key not in known and not isinstance(node, nir.NIRGraph):
            known.add(key)
            yield key, case


NAMED = dict(named())
PARAMETERS = [
    (name, field) for name, case in NAMED.items() for field in arrays_of(case.graph.nodes["n"])
]


def with_change(graph: nir.NIRGraph, parameter: str, change: Change) -> nir.NIRGraph:
    node = graph.nodes["n"]
    changed = dataclasses.replace(node, **{parameter: change(getattr(node, parameter))})
    nodes = {**graph.nodes, "n": changed}
    return nir.NIRGraph(nodes, list(graph.edges), type_check=False)


def inputs(case: Case) -> tuple[torch.Tensor, float]:
    """Inputs for some steps, and dt."""
    return torch.from_numpy(case.inputs()).flatten(1, 2), case.module.meta["dt"]


def results(module: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of all steps, and the last state."""
    with torch.no_grad():
        outputs, state = run_steps(module, x)
    return [outputs, *(value for _, value in sorted(state["n"].items()))]


def alike(graph: nir.NIRGraph) -> nir.NIRGraph:
    """The graph with neurons that are all as the first: some frameworks have no others."""
    node = graph.nodes["n"]
    arrays = {name: np.full_like(value, value.flat[0]) for name, value in arrays_of(node).items()}
    nodes = {**graph.nodes, "n": dataclasses.replace(node, **arrays)}
    return nir.NIRGraph(nodes, list(graph.edges), type_check=False)


def assert_kept(
    graph: nir.NIRGraph, x: torch.Tensor, parameter: str, mapping: Any, dt: float
) -> None:
    def module(graph: nir.NIRGraph) -> Any:
        return module_of(graph, mapping, default_map(dt), dtype=torch.float64)

    expected = results(module(graph), x)
    refused, changed = [], 0
    for change in CHANGES:
        other = with_change(graph, parameter, change)
        if np.array_equal(
            getattr(other.nodes["n"], parameter), getattr(graph.nodes["n"], parameter)
        ):
            continue
        try:
            found = results(module(other), x)
        except MapperError as error:
            refused.append(str(error))
            continue
        same = [torch.equal(one, another) for one, another in zip(found, expected, strict=True)]
        assert not all(same), "nothing changes"
        changed += 1
    assert refused or changed
    for text in refused:
        assert re.search(rf"\b({parameter}|(r|w_in) is)\b", text), text


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_packs_by_equations(name: str, parameter: str) -> None:
    case = NAMED[name]
    x, dt = inputs(case)
    assert_kept(case.graph, x, parameter, pack(case.pack)(**case.options), dt)


@pytest.mark.parametrize(
    ("name", "parameter"), [one for one in PARAMETERS if one[0].split()[0] in LAYERS]
)
def test_packs_of_layers(name: str, parameter: str) -> None:
    case = NAMED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(f"nirtorch_mappings.layers.{case.pack}")
        except ModuleNotFoundError as error:
            if error.name != case.pack:
                raise
            pytest.skip(f"{case.pack} is not installed")
        x, dt = inputs(case)
        layers = load_map(f"{case.pack}:layers", MapOptions(dt=dt))
        assert_kept(alike(case.graph), x, parameter, layers, dt)
