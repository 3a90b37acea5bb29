"""The networks of `scripts/bench_run --only packs`, each built by hand in one framework.

In: the name of a framework. Out: `Elsewhere`, a dense network of the framework's neurons as they
are by default: its graph as the framework's own exporter makes it, and the framework's ways to run
it, as functions from input spikes (T, batch, 64) to output spikes (T, batch, 10), from rest.

Weights are seeded and whole multiples of 1/4096, so that their sums are exact in any order; `GAINS`
are such that layers fire in 5 to 40 % of all steps.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environment
import nir
import numpy as np
import torch
from bench_networks import Runner, counting, stepping
from torch import Tensor, nn

SIZES = (64, 256, 256, 10)
FINENESS = 4096
PACKS = ("snntorch", "norse", "sinabs", "spikingjelly", "rockpool", "spyx")

GAINS = {
    "snntorch": (0.012, 0.0057, 0.0053),
    "norse": (0.025, 0.011, 0.012),
    "sinabs": (0.0087, 0.0041, 0.0041),
    "spikingjelly": (0.042, 0.02, 0.018),
    "rockpool": (0.0006, 0.0003, 0.0003),
    "spyx": (0.022, 0.011, 0.0087),
}
"""By framework, the mean of the weights of each layer; their deviation is four times as much."""


@dataclass(frozen=True)
class Elsewhere:
    """A network of a framework.

    graph: what its exporter makes. runners: its ways to run, by name; each has a `count`, the
    spikes of all layers, and what runs in another process has `seconds` instead of being timed.
    """

    graph: nir.NIRGraph
    runners: dict[str, Runner]


def weights(framework: str) -> list[np.ndarray]:
    """The matrices of the layers, (neurons, inputs) in float32."""
    generator = np.random.default_rng(0)
    layers = zip(SIZES[1:], SIZES[:-1], GAINS[framework], strict=True)
    drawn = [mean * (1 + 4 * generator.standard_normal((to, of))) for to, of, mean in layers]
    return [(np.round(one * FINENESS) / FINENESS).astype(np.float32) for one in drawn]


def linear_layers(framework: str) -> list[nn.Linear]:
    """Torch's layers with these weights, and without biases."""
    layers = []
    for weight in weights(framework):
        layer = nn.Linear(*weight.shape[::-1], bias=False)
        layer.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
        layers.append(layer)
    return layers


def alternating(layers: list[nn.Linear], neurons: list[Any]) -> list[Any]:
    """Each layer, followed by its neurons."""
    return [module for pair in zip(layers, neurons, strict=True) for module in pair]


@contextlib.contextmanager
def elsewhere(framework: str) -> Iterator[Elsewhere | str]:
    """The network of a framework; or, if that is not installed, what is missing."""
    with warnings.catch_warnings(), contextlib.ExitStack() as opened:
        warnings.simplefilter("ignore")
        if framework == "spyx":
            yield spyx(opened)
            return
        try:
            built: Elsewhere | str = BUILDERS[framework]()
        except ModuleNotFoundError as error:
            built = f"{error.name} is not installed"
        yield built


# ------------------------------------------------------------------------- those of torch


def snntorch() -> Elsewhere:
    """Leaky, which subtracts a step late."""
    from snntorch import Leaky
    from snntorch.export_nir import export_to_nir

    layers = linear_layers("snntorch")

    def neurons(init_hidden: bool) -> list[Any]:
        return [
            Leaky(torch.full((size,), 0.9), threshold=torch.ones(size), init_hidden=init_hidden)
            for size in SIZES[1:]
        ]

    kept = nn.Sequential(*alternating(layers, neurons(init_hidden=True)))
    graph = export_to_nir(kept, torch.zeros(1, SIZES[0]), ignore_dims=[0])
    handed = neurons(init_hidden=False)

    def run(x: Tensor) -> Tensor:
        states = [x.new_zeros(x.shape[1], size) for size in SIZES[1:]]
        outputs = []
        for z in x:
            for number, (layer, neuron) in enumerate(zip(layers, handed)):
                z, states[number] = neuron(layer(z), states[number])
            outputs.append(z)
        return torch.stack(outputs)

    return Elsewhere(graph, {"snntorch, steps": counting(run, handed)})


def norse() -> Elsewhere:
    """LIFCell, and LIF, which is the same over time."""
    import norse.torch as norse
    from norse.torch.utils.export_nir import to_nir

    layers = linear_layers("norse")

    def parameters(size: int) -> norse.LIFParameters:
        defaults = norse.LIFParameters()
        names = ("tau_syn_inv", "tau_mem_inv", "v_leak", "v_th", "v_reset")
        return norse.LIFParameters(
            **{name: torch.full((size,), float(getattr(defaults, name))) for name in names}
        )

    cells = [norse.LIFCell(parameters(size)) for size in SIZES[1:]]
    cell_by_cell = norse.SequentialState(*alternating(layers, cells))
    graph = to_nir(cell_by_cell, torch.zeros(1, SIZES[0]))
    over_time = [norse.LIF() for _ in layers]  # it takes no v_leak for each neuron
    whole = norse.SequentialState(*alternating(layers, over_time))
    lifted = norse.Lift(cell_by_cell)

    def steps(x: Tensor) -> Tensor:
        state, outputs = None, []
        for frame in x:
            z, state = cell_by_cell(frame, state)
            outputs.append(z)
        return torch.stack(outputs)

    return Elsewhere(
        graph,
        {
            "norse, SequentialState, steps": counting(steps, cells),
            "norse, Lift of it": counting(lambda x: lifted(x)[0], cells),
            "norse, LIF, all steps at once": counting(lambda x: whole(x)[0], over_time),
        },
    )


