"""Runs a session on signals, part by part, so that Ctrl-C loses only the last part.

In: a converted module and signals (T, B, *shape) for its inputs. Out: a `StreamRun` of arrays.
Always holds: only sizes decide how time is cut, so that two runs of one request give the same
bits; results on another device are copied part by part. Cost: that of `run_sequence`, and memory
for the outputs (if they are kept), the recordings, and one state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nirtorch_cli.conversion.attribution import user_errors
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted, listed
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.activity import NodeActivity, activity
from nirtorch_cli.running.arrays import as_array
from nirtorch_cli.running.engine.compiler import Compiler
from nirtorch_cli.running.finite import nodes_not_finite
from nirtorch_cli.running.session import SequenceRun, Session, chunk_length
from nirtorch_cli.running.signals.axes import Port
from nirtorch_cli.running.signals.signal import Signal
from nirtorch_cli.running.silence import silence
from nirtorch_cli.running.tally import Tally

_FEWEST_STEPS = 64
_MOST_CALLS = 2**13
"""The most steps times nodes of a part: about a second, even if each of them is a call of Python.
A part has at least `_FEWEST_STEPS` steps."""


@dataclass(frozen=True)
class StreamRun:
    """The result of a run.

    outputs: by the Output's argument, (T, B, *shape); empty if they are not kept. tallies: their
    statistics. state: after the last step, of tensors. trace: by NIR path and variable,
    (T, B, *shape); a `count` is (B, *shape). steps: how many were done. is_interrupted: whether
    Ctrl-C ended the run before the last step.
    """

    outputs: dict[str, Array]
    tallies: dict[str, Tally]
    state: Any
    trace: dict[str, dict[str, Array]]
    steps: int
    is_interrupted: bool = False

    def activity(self, dt: float) -> list[NodeActivity]:
        """The activity of each node whose spikes were counted; dt is the length of a step."""
        counts = {path: values["count"] for path, values in self.trace.items() if "count" in values}
        return activity(counts, self.steps, dt)


def ports_of(module: ConvertedModule) -> list[Port]:
    """The inputs of a module."""
    names, shapes = module.meta["names"], module.meta["shapes"]
    return [
        Port(
            name, names.get(name, name), None if shapes[name][1] is None else tuple(shapes[name][1])
        )
        for name in module.meta["inputs"]
    ]


def run_stream(
    module: ConvertedModule,
    inputs: Mapping[str, Signal],
    like: Tensor,
    *,
    state: Any = None,
    record: Sequence[str] = (),
    chunk: int | None = None,
    compiler: Compiler | None = None,
    on_steps: Callable[[int, Any], None] = lambda done, state: None,
    keep: bool = True,
    seconds: float = math.inf,
) -> StreamRun:
    """Run a module; the first Ctrl-C ends the run and keeps the complete parts.

    Arguments:
        inputs: (T, B, *shape) by argument name.
        like: a tensor with the dtype and device for the inputs.
        state: of tensors; None for the resting state.
        record: as `run_sequence` takes it.
        chunk: how many steps are run at a time; None to choose it.
        compiler: as `run_sequence` takes it.
        on_steps: called after each part with the number of steps done and the state after them.
        keep: whether the outputs are kept; if not, memory does not grow with the steps.
        seconds: no further part is begun after this time; the first parts are then short.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first part was complete.
        NirtorchError: the module raised.
    """
    kept = _Kept(module, len(next(iter(inputs.values()))), state, keep)
    longest = chunk or part_length(module, inputs, like, compiled=compiler is not None)
    length = longest if seconds == math.inf else 1
    session = Session(module, record, compiler=compiler, state=state)
    started, start = time.monotonic(), 0
    try:
        with torch.no_grad():
            while start < kept.asked and time.monotonic() - started < seconds:
                stop = min(kept.asked, start + length)
                part = {
                    name: torch.from_numpy(values.part(start, stop)).to(like)
                    for name, values in inputs.items()
                }
                with user_errors(module):
                    kept.take(session.run(part, chunk=stop - start), stop)
                on_steps(stop, kept.state)
                start, length = stop, min(2 * length, longest)
    except KeyboardInterrupt as interrupt:
        if not kept.steps:
            first = counted(min(length, kept.asked), "step")
            text = f"interrupted before the first {first}"
            raise KeyboardInterrupt(text) from interrupt
        return kept.outcome(is_interrupted=True)
    return kept.outcome()


class _Kept:
    """The results of a run: buffers for all steps, filled part by part."""

    def __init__(self, module: ConvertedModule, asked: int, state: Any, keep: bool) -> None:
        self.module, self.asked, self.state, self.keep = module, asked, state, keep
        self.steps = 0
        self.tallies: dict[str, Tally] = {}
        self.outputs: dict[str, Array] = {}
        self.trace: dict[str, dict[str, Array]] = {}

    def take(self, done: SequenceRun, stop: int) -> None:
        """Take the results of the steps up to `stop`."""
        outputs = done.outputs
        if not isinstance(outputs, dict):
            outputs = {self.module.meta["outputs"][0]: outputs}
        for name, values in outputs.items():
            array = as_array(values)
            self.tallies.setdefault(name, Tally()).add(array)
            if self.keep:
                self.put(self.outputs, name, array, stop)
        for path, variables in done.trace.items():
            held = self.trace.setdefault(path, {})
            for name, values in variables.items():
                if name == "count":
                    held[name] = held[name] + as_array(values) if name in held else as_array(values)
                else:
                    self.put(held, name, as_array(values), stop)
        self.state, self.steps = done.state, stop

    def put(self, held: dict[str, Array], name: str, values: Array, stop: int) -> None:
        """Copy the values of some steps into the buffer for all steps."""
        if len(values) == self.asked:
            held[name] = values
            return
        if name not in held:
            held[name] = np.empty((self.asked, *values.shape[1:]), values.dtype)
        held[name][stop - len(values) : stop] = values

    def outcome(self, is_interrupted: bool = False) -> StreamRun:
        """The results of the steps that were done."""
        trace = {
            path: {
                name: values if name == "count" else values[: self.steps]
                for name, values in variables.items()
            }
            for path, variables in self.trace.items()
        }
        return StreamRun(
            outputs={name: values[: self.steps] for name, values in self.outputs.items()},
            tallies=self.tallies,
            state=self.state,
            trace=trace,
            steps=self.steps,
            is_interrupted=is_interrupted and self.steps < self.asked,
        )


def part_length(
    module: ConvertedModule,
    inputs: Mapping[str, Signal] | Mapping[str, Tensor],
    like: Tensor,
    *,
    compiled: bool = False,
) -> int:
    """How many steps to run at a time: few enough to show progress and to fit into memory.

    compiled: whether loops are compiled, which pays only over many steps.
    """
    shapes = {
        name: torch.empty(values.shape, dtype=like.dtype, device="meta")
        for name, values in inputs.items()
    }
    with torch.no_grad():  # a run keeps no values for gradients, even if parameters require them
        most = chunk_length(module, shapes)
    nodes = sum(not isinstance(part, ConvertedModule) for part in module.modules())
    return most if compiled else min(most, max(_FEWEST_STEPS, _MOST_CALLS // max(nodes, 1)))


def resting_template(module: ConvertedModule, inputs: Mapping[str, Signal], like: Tensor) -> Any:
    """A state of a module for the batch of these inputs: the one after a step with zero input.

    Raises:
        NirtorchError: the module raised.
    """
    zeros = {
        name: torch.zeros(values.shape[1:], dtype=like.dtype, device=like.device)
        for name, values in inputs.items()
    }
    with torch.no_grad(), user_errors(module):
        return module(**zeros)[1]


def as_arrays(value: Any) -> Any:
    """The same dicts, tuples and lists with arrays instead of tensors."""
    return _mapped(value, lambda tensor: as_array(tensor))


def tensors_like(value: Any, template: Any) -> Any:
    """The same with tensors instead of arrays, each with its template's dtype and device."""
    if isinstance(template, Tensor):
        return torch.from_numpy(np.array(value)).to(template)
    if isinstance(template, Mapping):
        return {key: tensors_like(value[key], part) for key, part in template.items()}
    if isinstance(template, (tuple, list)):
        parts = [tensors_like(mine, part) for mine, part in zip(value, template)]
        return _rebuilt(template, parts)
    return value


