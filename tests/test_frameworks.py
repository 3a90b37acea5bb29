"""Modules of other frameworks in a converted module, and the same networks built with them.

The frameworks are in the environment that scripts/test makes (scripts/frameworks.txt); where one
is not, its tests are skipped and say so.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import pytest
import torch
from networks import NETWORKS, module_of
from sequences import run_steps
from torch import Tensor, nn

from nirtorch_cli import default_map, run_sequence

sys.path.append(str(Path(__file__).parent.parent / "scripts"))

import bench_networks as networks

torch.set_num_threads(1)

NAMES = ("norse", "snntorch", "sinabs", "spikingjelly", "nirtorch")
MODULES = {
    "norse": "norse.torch",
    "spikingjelly": "spikingjelly.activation_based.neuron",
    "sinabs": "sinabs.layers",
}
DT = 1e-3


def framework(name: str) -> Any:
    """A framework; what it warns of while it is imported is its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(MODULES.get(name, name))
        except ImportError as error:
            pytest.skip(f"{name} is not installed: {error}")


# -------------------------------------------------------------- their modules in our graphs


class NorseLIF(nn.Module):
    """Norse's cell, whose state is a named tuple."""

    def __init__(self, norse: Any) -> None:
        super().__init__()
        self.cell = norse.LIFCell(dt=DT)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        z, state = self.cell(5 * x, state)
        return z, state


class SnnLeaky(nn.Module):
    """snnTorch's neuron, whose state is its membrane."""

    def __init__(self, snntorch: Any) -> None:
        super().__init__()
        self.neuron = snntorch.Leaky(0.8, reset_mechanism="zero", reset_delay=False)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        state = torch.zeros_like(x) if state is None else state
        z, state = self.neuron(x, state)
        return z, state


def jelly(spikingjelly: Any) -> nn.Module:
    """SpikingJelly's neuron, which keeps its state to itself."""
    node: nn.Module = spikingjelly.IFNode()
    return node


class SinabsIAF(nn.Module):
    """sinabs's layer, which keeps its state to itself and wants an axis of time."""

    def __init__(self, layers: Any) -> None:
        super().__init__()
        self.layer = layers.IAF()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.unsqueeze(1)).squeeze(1)
        return y


THEIRS: dict[str, Callable[[Any], nn.Module]] = {
    "norse": NorseLIF,
    "snntorch": SnnLeaky,
    "spikingjelly": jelly,
    "sinabs": SinabsIAF,
}


@pytest.mark.parametrize("network", ["convolutional", "recurrent", "nested"])
@pytest.mark.parametrize("name", THEIRS)
def test_they_are_stepped_in_their_place(name: str, network: str) -> None:
    """In a loop and out of it, with gradients and without, in chunks: what single steps give."""
    imported = framework(name)
    graph = NETWORKS[network]()

    def made() -> Any:
        mapper = {nir.LIF: lambda node: THEIRS[name](imported)}
        return module_of(graph, mapper, default_map(DT))

    shape = made().meta["shapes"]["input"][1]
    x = 2 * torch.rand(40, 2, *shape, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        expected = run_steps(made(), x).outputs
        assert expected.detach().abs().sum() > 0
        for chunk in (None, 1, 7):
            torch.testing.assert_close(run_sequence(made(), x, chunk=chunk).outputs, expected)
        with torch.no_grad():
            torch.testing.assert_close(run_sequence(made(), x).outputs, expected)


# ------------------------------------------------------------------- our networks in theirs


@pytest.mark.parametrize("kind", ["convolutional", "recurrent"])
def test_all_that_compute_the_equations_of_nir_give_the_same_spikes(kind: str) -> None:
    frameworks = {}
    for name in NAMES:
        try:
            frameworks[name] = framework(name)
        except pytest.skip.Exception:
            frameworks[name] = None
    # IF adds whole numbers of weights; decays are rounded in several ways, as processors like it.
    allowed = 0.0 if kind == "convolutional" else 1e-3
    generator = torch.Generator().manual_seed(0)
    if kind == "convolutional":
        graph, layers = networks.convolutional()
        runners = networks.convolutional_elsewhere(layers, graph, frameworks)
        x = (torch.rand(30, 2, 2, 34, 34, generator=generator) < 0.1).float()
    else:
        graph, weights = networks.recurrent(12, 38, 7)
        runners = networks.recurrent_elsewhere(weights, graph, frameworks)
        x = (torch.rand(60, 8, 12, generator=generator) < 0.3).float()
    if not runners:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    module = module_of(graph, {})
    spiking = [name for name, node in graph.nodes.items() if isinstance(node, networks.SPIKING)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = run_sequence(module, x, record=spiking).trace
        ours = {name: int(parts["spikes"].sum()) for name, parts in trace.items()}
        theirs = {name: runner.count(x) for name, runner in runners.items()}  # type: ignore[attr-defined]
        last = trace[spiking[-1]]["spikes"]
        for name, runner in runners.items():
            if "other equations" in name:  # norse's cell hears its input a step later
                continue
            assert abs(theirs[name] - sum(ours.values())) <= allowed * sum(ours.values()), name
            found = runner(x)
            if (kind, name) == ("convolutional", "sinabs, all steps at once"):
                found = found.transpose(0, 1)  # it has the batch in front
            assert (found.reshape(last.shape) != last).float().mean() <= allowed, name
    assert min(ours.values()) > 0
