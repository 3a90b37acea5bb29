"""A sample execution: random input through a converted module, and what came out.

In: a module, numbers of steps and of batch rows, a seed. Out: a `Sample` of plain values.
The same seed gives the same input on every machine and device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nirtorch_cli.attribution import user_errors
from nirtorch_cli.graph_module import ConvertedModule, first_floating
from nirtorch_cli.running import Run, run_steps


@dataclass(frozen=True)
class OutputStatistics:
    """Shape (steps, batch, *shape) and statistics of an output; None on the `meta` device.

    A statistic that is no number is a text (nan, inf), since JSON has none.
    """

    shape: list[int]
    dtype: str
    mean: float | str | None = None
    min: float | str | None = None
    max: float | str | None = None


@dataclass(frozen=True)
class SpikeStatistics:
    """Spikes of one node: in all, for each neuron and step, and for each unit of time."""

    neurons: int
    spikes: int
    per_step: float
    rate: float


@dataclass(frozen=True)
class Sample:
    """What was fed, what came out, and how long a step took."""

    steps: int
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
    first = first_floating(module)
    like = torch.empty(0) if first is None else first
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
    on_step: Callable[[int], None] | None = None,
) -> Sample:
    """Run a module on uniform random input; every input must have a known shape.

    Raises:
        NirtorchError: a mapped module raised, or broke the contract of a map.
    """
    inputs = random_inputs(module, steps, batch, seed)
    started = time.perf_counter()
    with torch.no_grad(), user_errors(module):
        run = run_steps(module, inputs, on_step=on_step)
    elapsed = time.perf_counter() - started
    outputs = run.outputs if isinstance(run.outputs, dict) else {_only_output(module): run.outputs}
    return Sample(
        steps=steps,
        batch=batch,
        seed=seed,
        fed="uniform random numbers in [0, 1)",
        inputs={name: list(values.shape) for name, values in inputs.items()},
        outputs={name: _output_statistics(values) for name, values in outputs.items()},
        spikes=_spike_statistics(run, module.meta["dt"]),
        seconds_per_step=elapsed / steps,
    )


def _only_output(module: ConvertedModule) -> str:
    return str(module.meta["outputs"][0])


def _output_statistics(values: torch.Tensor) -> OutputStatistics:
    shape, dtype = list(values.shape), str(values.dtype).removeprefix("torch.")
    if values.device.type == "meta" or not values.numel():
        return OutputStatistics(shape, dtype)
    exact = values.double()
    return OutputStatistics(
        shape, dtype, _number(exact.mean()), _number(exact.min()), _number(exact.max())
    )


def _number(value: torch.Tensor) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _spike_statistics(run: Run, dt: float) -> dict[str, SpikeStatistics]:
    """None on the `meta` device, where nothing spikes."""
    return {
        node: SpikeStatistics(count.neurons, count.spikes, count.rate, count.rate / dt)
        for node, count in run.spikes.items()
        if not count.is_abstract
    }