def findings_of(module: ConvertedModule, outcome: StreamRun) -> list[Finding]:
    """What a run warns of: NaN and infinity (NIR611), and that no neuron fired (NIR617)."""
    fired = outcome.activity(float(module.meta["dt"]))
    return _not_finite(module, outcome) + silence(module, fired, outcome.steps)


def _not_finite(module: ConvertedModule, outcome: StreamRun) -> list[Finding]:
    """NIR611 for each output, recorded variable and node's state with NaN or infinity."""
    names = module.meta["names"]
    found = {
        names.get(name, name): "gives NaN or infinity"
        for name, tally in outcome.tallies.items()
        if not tally.is_finite
    }
    for path, variables in outcome.trace.items():
        wrong = [name for name, values in variables.items() if not _is_finite(values)]
        if wrong:
            found.setdefault(path, f"NaN or infinity in {listed(wrong)}")
    for path in nodes_not_finite(module, outcome.state):
        found.setdefault(path, "NaN or infinity in its state after the last step")
    return [Finding("NIR611", "warning", text, path) for path, text in found.items()]


def _is_finite(values: Array) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return _rebuilt(value, [_mapped(part, change) for part in value])
    return value


def _rebuilt(model: Any, parts: list[Any]) -> Any:
    """A tuple or list of the same class as another, named tuples included."""
    if hasattr(model, "_make"):
        return model._make(parts)
    return tuple(parts) if isinstance(model, tuple) else parts
