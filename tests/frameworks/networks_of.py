"""Random small networks of frameworks, exported by the framework, with its own output.

In: a framework and a random generator. Out: a `Network`. Layers, neurons, their options and their
parameters are drawn. Weights are whole multiples of 1/256, so that sums are exact in any order.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

STEPS, ROWS, INPUTS = 40, 3, 6


@dataclass(frozen=True)
class Network:
    """A network as a framework exported it.

    x: inputs (STEPS, ROWS, INPUTS). outputs: what the framework gives. options: those of the pack
    that the file cannot hold. dt: with which it was exported. is_spiking: whether the outputs are
    spikes, and no voltages.
    """

    graph: nir.NIRGraph
    x: Tensor
    outputs: Tensor
    options: dict[str, Any]
    dt: float
    is_spiking: bool = True


class Named(nn.Module):
    """Modules in a row, under names of attributes instead of numbers."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        for number, module in enumerate(modules):
            self.add_module(f"{'act' if number % 2 else 'fc'}{number // 2}", module)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x


def in_a_row(rng: np.random.Generator, modules: list[nn.Module]) -> nn.Module:
    """The modules as a Sequential, or under names."""
    return nn.Sequential(*modules) if rng.random() < 0.5 else Named(modules)


def drawn(rng: np.random.Generator, low: float, high: float, size: int) -> Tensor:
    """One value for all neurons, or one for each."""
    values = rng.uniform(low, high, size)
    return torch.from_numpy(values if rng.random() < 0.5 else np.full(size, values[0])).float()


def fine(values: np.ndarray) -> Tensor:
    """Multiples of 1/256."""
    return torch.from_numpy(np.round(values * 256) / 256).float()


def linear(rng: np.random.Generator, inputs: int, outputs: int, scale: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bool(rng.random() < 0.5)).requires_grad_(False)
    layer.weight.copy_(fine(rng.normal(0.3 * scale, scale, (outputs, inputs))))
    if layer.bias is not None:
        layer.bias.copy_(fine(rng.normal(0, 0.1, outputs)))
    return layer


