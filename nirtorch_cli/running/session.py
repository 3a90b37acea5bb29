"""A session runs a converted module over whole sequences or pieces of a stream.

In: a module and inputs with time as their first axis. Out: the outputs over time, the last state,
and recordings: the same as calling the module for each step, but several times faster; `engine`
says how.

How equal the two are, for any chunk, inside and outside of loops, with and without gradients:

- Bit for bit: everything that acts on each element by itself. Given equal inputs, all neurons,
  Delay, Scale, Threshold, pools, and the sums of edges into one node give equal outputs.
- To rounding: convolutions and matrix products, those inside of a neuron (Rockpool's w_rec, Spyx's
  recurrent nests) too, since torch chooses the order of their sums by the number of frames and by
  where they lie in memory. In any order, a sum of n terms is off by about n eps/2 times the sum of
  their magnitudes, so two results differ by at most n eps times that (eps is 1.2e-7 in float32,
  2.2e-16 in float64).

A voltage that receives such sums differs equally little. Only if it is that close to its threshold
can a spike be in one run and not in the other; from there on the two may diverge, as they would for
any other order of sums. If all sums are exact (whole-number weights, say), all bits are equal.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.running.engine.compiler import Compiler
from nirtorch_cli.running.engine.loop import StateRecorder
from nirtorch_cli.running.engine.sequencer import Sequencer, Trace
from nirtorch_cli.running.recording import OF_OUTPUTS, own_names, wanted

CHUNK_BYTES = 16 * 2**20
"""The most bytes for the outputs of all nodes, over the steps of a chunk."""

WORK_BYTES = 256 * 2**20
"""The most bytes of working memory of one node, over the steps of a chunk."""


class SequenceRun(NamedTuple):
    """The result of `run_sequence`.

    outputs: (T, *batch, *shape), or for several Outputs a dict of these by argument name.
    state: the state after the last step.
    trace: what was recorded, by NIR path and variable: (T, *batch, *shape); a "count" has no
        time, (*batch, *shape).
    """

    outputs: Any
    state: dict[str, Any]
    trace: dict[str, dict[str, Tensor]]


class Session:
    """A converted module over time: keeps its state, and the analysis of its graph.

    Arguments:
        module: what `nir_to_torch` returned. Its parameters, submodules and mode may change
            between runs; its graph may not.
        record: nodes by their NIR path (`lif`, `nest/lif`), or variables of theirs (`lif:v`,
            `lif:i`, `lif:spikes`, `lif:output`, `lif:count`); see `recording`.
        compiler: compiles the loops of neurons, which takes seconds, and keeps the programs;
        results are then the same to rounding. state: the state to start from, which is not changed;
        None for the resting state. chunk: how many steps are run at a time, which bounds the memory
        and changes no result; None to choose it by the sizes.

    Attributes:
        state: the state after the last step; may be set.

    Raises:
        UsageError: `record` names what the module does not have.
        ValueError: a chunk of no steps.

    Example:
        >>> session = Session(module, record=["lif:v"])
        >>> for piece in stream:
        ...     voltages = session.run(piece).trace["lif"]["v"]
    """

    def __init__(
        self,
        module: ConvertedModule,
        record: Iterable[str] | None = None,
        *,
        compiler: Compiler | None = None,
        state: Mapping[str, Any] | None = None,
        chunk: int | None = None,
    ) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"a chunk has at least one step, not {chunk}")
        self.module, self.chunk = module, chunk
        self.state = state
        self._compiler = compiler
        self._trace = Trace(wanted(module, record or ()))
        self._sequencer: Sequencer | None = None

    def run(
        self, inputs: Tensor | Mapping[str, Tensor], *, chunk: int | None = None
    ) -> SequenceRun:
        """Run the next steps; the result is that of calling the module for each of them.

        Layers run one after the other, each over all steps; the members of a loop run together,
        step by step. Gradients flow through all of it.

        Arguments:
            inputs: (T, *batch, *shape), or for several Inputs a dict of these by argument name.
            chunk: replaces that of the session for this run.

        Raises:
            ValueError: no inputs, no steps, or inputs with different numbers of steps or of
                another shape than the module's.
            StateError: the state is another module's, or of another batch.
        """
        named = _named(self.module, inputs)
        steps = len(next(iter(named.values())))
        recorded = self._leaves() if steps == 1 else None
        if recorded is not None:
            return self._one_step(named, recorded)
        if self._sequencer is None:
            self._sequencer = Sequencer(self.module, self._trace, self._compiler)
        chosen = chunk or self.chunk
        length = chunk_length(self.module, named) if chosen is None else chosen
        self._trace.begin()
        outputs: list[Any] = []
        state = self.state
        for start in range(0, steps, length):
            part = tuple(named[name][start : start + length] for name in self.module.meta["inputs"])
            output, state = self._sequencer.run(part, state)
            outputs.append(output)
        self.state = dict(state or {})
        return SequenceRun(_joined(outputs), self.state, self._trace.joined())

    def _leaves(self) -> dict[str, tuple[str, torch.nn.Module]] | None:
        """By path, name and module of each node that is recorded; None if the engine must look.

        That is where something inside a nested graph, a port or a shared module is recorded.
        """
        names = {nir_name: name for name, nir_name in self.module.meta["names"].items()}
        children = [id(child) for child in self.module._modules.values()]
        found: dict[str, tuple[str, torch.nn.Module]] = {}
        for path in self._trace.wanted:
            child = self.module._modules.get(names.get(path, ""))
            is_leaf = child is not None and not isinstance(child, ConvertedModule)
            if child is None or not is_leaf or children.count(id(child)) > 1:
                return None
            found[path] = names[path], child
        return found

    def _one_step(
        self, named: Mapping[str, Tensor], recorded: Mapping[str, tuple[str, torch.nn.Module]]
    ) -> SequenceRun:
        """One step is a single call, for which the engine is of no use; hooks see the outputs."""
        step = {name: values[0] for name, values in named.items()}
        self._trace.begin()

        def add_output(path: str, result: Any) -> None:
            value = result[0] if isinstance(result, (tuple, list)) else result
            if isinstance(value, Tensor) and value.layout == torch.strided:  # else a check says so
                self._trace.add_output(path, value.unsqueeze(0))

        with contextlib.ExitStack() as hooks:
            for path, (_, child) in recorded.items():
                hook = child.register_forward_hook(lambda _m, _x, y, path=path: add_output(path, y))
                hooks.callback(hook.remove)
            output, state = self.module(**step, state=self.state)
        self.state = dict(state or {})
        for path, (name, child) in recorded.items():
            if variables := self._trace.recorded(path).difference(OF_OUTPUTS):
                seen = StateRecorder(path, own_names(child, variables))
                seen.record(self.state[name])
                for variable, values in seen.stacked().items():
                    self._trace.add(path, variable, values)
        if isinstance(output, dict):
            outputs: Any = {name: value.unsqueeze(0) for name, value in output.items()}
        else:
            outputs = output.unsqueeze(0)
        return SequenceRun(outputs, self.state, self._trace.joined())


def run_sequence(
    module: ConvertedModule,
    inputs: Tensor | Mapping[str, Tensor],
    state: Mapping[str, Any] | None = None,
    record: Iterable[str] | None = None,
    *,
    chunk: int | None = None,
    compiler: Compiler | None = None,
) -> SequenceRun:
    """Run a converted module over a sequence; the result is that of calling it for each step.

    For pieces of a stream, or many short sequences, keep a `Session`, which analyses the graph
    once.

    Arguments:
        inputs: (T, *batch, *shape), or for several Inputs a dict of these by argument name.
        module, state, record, chunk, compiler: see `Session`.

    Raises:
        ValueError, UsageError, StateError: as `Session` and its `run`.
    """
    session = Session(module, record, compiler=compiler, state=state, chunk=chunk)
    return session.run(inputs)


def chunk_length(module: ConvertedModule, inputs: Tensor | Mapping[str, Tensor]) -> int:
    """How many steps to run at a time, so that their values fit into `CHUNK_BYTES`.

    All steps if a gradient is needed, since that keeps every value anyway.
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
