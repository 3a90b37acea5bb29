"""Packs of frameworks' own layers: their numbers are the framework's, and nothing is dropped.

The oracle is always the framework itself: its runs in ../shared/frameworks where these are present,
and its own simulation of networks that are built, run and exported here. The frameworks are in the
environment that scripts/test makes (scripts/frameworks.txt), but for Rockpool; where one is not,
its tests are skipped and say so.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import SHARED
from networks import module_of
from sequences import run_steps
from torch import Tensor, nn

import nirtorch_cli
from nirtorch_cli import nir_to_torch, run_sequence
from nirtorch_cli.conversion.node_map import takes_context
from nirtorch_cli.findings.errors import MapperError

torch.set_num_threads(1)

N = 6
RUNS = SHARED / "frameworks"
FRAMEWORKS = ("snntorch", "norse", "sinabs", "spikingjelly", "rockpool")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Random weights are the same in every run; what frameworks warn of is their own business."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


def pack(name: str) -> Any:
    """The pack of a framework's layers."""
    try:
        return importlib.import_module(f"nirtorch_mappings.layers.{name}")
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        pytest.skip(f"{name} is not installed")


def installed(module: str) -> Any:
    """A module of a framework whose pack could be imported."""
    pack(module.partition(".")[0])
    return importlib.import_module(module)


def layers(name: str, dt: float, **options: Any) -> dict[Any, Any]:
    mapping: dict[Any, Any] = pack(name).LAYERS(dt, **options)
    return mapping


