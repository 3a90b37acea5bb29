"""Running a converted module over time: whole sequences, and a plain loop of steps.

In: a module and inputs with time as their first axis. Out: the outputs over time, the last
state, and what was recorded, or how often each spiking node fired. `run_sequence` gives what
`run_steps` gives, several times faster; see `sequencer` for how.

How equal the two are, whatever the chunk, in loops and out of them, with gradients or without:

- Bit for bit what acts on each element by itself: given equal inputs, IF, LIF, CubaLIF, Delay,
  Scale, Threshold, the pools and the sums of edges that meet give equal outputs.
- To rounding convolutions and matrix products, whose sums torch orders by the number of frames. In
  whatever order n terms are added, a sum is off by about n eps/2 times the sum of their magnitudes,
  so that two differ by n eps times that at most (eps is 1.2e-7 in float32, 2.2e-16 in float64).
- To 1e-6, in float32, I, LI and CubaLI, whose steps are solved at once.

A voltage that hears such sums differs as little. Only where it is so near its threshold can a spike
be in the one run and not in the other; from there on the two may part, as runs with any other order
of sums would. With weights of which all sums are exact (whole numbers, say) all bits are equal.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.primitives.table import is_spiking
from nirtorch_cli.running.engine.compiler import Compiler
from nirtorch_cli.running.engine.sequencer import Sequencer, Trace
from nirtorch_cli.running.recording import wanted

CHUNK_BYTES = 16 * 2**20
"""What the outputs of all nodes may take, over the steps that are worked on at a time."""

WORK_BYTES = 256 * 2**20
"""What one node may need beside that while it works on them."""


class SequenceRun(NamedTuple):
    """What came out of `run_sequence`.

    outputs: (T, *batch, *shape), or for several Outputs a dict of such by argument name.
    state: the state after the last step.
    trace: what was recorded, by NIR path and variable: (T, *batch, *shape); a "count" has no
        time, (*batch, *shape).
    """

    outputs: Any
    state: dict[str, Any]
    trace: dict[str, dict[str, Tensor]]


def run_sequence(
    module: ConvertedModule,
    inputs: Tensor | Mapping[str, Tensor],
    state: Mapping[str, Any] | None = None,
    record: Iterable[str] | None = None,
    *,
    chunk: int | None = None,
    compiler: Compiler | None = None,
) -> SequenceRun:
    """Run a converted module over a sequence: what calling it for each step gives.

    Where the graph has no loop, layers follow each other, each over all steps; where it has one,
    its members go step by step together. Gradients flow through all of it.

    Arguments:
        module: what `nir_to_torch` returned.
        inputs: (T, *batch, *shape), or for several Inputs a dict of such by argument name.
        state: the state to start from, which is not changed; None for the resting state.
        record: nodes by their NIR path (`lif`, `nest/lif`), or variables of theirs (`lif:v`,
            `lif:i`, `lif:spikes`, `lif:output`, `lif:count`); see `recording`.
        chunk: how many steps are worked on at a time, which bounds the memory that is needed
            and changes no result; None to choose it by the sizes.
        compiler: compiles the loops of neurons, in seconds, and keeps what it compiled for the
            next call that it is given to; results are then the same to rounding.

    Raises:
        ValueError: no inputs, no steps, inputs with different numbers of steps or of another
            shape than the module's, or a chunk of no steps.
        UsageError: `record` names what the module does not have.
        StateError: the state is another module's, or of another batch.
    """
    named = _named(module, inputs)
    trace = Trace(wanted(module, record or ()))
    steps = len(next(iter(named.values())))
    length = chunk_length(module, named) if chunk is None else chunk
    if length < 1:
        raise ValueError(f"a chunk has at least one step, not {chunk}")
    sequencer = Sequencer(module, trace, compiler)
    outputs: list[Any] = []
    for start in range(0, steps, length):
        part = tuple(named[name][start : start + length] for name in module.meta["inputs"])
        output, state = sequencer.run(part, state)
        outputs.append(output)
    return SequenceRun(_joined(outputs), dict(state or {}), trace.joined())


def chunk_length(module: ConvertedModule, inputs: Tensor | Mapping[str, Tensor]) -> int:
    """How many steps to work on at a time: so many that their values fit `CHUNK_BYTES`.

    All of them where a gradient is asked for, which keeps every value anyway.
    """
    named = _named(module, inputs)
    steps = len(next(iter(named.values())))
    tensors = (*named.values(), *module.parameters(), *module.buffers())
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return steps
    name, values = next(iter(named.items()))
    own = math.prod(module.meta["shapes"][name][1] or ())
    rows = values[0].numel() // own if own else 1
    numbers = sum(
        math.prod(shape[1]) for shape in module.meta["shapes"].values() if shape[1] is not None
    )
    most: int = CHUNK_BYTES // max(1, rows * numbers * values.element_size())
    work: int = max(1, rows * module.meta.get("work_bytes", 0))
    return max(1, min(steps, most, WORK_BYTES // work))


def _named(module: ConvertedModule, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs by argument name, checked: nothing is broadcast."""
    names = module.meta["inputs"]
    named = {names[0]: inputs} if isinstance(inputs, Tensor) else dict(inputs)
    if set(named) != set(names):
        raise ValueError(f"the module takes {', '.join(names)}, not {', '.join(sorted(named))}")
    lengths = {len(values) if values.dim() else 0 for values in named.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"inputs must have one number of steps, not {sorted(lengths)}")
    batches = set()
    for name, values in named.items():
        shape = module.meta["shapes"][name][1]
        if shape is None:
            continue
        axes = values.dim() - len(shape)
        if axes < 1 or tuple(values.shape[axes:]) != tuple(shape):
            wanted_shape = ", ".join(("T", "...", *map(str, shape)))
            raise ValueError(f"{name} must be ({wanted_shape}), not {tuple(values.shape)}")
        batches.add(tuple(values.shape[1:axes]))
    if len(batches) > 1:
        raise ValueError(f"inputs must have the same batch axes, not {sorted(batches)}")
    return named


def _joined(outputs: list[Any]) -> Any:
    if isinstance(outputs[0], dict):
        return {name: _joined([output[name] for output in outputs]) for name in outputs[0]}
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


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
        elif is_spiking(module.meta["types"].get(name)):
            shape = module.meta["shapes"][name][1]
            yield path, child, None if shape is None else len(shape)


def _counter(count: SpikeCount, rank: int | None) -> Any:
    def hook(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        is_step = isinstance(output, (tuple, list)) and len(output) > 0
        spikes = output[0] if is_step else output
        if not isinstance(spikes, Tensor) or spikes.layout != torch.strided:
            return  # the check of what it gave says so
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