def sinabs() -> Elsewhere:
    """IAF, which gives several spikes in a step and subtracts."""
    import sinabs.layers as sl
    from sinabs.nir import to_nir

    neurons = [sl.IAF() for _ in SIZES[1:]]
    network = nn.Sequential(*alternating(linear_layers("sinabs"), neurons))
    graph = to_nir(network, torch.zeros(1, 1, SIZES[0]))

    def run(x: Tensor) -> Tensor:
        for neuron in neurons:
            neuron.reset_states()
        return network(x.transpose(0, 1)).transpose(0, 1)

    return Elsewhere(graph, {"sinabs, all steps at once": counting(run, neurons)})


def spikingjelly() -> Elsewhere:
    """LIFNode, with tau 2 and a reset to 0."""
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    layers = linear_layers("spikingjelly")
    one = [neuron.LIFNode() for _ in layers]
    steps = nn.Sequential(*alternating(layers, one))
    graph = export_to_nir(steps, torch.zeros(1, SIZES[0]))
    many = [neuron.LIFNode(step_mode="m") for _ in layers]
    whole = nn.Sequential(*alternating(layers, many))

    def at_once(x: Tensor) -> Tensor:
        functional.reset_net(whole)
        return whole(x)

    stepped = stepping(steps, lambda: functional.reset_net(steps))
    return Elsewhere(
        graph,
        {
            "spikingjelly, steps": counting(stepped, one),
            "spikingjelly, multi-step": counting(at_once, many),
        },
    )


def rockpool() -> Elsewhere:
    """LIFTorch, which gives several spikes in a step and subtracts."""
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules import LIFTorch, LinearTorch
    from rockpool.nn.modules.torch.nir import to_nir

    drawn = [torch.from_numpy(weight.T.copy()) for weight in weights("rockpool")]
    layers = [LinearTorch(tuple(weight.shape), weight=weight) for weight in drawn]
    neurons = [LIFTorch((size,)) for size in SIZES[1:]]
    network = Sequential(*alternating(layers, neurons))
    graph = to_nir(network, torch.zeros(1, 1, SIZES[0]))

    def run(x: Tensor) -> Tensor:
        network.reset_state()
        output, _, _ = network(x.transpose(0, 1))
        return output.transpose(0, 1)

    def count(x: Tensor) -> int:
        network.reset_state()
        *_, recorded = network(x.transpose(0, 1), record=True)
        found = [
            r["spikes"] for name, r in recorded.items() if isinstance(r, dict) and "spikes" in r
        ]
        return sum(int(spikes.sum()) for spikes in found)

    run.count = count  # type: ignore[attr-defined]
    return Elsewhere(graph, {"rockpool, all steps at once": run})


BUILDERS: dict[str, Callable[[], Elsewhere]] = {
    builder.__name__: builder for builder in (snntorch, norse, sinabs, spikingjelly, rockpool)
}


# ---------------------------------------------------------------- that of jax, in a process


class Worker:
    """scripts/bench_spyx.py in the environment of Spyx: a network that answers to requests.

    It is given an input once, as a file, and from then on runs it as often as it is asked to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given: Tensor | None = None
        drawn = weights("spyx")
        np.savez(folder / "weights.npz", **{str(n): weight for n, weight in enumerate(drawn)})
        python = environment.python(environment.beside("spyx"))
        script = Path(__file__).with_name("bench_spyx.py")
        self.process = subprocess.Popen(
            [str(python), str(script), str(folder), str(torch.get_num_threads())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: str) -> Any:
        """The answer to a request, a line each."""
        process: Any = self.process
        with contextlib.suppress(BrokenPipeError):  # its own error says more
            process.stdin.write(request + "\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"bench_spyx.py stopped: {process.stderr.read()}")
        return json.loads(answer)

    def give(self, x: Tensor) -> None:
        """Hand over an input, unless it has it."""
        if self.given is not x:
            np.save(self.folder / "input.npy", x.numpy())
            self.ask("input")
            self.given = x

    def __call__(self, x: Tensor) -> Tensor:
        self.give(x)
        self.ask("output")
        return torch.from_numpy(np.load(self.folder / "output.npy"))

    def seconds(self, x: Tensor) -> float:
        """How long a run took, until the device was done."""
        self.give(x)
        return float(self.ask("time"))

    def count(self, x: Tensor) -> int:
        """The spikes of all layers."""
        self.give(x)
        return int(self.ask("count"))

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()


def spyx(opened: contextlib.ExitStack) -> Elsewhere | str:
    """LIF, whose decays are drawn; jit of a scan over time."""
    python = environment.python(environment.beside("spyx"))
    if not python.exists():
        return f"no {python.parent.parent.name}, which scripts/test makes"
    folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
    worker = Worker(folder)
    opened.callback(worker.close)
    worker.ask("export")
    graph = nir.read(folder / "model.nir")
    return Elsewhere(graph, {"spyx, jit of a scan": worker})