def uniform(low: float, high: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return low + (high - low) * torch.rand(shape or (N,), dtype=dtype)


def spikes_in(steps: int = 60, batch: int = 3, size: int = 5, rate: float = 0.4) -> Tensor:
    """Input spikes, (steps, batch, size), for which a gradient can be asked."""
    return (torch.rand(steps, batch, size) < rate).float().requires_grad_()


# ------------------------------------------------------------------ files that they exported


def of(name: str, dt: float, **options: Any) -> Callable[[], dict[Any, Any]]:
    return lambda: layers(name, dt, **options)


def rsynaptic() -> dict[Any, Any]:
    """RSynaptic and, behind it, a Leaky with another reset."""
    lif = layers("snntorch", 1e-4, reset="zero")[nir.LIF]
    return {**layers("snntorch", 1e-4), nir.LIF: lif}


SINGLE = {"spikes": "single", "reset": "zero"}

EXPORTED: dict[str, Callable[[], dict[Any, Any]]] = {
    "snntorch__conv_default": of("snntorch", 1e-4),
    "snntorch__dense_none_now": of("snntorch", 1e-4, reset="none", delay=False),
    "snntorch__dense_subtract_now": of("snntorch", 1e-4, delay=False),
    "snntorch__dense_zero_now": of("snntorch", 1e-4, reset="zero", delay=False),
    "snntorch__rleaky_subtract_delay": of("snntorch", 1e-4),
    "snntorch__rleaky_zero_delay": of("snntorch", 1e-4, reset="zero"),
    "snntorch__rleaky_first_zero_now": of("snntorch", 1e-4, reset="zero", delay=False),
    "snntorch__rsynaptic_subtract_delay": rsynaptic,
    "snntorch__synaptic_subtract_delay": of("snntorch", 1e-4),
    "snntorch__synaptic_zero_delay": of("snntorch", 1e-4, reset="zero"),
    "snntorch__uniform_default": of("snntorch", 1e-4),
    "snntorch__uniform_rleaky_zero_now": of("snntorch", 1e-4, reset="zero", delay=False),
    "snntorch__uniform_zero_now": of("snntorch", 1e-4, reset="zero", delay=False),
    "norse__iaf": of("norse", 1e-6),
    "norse__lif": of("norse", 1e-6),
    "norse__lifbox_subtract": of("norse", 1e-6, reset="subtract"),
    "norse__lifbox_v_reset": of("norse", 1e-6, v_reset=-0.4),
    "norse__uniform_lifbox": of("norse", 1e-6),
    "norsehead__iaf": of("norse", 1e-3),
    "norsehead__lif": of("norse", 1e-3),
    "norsehead__lifbox_subtract": of("norse", 1e-3, reset="subtract"),
    "norsehead__lifbox_v_reset": of("norse", 1e-3),
    "norsehead__uniform_lifbox": of("norse", 1e-3),
    "sinabs__conv1d": of("sinabs", 1),
    "sinabs__conv_sumpool_iaf_defaults": of("sinabs", 1, min_v_mem=-1.0),
    "sinabs__expleak": of("sinabs", 1, **SINGLE, norm_input=True),
    "sinabs__iaf_defaults": of("sinabs", 1),
    "sinabs__iaf_single_reset": of("sinabs", 1, **SINGLE),
    "sinabs__iaf_ties": of("sinabs", 1),
    "sinabs__lif_min_v_mem": of("sinabs", 1, **SINGLE, min_v_mem=-0.2),
    "sinabs__lif_single_reset_norm": of("sinabs", 1, **SINGLE),
    "sinabs__lif_tau_syn": of("sinabs", 1, **SINGLE, tau_syn=5.0),
    "sinabs__uniform_lif_single_reset": of("sinabs", 1, **SINGLE),
    "spikingjelly__conv1d": of("spikingjelly", 1e-4),
    "spikingjelly__conv_avgpool_lif": of("spikingjelly", 1e-4),
    "spikingjelly__cubalif": of("spikingjelly", 1e-4),
    "spikingjelly__dropout": of("spikingjelly", 1e-4),
    "spikingjelly__if_dt1": of("spikingjelly", 1),
    "spikingjelly__lif_decay": of("spikingjelly", 1e-4),
    "spikingjelly__lif_dt1": of("spikingjelly", 1),
    "spikingjelly__lif_nodecay_one_tau": of("spikingjelly", 1e-4),
    "spikingjelly__lif_one_tau_dt1e-3": of("spikingjelly", 1e-3),
    "spikingjelly__lif_v_reset_nodecay": of("spikingjelly", 1e-4),
    "spikingjelly__residual_add": of("spikingjelly", 1e-4),
    "rockpool__lif_const_scalar": of("rockpool", 1e-3),
    "rockpool__lif_dense": of("rockpool", 1e-3),
}
"""The folders of ../shared/frameworks, each with the layers that its network was built of."""

LOST = {
    "snntorch__dense_graded": "the factor of graded spikes is not in the file",
    "rockpool__lif_bias": "the biases are not in the file",
    "rockpool__lif_rec": "the recurrent weights are not in the file",
}
"""Those whose files lack what the framework computed with."""


@pytest.fixture(scope="session")
def exported_files() -> Path:
    if not RUNS.is_dir():
        pytest.skip(f"what other programs exported is not here ({RUNS})")
    return RUNS


def test_no_exported_file_is_left_out(exported_files: Path) -> None:
    kinds = tuple(f"{name}__" for name in (*FRAMEWORKS, "norsehead"))
    there = {folder.name for folder in exported_files.iterdir() if folder.name.startswith(kinds)}
    assert there == {*EXPORTED, *LOST}


@pytest.mark.parametrize("folder", EXPORTED)
def test_every_spike_is_the_one_that_the_framework_gave(exported_files: Path, folder: str) -> None:
    graph = nirtorch_cli.read(exported_files / folder / "model.nir").graph
    if folder == "snntorch__rleaky_first_zero_now":  # an edge that its tracer made up
        graph.edges = [edge for edge in graph.edges if edge != ("0.w_rec", "1")]
    run = np.load(exported_files / folder / "run.npz")
    dtype = torch.float64 if folder.startswith("norse") else torch.float32
    module = converted(graph, EXPORTED[folder](), dtype=dtype)
    spikes = {name.rpartition(":")[0]: run[name] for name in run.files if name.endswith(":spikes")}
    found = run_sequence(module, torch.from_numpy(run["input"]).to(dtype), record=list(spikes))
    assert spikes
    for name, expected in spikes.items():
        mine = found.trace[name]["spikes"].detach().numpy()
        assert np.array_equal(mine, expected), f"{name}: {(mine != expected).sum()} differ"
    np.testing.assert_allclose(found.outputs.detach().numpy(), run["output"], atol=1e-6)


def converted(graph: Any, mapping: Any, **options: Any) -> Any:
    return nir_to_torch(graph, mapping, on_error="warn", **options)


# ------------------------------------------------------- networks that are built and run here


class Built:
    """A network of a framework: as nir, its run on an input (steps, batch, size), and the map."""

    def __init__(self, graph: nir.NIRGraph, x: Tensor, output: Tensor, mapping: Any) -> None:
        self.graph, self.x, self.output, self.mapping = graph, x, output, mapping


def built_in_snntorch(neuron: str, **options: Any) -> Built:
    snn, export = installed("snntorch"), installed("snntorch.export_nir")
    utils = installed("snntorch.utils")
    reset, delay = options.get("reset", "subtract"), options.get("delay", True)
    mechanism = {"reset_mechanism": reset, "reset_delay": delay, "init_hidden": True}

    def made(size: int) -> nn.Module:
        arguments = {"beta": uniform(0.6, 0.95, size), "threshold": uniform(0.2, 0.8, size)}
        if neuron in ("Synaptic", "RSynaptic"):
            arguments["alpha"] = uniform(0.5, 0.9, size)
        if neuron in ("RLeaky", "RSynaptic"):
            arguments["linear_features"] = size
        module: nn.Module = getattr(snn, neuron)(**arguments, **mechanism)
        return module

    network = nn.Sequential(nn.Linear(5, N), made(N), nn.Linear(N, 4), made(4))
    x = spikes_in()
    utils.reset(network)
    output = torch.stack([network(step) for step in x])
    utils.reset(network)
    graph = export.export_to_nir(network, torch.zeros(1, 5), ignore_dims=[0])
    return Built(graph, x, output, layers("snntorch", 1e-4, **options))


def built_in_norse(cell: str, **options: Any) -> Built:
    norse, box = installed("norse.torch"), installed("norse.torch.functional.lif_box")
    iaf, reset = installed("norse.torch.functional.iaf"), installed("norse.torch.functional.reset")
    lif = installed("norse.torch.functional.lif")
    leaky = installed("norse.torch.functional.leaky_integrator_box")
    double = torch.float64

    def made(size: int) -> nn.Module:
        v_th, v_leak = uniform(0.1, 0.4, size, dtype=double), uniform(0, 0.05, size, dtype=double)
        zero, inverse = torch.zeros(size, dtype=double), uniform(60, 250, size, dtype=double)
        v_reset = zero + options.get("v_reset", 0)
        if cell == "IAFCell":
            p = iaf.IAFParameters(v_th=v_th, v_reset=v_reset)
        elif cell == "LIFCell":
            synapse = uniform(100, 300, size, dtype=double)
            p = lif.LIFParameters(synapse, inverse, v_leak, v_th, v_reset)
        else:
            method = getattr(reset, f"reset_{options.get('reset', 'value')}")
            p = box.LIFBoxParameters(inverse, v_leak, v_th, v_reset, reset_method=method)
        module: nn.Module = getattr(norse, cell)(p)
        return module

    readout = leaky.LIBoxParameters(uniform(60, 250, 4, dtype=double), torch.zeros(4).double())
    last = norse.LIBoxCell(readout) if cell == "LIFBoxCell" else made(4)
    network = norse.SequentialState(nn.Linear(5, N), made(N), nn.Linear(N, 4), last).double()
    x, state, outputs = spikes_in().detach().double().requires_grad_(), None, []
    for step in x:
        output, state = network(step, state)
        outputs.append(output)
    # It writes the states of a step with a batch; r and w_in are 1, v_reset is not written.
    graph = norse.to_nir(network, torch.zeros(1, 5).double())
    return Built(graph, x, torch.stack(outputs), layers("norse", 1e-6, **options))


def built_in_sinabs(layer: str, **options: Any) -> Built:
    sinabs, activation = installed("sinabs.layers"), installed("sinabs.activation")
    functions = {"multi": activation.MultiSpike, "single": activation.SingleSpike}
    spikes = options.get("spikes", "multi")
    arguments = {
        "spike_fn": functions.get(spikes) or activation.MaxSpike(spikes),
        "reset_fn": activation.MembraneReset()
        if options.get("reset") == "zero"
        else activation.MembraneSubtract(),
        "min_v_mem": options.get("min_v_mem"),
        "tau_syn": options.get("tau_syn"),
    }
    normed = {key: options[key] for key in ("norm_input",) if key in options}

    def made(size: int) -> nn.Module:
        fires = {"spike_threshold": uniform(0.1, 0.4, size), **arguments}
        if layer == "IAF":
            module: nn.Module = sinabs.IAF(**fires)
            return module
        module = sinabs.LIF(tau_mem=uniform(2, 12, size), **fires, **normed)
        return module

    last = sinabs.ExpLeak(tau_mem=uniform(2, 12, 4), min_v_mem=arguments["min_v_mem"], **normed)
    network = nn.Sequential(nn.Linear(5, N), made(N), nn.Linear(N, 4), made(4), nn.Linear(4, 4))
    network.append(last)
    x = spikes_in()
    output = network(x.transpose(0, 1)).transpose(0, 1)
    graph = installed("sinabs.nir").to_nir(network, x.transpose(0, 1))
    return Built(graph, x, output, layers("sinabs", 1, **options))


def built_in_spikingjelly(kind: str, dt: float = 1e-4, **arguments: Any) -> Built:
    neuron = installed("spikingjelly.activation_based.neuron")
    functional = installed("spikingjelly.activation_based.functional")
    exchange = installed("spikingjelly.activation_based.nir_exchange")

    def made() -> nn.Module:
        module: nn.Module = getattr(neuron, kind)(v_threshold=0.3, **arguments)
        return module

    network = nn.Sequential(nn.Linear(5, N), made(), nn.Linear(N, 4), made())
    x = spikes_in()
    output = torch.stack([network(step) for step in x])
    functional.reset_net(network)
    graph = exchange.export_to_nir(network, torch.zeros(1, 5), dt=dt)
    return Built(graph, x, output, layers("spikingjelly", dt))


def built_in_rockpool(folder: Path, *, has_bias: bool, has_rec: bool, max_spikes: int) -> Built:
    modules, combinators = (
        installed("rockpool.nn.modules.torch"),
        installed("rockpool.nn.combinators"),
    )
    constant = installed("rockpool.parameters").Constant  # its exporter writes no other tau
    limit = {"max_spikes_per_dt": torch.tensor(float(max_spikes))}
    options: dict[str, Any] = {"max_spikes": max_spikes}
    arguments: dict[str, Any] = {"threshold": uniform(0.1, 0.5), **limit}
    if has_bias:
        arguments["bias"] = uniform(-0.1, 0.1)
        options["bias"] = str(folder / "bias.npy")
        np.save(options["bias"], arguments["bias"].numpy())
    last = {**arguments, "tau_mem": uniform(0.004, 0.02)}
    if has_rec:
        arguments.update(has_rec=True, w_rec=uniform(-0.3, 0.3, N, N))
        options["w_rec"] = str(folder / "w_rec.npy")
        np.save(options["w_rec"], arguments["w_rec"].numpy())
    times = {"tau_mem": uniform(0.004, 0.02), "tau_syn": uniform(0.003, 0.01, N, 1)}
    network = combinators.Sequential(
        modules.LinearTorch((5, N)),
        modules.LIFTorch(N, **times, **arguments),
        modules.LinearTorch((N, N)),
        modules.LIFNeuronTorch(N, **last),
        modules.LinearTorch((N, 4)),
        modules.ExpSynTorch(4, tau=constant(uniform(0.004, 0.02, 4))),
    )
    x = (2 * spikes_in()).detach().requires_grad_()
    output, _, _ = network(x.transpose(0, 1))
    network.reset_state()
    graph = modules.to_nir(network, torch.zeros(1, 7, 5))
    return Built(graph, x, output.transpose(0, 1), layers("rockpool", 1e-3, **options))


BUILT: dict[str, Callable[[Path], Built]] = {
    "snntorch Leaky": lambda _: built_in_snntorch("Leaky"),
    "snntorch Leaky, now": lambda _: built_in_snntorch("Leaky", delay=False),
    "snntorch Leaky to zero": lambda _: built_in_snntorch("Leaky", reset="zero"),
    "snntorch Leaky to zero, now": lambda _: built_in_snntorch("Leaky", reset="zero", delay=False),
    "snntorch Leaky, none": lambda _: built_in_snntorch("Leaky", reset="none"),
    "snntorch RLeaky": lambda _: built_in_snntorch("RLeaky"),
    "snntorch RLeaky, now": lambda _: built_in_snntorch("RLeaky", delay=False),
    "snntorch RLeaky to zero": lambda _: built_in_snntorch("RLeaky", reset="zero"),
    "snntorch RLeaky to zero, now": lambda _: built_in_snntorch(
        "RLeaky", reset="zero", delay=False
    ),
    "snntorch Synaptic": lambda _: built_in_snntorch("Synaptic"),
    "snntorch Synaptic, now": lambda _: built_in_snntorch("Synaptic", delay=False),
    "snntorch Synaptic to zero": lambda _: built_in_snntorch("Synaptic", reset="zero"),
    "snntorch RSynaptic": lambda _: built_in_snntorch("RSynaptic"),
    "snntorch RSynaptic to zero": lambda _: built_in_snntorch("RSynaptic", reset="zero"),
    "norse LIFBoxCell": lambda _: built_in_norse("LIFBoxCell"),
    "norse LIFBoxCell, subtract": lambda _: built_in_norse("LIFBoxCell", reset="subtract"),
    "norse LIFBoxCell, v_reset": lambda _: built_in_norse("LIFBoxCell", v_reset=-0.2),
    "norse LIFCell": lambda _: built_in_norse("LIFCell"),
    "norse LIFCell, v_reset": lambda _: built_in_norse("LIFCell", v_reset=-0.2),
    "norse IAFCell": lambda _: built_in_norse("IAFCell"),
    "norse IAFCell, v_reset": lambda _: built_in_norse("IAFCell", v_reset=-0.2),
    "sinabs LIF": lambda _: built_in_sinabs("LIF"),
    "sinabs LIF, single": lambda _: built_in_sinabs("LIF", spikes="single", reset="zero"),
    "sinabs LIF, at most 2": lambda _: built_in_sinabs("LIF", spikes=2, norm_input=False),
    "sinabs LIF, tau_syn": lambda _: built_in_sinabs("LIF", tau_syn=4.0, norm_input=True),
    "sinabs LIF, min_v_mem": lambda _: built_in_sinabs("LIF", min_v_mem=-0.1),
    "sinabs IAF": lambda _: built_in_sinabs("IAF"),
    "sinabs IAF, min_v_mem": lambda _: built_in_sinabs("IAF", min_v_mem=-0.3),
    "sinabs IAF, tau_syn": lambda _: built_in_sinabs("IAF", tau_syn=3.0, reset="zero"),
    "spikingjelly IFNode": lambda _: built_in_spikingjelly("IFNode"),
    "spikingjelly IFNode, dt 1": lambda _: built_in_spikingjelly("IFNode", dt=1.0),
    "spikingjelly LIFNode": lambda _: built_in_spikingjelly("LIFNode", tau=3.0),
    "spikingjelly LIFNode, v_reset": lambda _: built_in_spikingjelly(
        "LIFNode", tau=2.5, decay_input=False, v_reset=-0.2
    ),
    "spikingjelly ParametricLIFNode": lambda _: built_in_spikingjelly(
        "ParametricLIFNode", init_tau=4.0
    ),
    "spikingjelly CUBALIFNode": lambda _: built_in_spikingjelly(
        "CUBALIFNode", c_decay=0.6, v_decay=0.8, v_reset=-0.1
    ),
    "rockpool": lambda folder: built_in_rockpool(
        folder, has_bias=False, has_rec=False, max_spikes=2**16
    ),
    "rockpool, max_spikes": lambda folder: built_in_rockpool(
        folder, has_bias=False, has_rec=False, max_spikes=1
    ),
    "rockpool, bias": lambda folder: built_in_rockpool(
        folder, has_bias=True, has_rec=False, max_spikes=31
    ),
    "rockpool, w_rec": lambda folder: built_in_rockpool(
        folder, has_bias=True, has_rec=True, max_spikes=31
    ),
}
"""By name, networks with random parameters for every neuron where the framework has them."""


@pytest.mark.parametrize("name", BUILT)
def test_a_network_gives_what_it_gave_in_its_framework(name: str, tmp_path: Path) -> None:
    network = BUILT[name](tmp_path)
    nir.write(tmp_path / "model.nir", network.graph)
    module = converted(tmp_path / "model.nir", network.mapping, dtype=network.x.dtype)
    run = run_sequence(module, network.x)
    found, expected = run.outputs.detach(), network.output.detach()
    assert expected.abs().sum() > 0
    assert len(expected.unique()) > 1
    if name.startswith(("sinabs", "rockpool", "norse LIFBoxCell")):  # a readout without spikes
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    else:
        assert torch.equal(found, expected)
    # Gradients through all layers and all of time.
    weights = torch.randn_like(expected)
    (mine,) = torch.autograd.grad((run.outputs * weights).sum(), network.x)
    (theirs,) = torch.autograd.grad((network.output * weights).sum(), network.x)
    assert theirs.abs().sum() > 0
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


# -------------------------------------------------------------------------- adapters as modules


def lif(**changes: Any) -> nir.LIF:
    """A LIF with other parameters for every neuron, and r = 1."""
    random = np.random.default_rng(5)
    given = {
        "tau": random.uniform(3, 9, N),
        "r": np.ones(N),
        "v_leak": np.zeros(N),
        "v_threshold": random.uniform(0.2, 0.5, N),
        "v_reset": np.zeros(N),
    }
    return nir.LIF(**{**given, **arrays(changes)})


def cuba(**changes: Any) -> nir.CubaLIF:
    """A CubaLIF with other parameters for every neuron, r = 1 and w_in = 1."""
    random = np.random.default_rng(6)
    given = {
        "tau_syn": random.uniform(3, 9, N),
        "tau_mem": random.uniform(3, 9, N),
        "r": np.ones(N),
        "v_leak": np.zeros(N),
        "v_threshold": random.uniform(0.2, 0.5, N),
        "v_reset": np.zeros(N),
        "w_in": np.ones(N),
    }
    return nir.CubaLIF(**{**given, **arrays(changes)})


def integrator(**changes: Any) -> nir.IF:
    given = {"r": np.ones(N), "v_threshold": np.linspace(0.2, 0.9, N), "v_reset": np.zeros(N)}
    return nir.IF(**{**given, **arrays(changes)})


def leaky(**changes: Any) -> nir.LI:
    given = {"tau": np.linspace(3, 9, N), "r": np.ones(N), "v_leak": np.zeros(N)}
    return nir.LI(**{**given, **arrays(changes)})


def arrays(changes: dict[str, Any]) -> dict[str, np.ndarray]:
    return {
        name: np.broadcast_to(np.float64(value), (N,)).copy() for name, value in changes.items()
    }


def charging(node: Any, names: dict[str, str], rockpool: bool = False) -> Any:
    """The node with the weights of a step of 1 that snnTorch and others write, or Rockpool."""
    for weight, name in names.items():
        tau = np.asarray(getattr(node, name))
        setattr(node, weight, tau * np.exp(-1 / tau) if rockpool else tau)
    return node


NODES: dict[str, tuple[str, Callable[[], nir.NIRNode], dict[str, Any]]] = {
    "snntorch Leaky": ("snntorch", lambda: charging(lif(), {"r": "tau"}), {}),
    "snntorch Leaky, now": (
        "snntorch",
        lambda: charging(lif(), {"r": "tau"}),
        {"reset": "none", "delay": False},
    ),
    "snntorch Synaptic": (
        "snntorch",
        lambda: charging(cuba(), {"r": "tau_mem", "w_in": "tau_syn"}),
        {"reset": "zero"},
    ),
    "norse LIFBoxCell": ("norse", lambda: lif(v_leak=0.1, v_reset=-0.1), {}),
    "norse LIFCell": ("norse", lambda: cuba(v_leak=0.1, v_reset=-0.1), {}),
    "norse IAFCell": ("norse", lambda: integrator(v_reset=-0.1), {}),
    "norse LIBoxCell": ("norse", lambda: leaky(v_leak=0.1), {}),
    "sinabs LIF": ("sinabs", lif, {"tau_syn": 4.0, "min_v_mem": -0.2}),
    "sinabs LIF, at most 2": ("sinabs", lif, {"spikes": 2, "reset": "zero"}),
    "sinabs IAF": ("sinabs", integrator, {"spikes": "single"}),
    "sinabs ExpLeak": ("sinabs", leaky, {"min_v_mem": -0.2}),
    "spikingjelly IFNode": (
        "spikingjelly",
        lambda: integrator(v_threshold=0.6, v_reset=-0.2),
        {},
    ),
    "spikingjelly LIFNode": (
        "spikingjelly",
        lambda: lif(tau=3, v_threshold=0.4, v_leak=-0.2, v_reset=-0.2),
        {},
    ),
    "spikingjelly CUBALIFNode": (
        "spikingjelly",
        lambda: cuba(tau_syn=3, tau_mem=4, r=4, w_in=3, v_threshold=0.6, v_reset=-0.2),
        {},
    ),
    "rockpool LIFTorch": (
        "rockpool",
        lambda: charging(cuba(), {"r": "tau_mem"}, rockpool=True),
        {"bias": np.full(N, 0.01), "w_rec": np.full((N, N), 0.1)},
    ),
    "rockpool LIFNeuronTorch": (
        "rockpool",
        lambda: charging(lif(v_threshold=3.0), {"r": "tau"}, rockpool=True),
        {"max_spikes": 3},
    ),
    "rockpool ExpSynTorch": (
        "rockpool",
        lambda: charging(leaky(), {"r": "tau"}, rockpool=True),
        {},
    ),
}
"""By name, the framework, a node that it can compute with a step of 1, and its options."""


def adapter(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The adapter itself."""
    framework, node, options = NODES[name]
    return nir_to_torch(node(), layers(framework, 1, **options), dtype=dtype)


def network_of(name: str) -> Any:
    """The node behind weights."""
    framework, node, options = NODES[name]
    weight = np.random.default_rng(2).uniform(-0.3, 1, (N, 5))
    nodes = {"input": nir.Input(np.array([5])), "w": nir.Linear(weight), "n": node()}
    nodes["output"] = nir.Output(np.array([N]))
    graph = nir.NIRGraph(nodes, [("input", "w"), ("w", "n"), ("n", "output")])
    return module_of(graph, layers(framework, 1, **options))


def currents(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return uniform(-0.2, 1.0, *shape, dtype=dtype)


@pytest.mark.parametrize("name", NODES)
def test_a_state_gives_the_same_step_twice_and_is_not_changed(name: str) -> None:
    module, state = adapter(name), None
    for x in currents(5, 3, N):
        _, state = module(x, state)
    before = {key: value.clone() for key, value in state.items()}
    x = currents(3, N)
    output, new = module(x, state)
    module(currents(2, N))  # another run in between
    again, newer = module(x, state)
    assert torch.equal(output, again)
    assert state.keys() == before.keys() == new.keys()
    for key, value in state.items():
        assert torch.equal(value, before[key])
        assert torch.equal(new[key], newer[key])
    assert any(not torch.equal(new[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", NODES)
def test_it_begins_as_its_framework_does_and_rows_are_independent(name: str) -> None:
    module = adapter(name)
    x = currents(8, 2, 3, N)
    together = run_alone(module, x)
    assert together.abs().sum() > 0
    torch.testing.assert_close(run_alone(module, x.reshape(8, 6, N)).reshape(x.shape), together)
    for row in range(2):
        assert torch.equal(run_alone(module, x[:, row, 1]), together[:, row, 1])


def run_alone(module: Any, x: Tensor) -> Tensor:
    outputs, state = [], None
    for step in x:
        output, state = module(step, state)
        outputs.append(output)
    return torch.stack(outputs).detach()


@pytest.mark.parametrize("name", NODES)
def test_gradients_flow_through_the_step_and_through_time(name: str) -> None:
    module = adapter(name)
    x, state = currents(6, 3, N).requires_grad_(), None
    for step in x:
        output, state = module(step, state)
    # Surrogates have windows outside of which spikes have no gradient: states have one.
    last = output.sum() + sum(value.sum() for value in state.values())
    (gradient,) = torch.autograd.grad(last, x)
    assert torch.isfinite(gradient).all()
    for step in (0, -1):
        assert gradient[step].abs().sum() > 0, f"none for the input of step {step}"
    for row in range(3):
        assert gradient[0, row].abs().sum() > 0, f"none through time in row {row}"


@pytest.mark.parametrize("name", NODES)
def test_it_follows_types(name: str) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        module = adapter(name, dtype)
        x = currents(3, N, dtype=dtype)
        output, state = module(x)
        output, state = module(x, state)
        assert output.dtype == dtype
        assert {value.dtype for value in state.values()} == {dtype}
    module = adapter(name).double()
    x = currents(20, 3, N, dtype=torch.float64)
    found = run_alone(module, x)
    # The parameters went through float32; the calculation did not.
    torch.testing.assert_close(found, run_alone(adapter(name, torch.float64), x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NODES)
def test_it_moves_between_devices(name: str) -> None:
    """The meta device stands for another one: no tensor is left behind on the CPU."""
    module = adapter(name).to("meta")
    x = currents(3, N).to("meta")
    output, state = module(x)
    output, state = module(x, state)
    assert output.is_meta
    assert all(value.is_meta for value in state.values())


@pytest.mark.parametrize("name", NODES)
def test_a_state_of_another_batch_is_refused(name: str) -> None:
    module = adapter(name)
    _, state = module(currents(3, N))
    with pytest.raises(ValueError, match=r"has the shape \(3, 6\), not \(2, 6\); start with state"):
        module(currents(2, N), state)


@pytest.mark.parametrize("name", NODES)
def test_a_sequence_gives_what_steps_give(name: str) -> None:
    x = currents(30, 2, 5)
    expected = run_steps(network_of(name), x).outputs
    assert expected.abs().sum() > 0
    for chunk in (None, 1, 7):
        found = run_sequence(network_of(name), x, chunk=chunk)
        torch.testing.assert_close(found.outputs, expected, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(run_sequence(network_of(name), x).outputs, expected)


RUN_AGAIN = """
import sys, torch, nirtorch_cli
module = nirtorch_cli.load(sys.argv[1])
inputs, expected = torch.load(sys.argv[2], weights_only=True)
state, outputs = None, []
with torch.no_grad():
    for x in inputs:
        y, state = module(x, state)
        outputs.append(y)
assert torch.equal(torch.stack(outputs), expected), "another output in a fresh process"
print("identical", len(outputs))
"""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_saved_after_a_step_of_training_and_loaded_in_a_fresh_process(
    framework: str, tmp_path: Path
) -> None:
    pack(framework)
    for name in (name for name in NODES if NODES[name][0] == framework):
        module = network_of(name)
        run_steps(module, currents(4, 2, 5)).outputs.sum().backward()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.mul_(1.05)
        inputs = currents(12, 2, 5)
        expected = run_steps(module, inputs).outputs.detach()
        assert torch.equal(run_steps(copy.deepcopy(module), inputs).outputs, expected)
        trainable = [key for key, p in module.named_parameters() if p.requires_grad]
        nirtorch_cli.save(module, tmp_path / "model.pt")
        loaded = nirtorch_cli.load(tmp_path / "model.pt")
        assert [key for key, p in loaded.named_parameters() if p.requires_grad] == trainable
        assert loaded.state_dict().keys() == module.state_dict().keys()
        torch.save((inputs, expected), tmp_path / "run.pt")
        arguments = [str(tmp_path / "model.pt"), str(tmp_path / "run.pt")]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", RUN_AGAIN, *arguments],
            capture_output=True,
            text=True,
        )
        assert (done.stdout, done.returncode) == ("identical 12\n", 0), f"{name}: {done.stderr}"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_states_have_nir_names_in_recordings(framework: str) -> None:
    pack(framework)
    for name in (name for name in NODES if NODES[name][0] == framework):
        module = network_of(name)
        known = set(module.n.nir_states.values())
        run = run_sequence(
            module,
            currents(4, 2, 5),
            record=[f"n:{each}" for each in ("v", "i") if each in known and has(name, each)],
        )
        assert {values.shape for values in run.trace["n"].values()} == {(4, 2, N)}


def has(name: str, variable: str) -> bool:
    """Whether the state of a node has a voltage, or a current."""
    module = adapter(name)
    _, state = module(currents(1, N))
    return any(module.nir_states.get(key) == variable for key in state)


def test_parameters_that_a_framework_trains_are_trainable() -> None:
    """sinabs trains time constants, Rockpool all but states; snnTorch and Norse none unasked."""
    trained = {
        "sinabs LIF": {"layer.tau_mem", "layer.tau_syn"},
        "snntorch Leaky": set(),
        "norse LIFCell": set(),
        "rockpool LIFTorch": {
            f"layer.{name}" for name in ("tau_mem", "tau_syn", "bias", "threshold", "w_rec")
        },
    }
    for name, expected in trained.items():
        if importlib.util.find_spec(NODES[name][0]) is None:
            continue
        parameters = adapter(name).named_parameters()
        assert {key for key, p in parameters if p.requires_grad} == expected


# ------------------------------------------------------------------------------------ refusals


def tau(node: Any) -> Any:
    return charging(node, {"r": "tau"})


def both(node: Any) -> Any:
    return charging(node, {"r": "tau_mem", "w_in": "tau_syn"})


def pool(node: Any) -> Any:
    return charging(node, {"r": "tau" if hasattr(node, "tau") else "tau_mem"}, rockpool=True)


REFUSED: list[tuple[str, Callable[[], nir.NIRNode], dict[str, Any], str]] = [
    ("snntorch", lif, {}, "LIF: r is 1, not 3.* to 7.*; r = tau/dt is what snnTorch's Leaky"),
    ("snntorch", lambda: tau(lif(v_leak=0.1)), {}, "LIF: v_leak is 0.1, not 0; snnTorch's Leaky"),
    ("snntorch", lambda: tau(lif(v_reset=0.1)), {}, "LIF: v_reset is 0.1, not 0; reset=subtract"),
    ("snntorch", lambda: tau(lif(v_reset=0.1)), {"reset": "none"}, "LIF: v_reset is 0.1, not 0"),
    (
        "snntorch",
        lambda: both(cuba(v_reset=0.1)),
        {"reset": "zero"},
        "CubaLIF: v_reset is 0.1, not 0; reset=zero sets the membrane to 0",
    ),
    ("snntorch", lambda: tau(lif(tau=0.5)), {}, "LIF: tau is 0.5, and a step 1; snnTorch clamps"),
    ("snntorch", cuba, {}, "CubaLIF: r is 1, not .*; r = tau_mem/dt is what snnTorch's Synaptic"),
    ("snntorch", lambda: charging(cuba(), {"r": "tau_mem"}), {}, "CubaLIF: w_in is 1, not "),
    ("snntorch", lambda: both(cuba(v_leak=0.1)), {}, "CubaLIF: v_leak is 0.1, not 0; snnTorch's"),
    ("snntorch", lambda: both(cuba(tau_syn=0.5)), {}, "CubaLIF: tau_syn is 0.5, and a step 1"),
    ("norse", lambda: lif(r=2), {}, "LIF: r is 2, not 1; Norse's LIFBoxCell has none"),
    (
        "norse",
        lambda: lif(v_reset=0.1),
        {"reset": "subtract"},
        "LIF: v_reset is 0.1, not 0; reset=subtract takes v_threshold off",
    ),
    ("norse", cuba, {"reset": "subtract"}, "CubaLIF: reset=subtract, but Norse's LIFCell can only"),
    ("norse", integrator, {"reset": "subtract"}, "IF: reset=subtract, but Norse's IAFCell can"),
    ("norse", lambda: cuba(r=2), {}, "CubaLIF: r is 2, not 1; Norse's LIFCell has none"),
    ("norse", lambda: cuba(w_in=2), {}, "CubaLIF: w_in is 2, not 1; Norse's LIFCell adds its"),
    ("norse", lambda: integrator(r=2), {}, "IF: r is 2, not 1; Norse's IAFCell adds its input"),
    ("norse", lambda: leaky(r=2), {}, "LI: r is 2, not 1; Norse's LIBoxCell has none"),
    ("sinabs", lambda: lif(r=2), {}, "LIF: r is 2, not 1; sinabs's LIF has none"),
    ("sinabs", lambda: lif(v_leak=0.1), {}, "LIF: v_leak is 0.1, not 0; sinabs's LIF has none"),
    ("sinabs", lambda: lif(v_reset=0.1), {}, "LIF: v_reset is 0.1, not 0; reset=subtract takes"),
    (
        "sinabs",
        lambda: integrator(v_reset=0.1),
        {"reset": "zero"},
        "IF: v_reset is 0.1, not 0; reset=zero sets v to 0; sinabs's MembraneReset adds another",
    ),
    ("sinabs", lambda: integrator(r=2), {}, "IF: r is 2, not 1; sinabs's IAF has none"),
    ("sinabs", lambda: leaky(r=2), {}, "LI: r is 2, not 1; sinabs's ExpLeak has none"),
    ("sinabs", lambda: leaky(v_leak=0.1), {}, "LI: v_leak is 0.1, not 0; sinabs's ExpLeak"),
    (
        "spikingjelly",
        integrator,
        {},
        "IF: v_threshold is 0.2 to 0.9, which differs between neurons; SpikingJelly's IFNode takes",
    ),
    ("spikingjelly", lambda: integrator(r=3), {}, "IF: r is 3, not 1; r = 1/dt"),
    ("spikingjelly", lif, {}, "LIF: tau is 3.* to 7.*, which differs between neurons"),
    ("spikingjelly", lambda: lif(tau=1), {}, "LIF: tau is 1, and a step 1; SpikingJelly's LIFNode"),
    ("spikingjelly", lambda: lif(tau=3, r=2), {}, "LIF: r is 2, not 3; r = 1 or tau/dt"),
    (
        "spikingjelly",
        lambda: lif(tau=3, v_threshold=1, v_leak=0.1),
        {},
        "LIF: v_leak is 0.1, not 0; SpikingJelly's LIFNode leaks to v_reset",
    ),
    (
        "spikingjelly",
        lambda: cuba(tau_mem=0.5, tau_syn=3),
        {},
        "CubaLIF: tau_mem is 0.5, and a step 1; SpikingJelly's CUBALIFNode takes no tau below",
    ),
    (
        "spikingjelly",
        lambda: cuba(tau_mem=3, tau_syn=3, r=3),
        {},
        "CubaLIF: w_in is 1, not 3; w_in = tau_syn/dt is what",
    ),
    (
        "spikingjelly",
        lambda: cuba(tau_mem=3, tau_syn=3, w_in=3),
        {},
        "CubaLIF: r is 1, not 3; r = tau_mem/dt is what",
    ),
    (
        "spikingjelly",
        lambda: cuba(tau_mem=3, tau_syn=3, w_in=3, r=3, v_leak=0.1),
        {},
        "CubaLIF: v_leak is 0.1, not 0; SpikingJelly's CUBALIFNode has none",
    ),
    ("rockpool", cuba, {}, r"CubaLIF: r is 1, not .*; r = tau_mem/dt exp\(-dt/tau_mem\) is"),
    ("rockpool", lambda: pool(cuba(w_in=2)), {}, "CubaLIF: w_in is 2, not 1; Rockpool's LIFTorch"),
    ("rockpool", lambda: pool(cuba(v_leak=0.1)), {}, "CubaLIF: v_leak is 0.1, not 0; Rockpool's"),
    ("rockpool", lambda: pool(cuba(v_reset=0.1)), {}, "CubaLIF: v_reset is 0.1, not 0; Rockpool's"),
    ("rockpool", lif, {}, r"LIF: r is 1, not .*; r = tau/dt exp\(-dt/tau\) is Rockpool's LIFNeur"),
    ("rockpool", lambda: pool(lif(v_leak=0.1)), {}, "LIF: v_leak is 0.1, not 0; Rockpool's LIFN"),
    ("rockpool", lambda: pool(lif(v_reset=0.1)), {}, "LIF: v_reset is 0.1, not 0; Rockpool's LIF"),
    ("rockpool", leaky, {}, "LI: r is 1, not .*; r = tau/dt"),
    ("rockpool", lambda: pool(leaky(v_leak=0.1)), {}, "LI: v_leak is 0.1, not 0; Rockpool's Exp"),
    (
        "rockpool",
        lambda: pool(cuba()),
        {"bias": np.zeros(N + 1)},
        r"bias has the shape \(7,\), which fits no neurons",
    ),
    (
        "rockpool",
        lambda: pool(cuba()),
        {"w_rec": np.zeros((N, 2))},
        r"w_rec has the shape \(6, 2\), which fits no neurons",
    ),
]


@pytest.mark.parametrize(("framework", "node", "options", "text"), REFUSED)
def test_what_a_framework_cannot_compute_is_refused_by_name(
    framework: str, node: Callable[[], nir.NIRNode], options: dict[str, Any], text: str
) -> None:
    made = node()
    with pytest.raises(ValueError, match=f"^{text}"):
        called(layers(framework, 1.0, **options)[type(made)], made)
    # As everything a mapper refuses, with the node's name.
    graph = nir.NIRGraph(
        {"input": nir.Input(np.array([N])), "n": made, "output": nir.Output(np.array([N]))},
        [("input", "n"), ("n", "output")],
    )
    with pytest.raises(MapperError, match=f"node 'n': .*{text}"):
        nir_to_torch(graph, layers(framework, 1.0, **options))


OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("snntorch", {"reset": "value"}, "reset 'value' is none of subtract, zero, none"),
    ("norse", {"reset": "zero"}, "reset 'zero' is none of value, subtract"),
    ("norse", {"reset": "subtract", "v_reset": 0.1}, "v_reset 0.1 has no use with reset=subtract"),
    ("sinabs", {"reset": "value"}, "reset 'value' is none of subtract, zero"),
    ("sinabs", {"spikes": 0}, "spikes 0 is neither multi nor single nor a positive number"),
    ("sinabs", {"spikes": "some"}, "spikes 'some' is neither multi nor single"),
    ("sinabs", {"tau_syn": -1.0}, "tau_syn -1.0 is not a positive number"),
    ("rockpool", {"max_spikes": 0}, "max_spikes 0 is not a positive whole number"),
]


@pytest.mark.parametrize(("framework", "options", "text"), OPTIONS)
def test_an_option_that_a_framework_does_not_have_is_refused(
    framework: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        layers(framework, 1.0, **options)


# ------------------------------------------------------------------------ a node's surroundings


def called(mapper: Any, node: nir.NIRNode) -> Any:
    """What a mapper makes of a node that is alone."""
    graph = types.SimpleNamespace(nodes={"n": node}, edges=[])
    return mapper(node, surroundings(graph, "n")) if takes_context(mapper) else mapper(node)


def surroundings(graph: nir.NIRGraph, path: str, in_loop: bool = True) -> Any:
    return types.SimpleNamespace(path=path, in_loop=in_loop, graph=graph, predecessors=(), dt=1.0)


def test_only_a_neuron_in_a_loop_with_nothing_but_weights_is_an_rleaky() -> None:
    pack("snntorch")
    weights = nir.Linear(np.eye(N))
    nodes = {"a": tau(lif()), "b": tau(lif()), "w": weights, "v": weights, "u": weights}
    edges = [("a", "w"), ("w", "a"), ("a", "u"), ("u", "b"), ("b", "v"), ("v", "a")]
    graph = types.SimpleNamespace(nodes=nodes, edges=edges)
    mapper = layers("snntorch", 1, reset="zero")[nir.LIF]

    def kind(graph: Any, path: str, in_loop: bool = True) -> str:
        node = nodes[path.rpartition("/")[2]]
        return type(mapper(node, surroundings(graph, path, in_loop)).layer).__name__

    assert kind(graph, "a") == kind(graph, "nest/a") == "RLeaky"
    assert kind(graph, "b") == kind(graph, "a", in_loop=False) == "Leaky"


def test_rleaky_resets_what_arrives_too() -> None:
    """m = (beta m + x)(1 - R), and Leaky's m = beta (1 - R) m + x."""
    pack("snntorch")
    node = charging(lif(tau=2.0, v_threshold=0.5), {"r": "tau"})
    graph = types.SimpleNamespace(
        nodes={"n": node, "w": nir.Linear(np.eye(N))}, edges=[("n", "w"), ("w", "n")]
    )
    for reset_now, expected in ((False, 0.0), (True, 0.25)):
        mapper = layers("snntorch", 1, reset="zero", delay=not reset_now)[nir.LIF]
        module = mapper(node, surroundings(graph, "n"))
        _, state = module(torch.full((1, N), 0.7))
        _, state = module(torch.full((1, N), 0.25), state)
        assert torch.equal(state["mem"], torch.full((1, N), expected))


def test_arrays_of_a_npz_file_go_to_the_nodes_of_their_names(tmp_path: Path) -> None:
    pack("rockpool")
    bias = np.linspace(0, 1, N)
    np.savez(tmp_path / "bias.npz", n=bias)
    node = pool(lif())
    graph = types.SimpleNamespace(nodes={"n": node, "m": node}, edges=[])
    mapper = layers("rockpool", 1, bias=tmp_path / "bias.npz")[nir.LIF]
    found = mapper(node, surroundings(graph, "n")).layer.bias
    np.testing.assert_array_equal(found.detach(), np.float32(bias))
    assert not mapper(node, surroundings(graph, "m")).layer.bias.any()
    np.savez(tmp_path / "other.npz", n=bias, x=bias)
    mapper = layers("rockpool", 1, bias=tmp_path / "other.npz")[nir.LIF]
    with pytest.raises(ValueError, match="bias: 'x' is no neuron of the network"):
        mapper(node, surroundings(graph, "n"))


def test_each_pack_names_its_distribution() -> None:
    for name in FRAMEWORKS:
        if importlib.util.find_spec(name) is not None:
            assert name == pack(name).DISTRIBUTION
