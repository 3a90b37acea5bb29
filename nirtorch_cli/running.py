"""Running a converted module over time: a plain loop of steps.

In: a module and inputs with time as their first axis. Out: a `Run` with the outputs, the
last state, and how often each spiking node fired.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nirtorch_cli.graph_module import ConvertedModule

SPIKING_TYPES = ("IF", "LIF", "CubaLIF", "Threshold")
"""The NIR types whose output is spikes."""


@dataclass
class SpikeCount:
    """How often the neurons of one node fired, over all steps and batch rows."""

    spikes: int = 0
    neurons: int = 0
    """Neurons without batch axes."""
    values: int = 0
    """Outputs looked at: neurons times batch times steps."""
    is_abstract: bool = False
    """Whether the outputs have no values to count, on the `meta` device."""

    @property
    def rate(self) -> float:
        """Spikes for each neuron and step."""
        return self.spikes / self.values if self.values else 0.0


@dataclass(frozen=True)
class Run:
    """What came out of a run.

    outputs: the outputs stacked over time, (T, *batch, *shape), or a dict of them.
    state: the state after the last step.
    spikes: by NIR path, the spikes of each node of a spiking type.
    """

    outputs: Any
    state: dict[str, Any] | None
    spikes: dict[str, SpikeCount] = field(default_factory=dict)


def run_steps(
    module: ConvertedModule,
    inputs: Tensor | Mapping[str, Tensor],
    state: Mapping[str, Any] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Run:
    """Call a converted module once for each time step.

    Arguments:
        module: what `nir_to_torch` returned.
        inputs: (T, *batch, *shape), or for several Inputs a dict of such by argument name.
        state: the state to start from; None for the resting state.
        on_step: called before each step with its number, for a sign of life.

    Raises:
        ValueError: no inputs, no steps, or inputs with different numbers of steps.
    """
    named = {module.meta["inputs"][0]: inputs} if isinstance(inputs, Tensor) else dict(inputs)
    lengths = {len(values) for values in named.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"inputs must have one number of steps, not {sorted(lengths)}")
    outputs = []
    with counting_spikes(module) as spikes:
        for step in range(lengths.pop()):
            if on_step is not None:
                on_step(step)
            output, state = module(**{n: values[step] for n, values in named.items()}, state=state)
            outputs.append(output)
    return Run(_stacked(outputs), None if state is None else dict(state), spikes)


@contextlib.contextmanager
def counting_spikes(module: ConvertedModule) -> Iterator[dict[str, SpikeCount]]:
    """While open, count what the spiking nodes of a module give, by NIR path."""
    counts: dict[str, SpikeCount] = {}
    hooks = [
        child.register_forward_hook(_counter(counts.setdefault(path, SpikeCount()), rank))
        for path, child, rank in spiking_nodes(module)
    ]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def spiking_nodes(
    module: ConvertedModule, prefix: str = ""
) -> Iterator[tuple[str, torch.nn.Module, int | None]]:
    """NIR path, module and rank of the output of each spiking node, nested ones too."""
    for name, child in module.named_children():
        path = prefix + module.meta["names"].get(name, name)
        if isinstance(child, ConvertedModule):
            yield from spiking_nodes(child, f"{path}/")
        elif module.meta["types"].get(name) in SPIKING_TYPES:
            shape = module.meta["shapes"][name][1]
            yield path, child, None if shape is None else len(shape)


def _counter(count: SpikeCount, rank: int | None) -> Any:
    def hook(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        count.values += spikes.numel()
        shape = spikes.shape if rank is None else spikes.shape[spikes.dim() - rank :]
        count.neurons = int(shape.numel())
        count.is_abstract = spikes.device.type == "meta"
        if not count.is_abstract:
            count.spikes += int(torch.count_nonzero(spikes))

    return hook


def _stacked(outputs: list[Any]) -> Any:
    if outputs and isinstance(outputs[0], dict):
        return {name: torch.stack([output[name] for output in outputs]) for name in outputs[0]}
    return torch.stack(outputs)
