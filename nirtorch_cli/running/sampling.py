"""A sample execution: a run of a converted module on uniform random input.

In: a module, numbers of steps and of batch rows, a seed. Out: a `Sample` of plain values, the same
as those of `nirtorch run -i uniform`. Cost: that of `stream`; memory does not grow with the steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nirtorch_cli.conversion.graph_module import ConvertedModule, first_floating
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.running.activity import NodeActivity
from nirtorch_cli.running.recording import spiking_paths
from nirtorch_cli.running.signals.generators import parsed
from nirtorch_cli.running.signals.inputs import InputOptions, generated_signal
from nirtorch_cli.running.signals.signal import Signal
from nirtorch_cli.running.stream import findings_of, run_stream
from nirtorch_cli.running.tally import OutputStatistics

FED = "uniform"
"""The generator of a sample's input."""


@dataclass(frozen=True)
class Sample:
    """The input, the output, and the time of a step; `asked` steps were requested."""

    steps: int
    asked: int
    batch: int
    seed: int
    fed: str
    inputs: dict[str, list[int]]
    outputs: dict[str, OutputStatistics]
    activity: list[NodeActivity]
    seconds_per_step: float
    findings: list[Finding]


def inputs_without_shape(module: ConvertedModule) -> list[str]:
    """The inputs without a known shape, for which no sample can be made."""
    return [name for name in module.meta["inputs"] if module.meta["shapes"][name][1] is None]


def random_inputs(module: ConvertedModule, steps: int, batch: int, seed: int) -> dict[str, Tensor]:
    """Uniform random numbers in [0, 1), (steps, batch, *shape), for every input by its name."""
    like = _like(module)
    return {
        name: torch.from_numpy(signal.part()).to(like)
        for name, signal in _signals(module, steps, batch, seed).items()
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
        on_steps: called with the number of steps done, to show progress.
        seconds: no further steps are begun after this time.

    Raises:
        NirtorchError: the module raised.
        KeyboardInterrupt: Ctrl-C.
    """
    like = _like(module)
    signals = _signals(module, steps, batch, seed)
    started = time.perf_counter()
    fired: list[NodeActivity] = []
    findings: list[Finding] = []
    if like.is_meta:
        done, outputs = steps, _abstract_outputs(module, steps, batch)
    else:
        outcome = run_stream(
            module,
            signals,
            like,
            record=[f"{path}:count" for path in spiking_paths(module)],
            on_steps=lambda done, state: on_steps(done),
            keep=False,
            seconds=seconds,
        )
        if outcome.is_interrupted:
            raise KeyboardInterrupt(f"interrupted after {outcome.steps:,} of {steps:,} steps")
        done = outcome.steps
        outputs = {name: tally.result() for (name, _), tally in outcome.tallies.items()}
        fired = outcome.activity(float(module.meta["dt"]))
        findings = findings_of(module, outcome)
    elapsed = time.perf_counter() - started
    return Sample(
        steps=done,
        asked=steps,
        batch=batch,
        seed=seed,
        fed=FED,
        inputs={name: [done, *signal.shape[1:]] for name, signal in signals.items()},
        outputs=outputs,
        activity=fired,
        findings=findings,
        seconds_per_step=elapsed / max(done, 1),
    )


def _like(module: ConvertedModule) -> Tensor:
    """A tensor of the type and on the device of a module's inputs."""
    first = first_floating(module)
    return torch.empty(0) if first is None else first.detach()


def _signals(module: ConvertedModule, steps: int, batch: int, seed: int) -> Mapping[str, Signal]:
    """The sample's signal for every input, generated part by part."""
    shapes, dt = module.meta["shapes"], float(module.meta["dt"])
    options = InputOptions(dt=dt, steps=steps, batch=batch, seed=seed)
    return {
        name: generated_signal(parsed(FED), (steps, batch, *shapes[name][1]), number, options)
        for number, name in enumerate(module.meta["inputs"])
    }


def _abstract_outputs(
    module: ConvertedModule, steps: int, batch: int
) -> dict[str, OutputStatistics]:
    """One step on the device `meta`, where tensors have shapes and no values."""
    step = {name: x[0] for name, x in random_inputs(module, 1, batch, 0).items()}
    with torch.no_grad():
        output, _ = module(**step)
    outputs = output if isinstance(output, dict) else {str(module.meta["outputs"][0]): output}
    return {
        name: OutputStatistics([steps, *values.shape], str(values.dtype).removeprefix("torch."))
        for name, values in outputs.items()
    }
