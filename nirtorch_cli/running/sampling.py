"""A sample execution: random input through a converted module, and what came out.

In: a module, numbers of steps and of batch rows, a seed. Out: a `Sample` of plain values.
The same seed gives the same input on every machine and device. Cost: that of `session`, in memory
that does not grow with the steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nirtorch_cli.conversion.graph_module import ConvertedModule, first_floating
from nirtorch_cli.running.sequence import SpikeCount, run_steps, spiking_nodes
from nirtorch_cli.running.session import drive
from nirtorch_cli.running.signals.signal import Signal
from nirtorch_cli.running.tally import OutputStatistics


@dataclass(frozen=True)
class SpikeStatistics:
    """Spikes of one node: in all, for each neuron and step, and for each unit of time."""

    neurons: int
    spikes: int
    per_step: float
    rate: float


@dataclass(frozen=True)
class Sample:
    """What was fed, what came out, and how long a step took; `asked` steps were to be run."""

    steps: int
    asked: int
    batch: int
    seed: int
    fed: str
    inputs: dict[str, list[int]]
    outputs: dict[str, OutputStatistics]
    spikes: dict[str, SpikeStatistics]
    seconds_per_step: float


def inputs_without_shape(module: ConvertedModule) -> list[str]:
    """The inputs that no sample can be made for."""
    return [name for name in module.meta["inputs"] if module.meta["shapes"][name][1] is None]


def random_inputs(
    module: ConvertedModule, steps: int, batch: int, seed: int
) -> dict[str, torch.Tensor]:
    """Uniform random numbers in [0, 1), (steps, batch, *shape), for every input by its name."""
    like = _like(module)
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: module.meta["shapes"][name][1] for name in module.meta["inputs"]}
    return {
        name: torch.rand((steps, batch, *shape), generator=generator).to(like)
        for name, shape in shapes.items()
    }


def run_sample(
    module: ConvertedModule,
    steps: int,
    batch: int,
    seed: int,
    on_steps: Callable[[int], None] = lambda done: None,
    seconds: float = math.inf,
) -> Sample:
    """Run a module on uniform random input; every input must have a known shape.

    Arguments:
        on_steps: is told how many steps are done, for a sign of life.
        seconds: after so long no further steps are begun.

    Raises:
        NirtorchError: the module raised.
        KeyboardInterrupt: Ctrl-C.
    """
    like = _like(module)
    signals = _signals(module, steps, batch, seed)
    started = time.perf_counter()
    if like.is_meta:
        done, outputs, spikes = _abstract_run(module, steps, batch)
    else:
        paths = [path for path, _, _ in spiking_nodes(module)]
        outcome = drive(
            module,
            signals,
            like,
            record=[f"{path}:count" for path in paths],
            on_steps=lambda done, state: on_steps(done),
            keep=False,
            seconds=seconds,
        )
        if outcome.is_interrupted:
            raise KeyboardInterrupt(f"interrupted after {outcome.steps:,} of {steps:,} steps")
        done = outcome.steps
        outputs = {name: tally.told() for name, tally in outcome.tallies.items()}
        spikes = {path: _counted(outcome.trace[path]["count"], done) for path in paths}
    elapsed = time.perf_counter() - started
    return Sample(
        steps=done,
        asked=steps,
        batch=batch,
        seed=seed,
        fed="uniform random numbers in [0, 1)",
        inputs={name: [done, *signal.shape[1:]] for name, signal in signals.items()},
        outputs=outputs,
        spikes={
            node: SpikeStatistics(
                count.neurons, count.spikes, count.rate, count.rate / module.meta["dt"]
            )
            for node, count in spikes.items()
        },
        seconds_per_step=elapsed / max(done, 1),
    )


def _like(module: ConvertedModule) -> torch.Tensor:
    """A tensor of the type and on the device that a module's inputs have."""
    first = first_floating(module)
    return torch.empty(0) if first is None else first.detach()


def _signals(module: ConvertedModule, steps: int, batch: int, seed: int) -> dict[str, Signal]:
    """Uniform random numbers for every input, made part by part and in this order only."""
    generators = {
        name: torch.Generator().manual_seed(seed + number)
        for number, name in enumerate(module.meta["inputs"])
    }
    shapes = {name: (batch, *module.meta["shapes"][name][1]) for name in generators}

    def made(name: str) -> Callable[[int, int], Any]:
        return lambda start, stop: torch.rand(
            (stop - start, *shapes[name]), generator=generators[name]
        ).numpy()

    kind = np.dtype(np.float32)
    return {name: Signal((steps, *shapes[name]), kind, made(name)) for name in generators}


def _abstract_run(
    module: ConvertedModule, steps: int, batch: int
) -> tuple[int, dict[str, OutputStatistics], dict[str, SpikeCount]]:
    """One step on the device `meta`, where nothing has values: shapes are all there is."""
    with torch.no_grad():
        run = run_steps(module, random_inputs(module, 1, batch, 0))
    outputs = (
        run.outputs
        if isinstance(run.outputs, dict)
        else {str(module.meta["outputs"][0]): run.outputs}
    )
    told = {
        name: OutputStatistics([steps, *values.shape[1:]], str(values.dtype).removeprefix("torch."))
        for name, values in outputs.items()
    }
    return steps, told, {}


def _counted(count: Any, steps: int) -> SpikeCount:
    """The spikes (B, *shape) of a node over so many steps."""
    neurons = math.prod(count.shape[1:])
    return SpikeCount(int(count.sum()), neurons, count.size * steps)