def sizes(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Inputs and outputs of each layer."""
    widths = [INPUTS, *(int(one) for one in rng.integers(2, 9, rng.integers(1, 4)))]
    return list(itertools.pairwise(widths))


def inputs(rng: np.random.Generator) -> Tensor:
    return torch.from_numpy((rng.random((STEPS, ROWS, INPUTS)) < 0.4).astype(np.float32))


def snntorch(rng: np.random.Generator) -> Network:
    """Leaky, Synaptic, RLeaky, RSynaptic, with every reset."""
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    reset, delay = str(rng.choice(["subtract", "zero", "none"])), bool(rng.random() < 0.6)
    common = {"reset_mechanism": reset, "reset_delay": delay, "init_hidden": True}
    modules: list[nn.Module] = []
    for number, (before, size) in enumerate(sizes(rng)):
        kinds = ["Leaky", "Synaptic"]
        if number:  # right behind the Input the exporter invents an edge
            kinds += ["RLeaky", "RSynaptic"] if delay else ["RLeaky"]  # the last has no other
        kind = str(rng.choice(kinds))
        beta, alpha = drawn(rng, 0.3, 0.97, size), drawn(rng, 0.2, 0.9, size)
        given = {**common, "threshold": drawn(rng, 0.4, 1.5, size)}
        if kind.startswith("R"):
            given |= {"all_to_all": True, "linear_features": size}
        decays = (beta,) if kind.endswith("Leaky") else (alpha, beta)
        neuron = getattr(snn, kind)(*decays, **given)
        if kind.startswith("R"):
            neuron.requires_grad_(False)
            neuron.recurrent.weight.copy_(fine(rng.normal(0, 0.3, (size, size))))
            neuron.recurrent.bias.copy_(fine(rng.normal(0, 0.1, size)))
        modules += [linear(rng, before, size, 0.6), neuron]
    network = in_a_row(rng, modules)
    graph = export_to_nir(network, torch.zeros(1, INPUTS), ignore_dims=[0])
    for neuron in modules[1::2]:
        for name in ("mem", "syn", "spk"):
            if hasattr(neuron, name):
                setattr(neuron, name, torch.zeros(ROWS, neuron.threshold.numel()))
    x = inputs(rng)
    outputs = torch.stack([network(one) for one in x])
    return Network(graph, x, outputs, {"reset": reset, "delay": delay}, 1e-4)


def norse(rng: np.random.Generator) -> Network:
    """LIFBoxCell, LIFCell, IAFCell, LIBoxCell; with a v_reset that Norse 1.1.0 does not write."""
    import norse.torch as norse
    from norse.torch.utils.export_nir import to_nir

    v_reset = float(rng.choice([0.0, -0.4]))
    modules: list[nn.Module] = []
    layers = sizes(rng)
    for number, (before, size) in enumerate(layers, 1):
        kinds = ["LIFBoxCell", "LIFCell", "IAFCell"]
        kind = str(rng.choice([*kinds, "LIBoxCell"] if number == len(layers) else kinds))
        ones = torch.ones(size)
        given = {}
        if kind != "LIBoxCell":
            given |= {"v_th": drawn(rng, 0.2, 0.6, size), "v_reset": v_reset * ones}
        if kind != "IAFCell":
            given |= {"tau_mem_inv": drawn(rng, 50, 300, size), "v_leak": 0 * ones}
        if kind == "LIFCell":
            given["tau_syn_inv"] = drawn(rng, 100, 300, size)
        parameters = getattr(norse, kind.replace("Cell", "Parameters"))(**given)
        scale = 0.3 if kind == "IAFCell" else 2.0
        modules += [linear(rng, before, size, scale), getattr(norse, kind)(parameters)]
    network = norse.SequentialState(*modules)
    graph = to_nir(network, torch.zeros(1, INPUTS))
    x, state, outputs = inputs(rng), None, []
    for one in x:
        z, state = network(one, state)
        outputs.append(z)
    options = {"v_reset": v_reset} if v_reset else {}
    return Network(graph, x, torch.stack(outputs), options, 1e-6, kind != "LIBoxCell")


def sinabs(rng: np.random.Generator) -> Network:
    """IAF and LIF, with the options of sinabs."""
    import sinabs.activation
    import sinabs.layers as sl
    from sinabs.nir import to_nir

    options: dict[str, Any] = {
        "spikes": str(rng.choice(["multi", "single"])),
        "reset": str(rng.choice(["subtract", "zero"])),
    }
    several = {"multi": "MultiSpike", "single": "SingleSpike"}[options["spikes"]]
    reset = {"subtract": "MembraneSubtract", "zero": "MembraneReset"}[options["reset"]]
    common = {
        "spike_fn": getattr(sinabs.activation, several),
        "reset_fn": getattr(sinabs.activation, reset)(),
    }
    if rng.random() < 0.4:
        common["min_v_mem"] = options["min_v_mem"] = -1.0
    is_leaky, norm_input = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    if is_leaky:
        options["norm_input"] = norm_input
    modules: list[nn.Module] = []
    for before, size in sizes(rng):
        threshold = drawn(rng, 0.5, 1.0, size)
        if is_leaky:
            tau = drawn(rng, 5, 20, size)
            neuron = sl.LIF(tau_mem=tau, spike_threshold=threshold, norm_input=norm_input, **common)
        else:
            neuron = sl.IAF(spike_threshold=threshold, **common)
        scale = 6.0 if is_leaky and norm_input else 0.6
        modules += [linear(rng, before, size, scale), neuron]
    network = in_a_row(rng, modules)
    graph = to_nir(network, torch.zeros(1, 1, INPUTS))
    for neuron in modules[1::2]:
        neuron.reset_states()
    x = inputs(rng)
    return Network(graph, x, network(x.transpose(0, 1)).transpose(0, 1), options, 1.0)


def spikingjelly(rng: np.random.Generator) -> Network:
    """IFNode, LIFNode with and without decay_input and ParametricLIFNode, by any dt."""
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    modules: list[nn.Module] = []
    for before, size in sizes(rng):
        kind = str(rng.choice(["IFNode", "LIFNode", "LIFNode", "ParametricLIFNode"]))
        given = {
            "v_threshold": float(rng.choice([0.5, 1.0])),
            "v_reset": float(rng.choice([0.0, -0.5])),
        }
        if kind == "LIFNode":
            given |= {"tau": float(rng.choice([2.0, 3.0, 5.0]))}
            given |= {"decay_input": bool(rng.random() < 0.5)}
        elif kind == "ParametricLIFNode":
            given["init_tau"] = 2.0
        modules += [linear(rng, before, size, 1.0), getattr(neuron, kind)(**given)]
    network = in_a_row(rng, modules)
    dt = float(rng.choice([1e-4, 1e-3, 1.0]))
    graph = export_to_nir(network, torch.zeros(1, INPUTS), dt=dt)
    functional.reset_net(network)
    x = inputs(rng)
    return Network(graph, x, torch.stack([network(one) for one in x]), {}, dt)


def rockpool(rng: np.random.Generator) -> Network:
    """LIFTorch and LIFNeuronTorch without bias, by any dt."""
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules import LIFNeuronTorch, LIFTorch, LinearTorch
    from rockpool.nn.modules.torch.nir import to_nir

    dt = float(rng.choice([1e-3, 1e-2]))
    modules: list[Any] = []
    for before, size in sizes(rng):
        weight = fine(rng.normal(0.05, 0.2, (before, size)))
        given: dict[str, Any] = {
            "tau_mem": drawn(rng, 5, 40, size) * dt,
            "bias": torch.zeros(size),
            "threshold": drawn(rng, 0.7, 1.3, size),
            "dt": dt,
        }
        if rng.random() < 0.7:
            given["tau_syn"] = torch.tensor(10 * dt)
            neuron = LIFTorch((size,), **given)
        else:
            neuron = LIFNeuronTorch((size,), **given)
        modules += [LinearTorch((before, size), weight=weight), neuron]
    network = Sequential(*modules)
    graph = to_nir(network, torch.zeros(1, 1, INPUTS))
    network.reset_state()
    x = inputs(rng)
    outputs, _, _ = network(x.transpose(0, 1))
    return Network(graph, x, outputs.transpose(0, 1), {}, dt)


FRAMEWORKS: dict[str, Callable[[np.random.Generator], Network]] = {
    made.__name__: made for made in (snntorch, norse, sinabs, spikingjelly, rockpool)
}


def network_of(framework: str, seed: int) -> Network:
    """A random network.

    Raises:
        ModuleNotFoundError: the framework is not installed.
    """
    with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        return FRAMEWORKS[framework](np.random.default_rng(seed))
