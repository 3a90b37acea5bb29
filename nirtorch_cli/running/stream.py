"""Runs a session on signals, part by part, so that Ctrl-C loses only the last part.

In: a converted module and signals (T, B, *shape) for its inputs. Out: a `StreamRun`, whose signals
lie on the disk where they are long. A part of time is run shard by shard:

                rows 0..255    256..511
    step 0..99       1            2              Ctrl-C during 4 loses 3, too
    step 100..199    3            4

Always holds: only sizes decide how time and rows are cut, so that two runs of one request give the
same bits; results on another device are copied part by part. Cost: that of `run_sequence`, and
memory for a part, two states, and `SPOOLED_BYTES` of each output that is kept and recording.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from nirtorch_cli.running.recording import node_types
from nirtorch_cli.running.session import SequenceRun, Session
from nirtorch_cli.running.shards import Shards, StateRows, rebuilt, shards_of
from nirtorch_cli.running.signals.axes import Port
from nirtorch_cli.running.signals.signal import Signal
from nirtorch_cli.running.signals.spool import Spool
from nirtorch_cli.running.silence import silence
from nirtorch_cli.running.tally import Tally

Key = tuple[str, str | None]
"""An Output by its argument and None, or a recorded variable by the path of its node and name."""


@dataclass
class ShardRun:
    """What the run of some batch rows comes to, beside the values of every step.

    tallies: of outputs and recorded variables. counts: by NIR path, how often each neuron fired,
    (B, *shape). not_finite: the nodes whose last state holds NaN or infinity. state: the last.
    """

    tallies: dict[Key, Tally] = field(default_factory=dict)
    counts: dict[str, Array] = field(default_factory=dict)
    not_finite: list[str] = field(default_factory=list)
    state: Any = None


@dataclass(frozen=True)
class StreamRun:
    """The result of a run.

    shards: of each shard, in order. signals: by key, (T, B, *shape); empty if they are not kept.
    steps: how many were done. is_interrupted: whether Ctrl-C ended the run before the last step.
    state_rows: what puts a state together; None for a single shard.
    """

    shards: Sequence[ShardRun]
    signals: Mapping[Key, Signal]
    steps: int
    is_interrupted: bool = False
    state_rows: Callable[[], StateRows] | None = None

    @property
    def outputs(self) -> dict[str, Signal]:
        """By the Output's argument."""
        return {name: signal for (name, of), signal in self.signals.items() if of is None}

    @property
    def trace(self) -> dict[str, dict[str, Signal]]:
        """What was recorded over time, by NIR path and variable."""
        found: dict[str, dict[str, Signal]] = {}
        for (path, variable), signal in self.signals.items():
            if variable is not None:
                found.setdefault(path, {})[variable] = signal
        return found

    @property
    def tallies(self) -> dict[Key, Tally]:
        """The statistics of outputs and recorded variables."""
        found: dict[Key, Tally] = {}
        for shard in self.shards:
            for key, tally in shard.tallies.items():
                found.setdefault(key, Tally()).include(tally)
        return found

    @property
    def counts(self) -> dict[str, Array]:
        """By NIR path, how often each neuron fired, (B, *shape)."""
        paths = self.shards[0].counts
        return {path: np.concatenate([one.counts[path] for one in self.shards]) for path in paths}

    @property
    def state(self) -> Any:
        """The state after the last step, of tensors.

        Raises:
            StateError: see `StateRows.join`.
        """
        states = [shard.state for shard in self.shards]
        return states[0] if self.state_rows is None else self.state_rows().join(states)

    def activity(self, dt: float) -> list[NodeActivity]:
        """The activity of each node whose spikes were counted; dt is the length of a step."""
        return activity(self.counts, self.steps, dt)


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
    shards: Shards | None = None,
    compiler: Compiler | None = None,
    on_steps: Callable[[int, Any], None] = lambda done, state: None,
    keep: bool = True,
    folder: str | None = None,
    seconds: float = math.inf,
) -> StreamRun:
    """Run a module; the first Ctrl-C ends the run and keeps the complete parts.

    Arguments:
        inputs: (T, B, *shape) by argument name.
        like: a tensor with the dtype and device for the inputs.
        state: of tensors; None for the resting state.
        record: as `run_sequence` takes it.
        chunk: how many steps are run at a time; None to choose it.
        shards: how the batch is cut; None to choose it.
        compiler: as `run_sequence` takes it.
        on_steps: called after each part with the number of steps done and the state after them,
            that of the first shard.
        keep: whether outputs and recordings are kept.
        folder: where on the disk they are kept; None for the system's own place.
        seconds: no further part is begun after this time; the first parts are then short.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first part was complete.
        NirtorchError: the module raised.
        OutputError: the disk is full.
    """
    if shards is None:
        is_compiled = compiler is not None
        shards = shards_of(module, inputs, like, chunk=chunk, compiled=is_compiled)
    rows = shards.rows
    state_rows = None if len(rows) == 1 else lambda: StateRows(module, inputs, like)
    states = [state] * len(rows)
    if state is not None and state_rows is not None:
        states = state_rows().split(state, rows)
    asked, longest = len(next(iter(inputs.values()))), shards.steps
    kept = _Kept(module, rows, states, folder if keep else None, keep=keep)
    session = Session(module, record, compiler=compiler)
    length = longest if seconds == math.inf else 1
    started, start, is_interrupted = time.monotonic(), 0, False
    try:
        with torch.no_grad():
            while start < asked and time.monotonic() - started < seconds:
                stop = min(asked, start + length)
                for number, (first, last) in enumerate(rows):
                    part = {
                        name: torch.from_numpy(values.rows(first, last).part(start, stop)).to(like)
                        for name, values in inputs.items()
                    }
                    session.state = kept.shards[number].state
                    with user_errors(module):
                        kept.take(number, start, session.run(part, chunk=stop - start))
                kept.complete(stop)
                on_steps(stop, kept.shards[0].state)
                start, length = stop, min(2 * length, longest)
    except KeyboardInterrupt as interrupt:
        if not kept.steps:
            text = f"interrupted before the first {counted(min(length, asked), 'step')}"
            raise KeyboardInterrupt(text) from interrupt
        is_interrupted = kept.steps < asked
    for shard in kept.shards:
        shard.not_finite = nodes_not_finite(module, shard.state)
    signals = {key: spool.signal(kept.steps) for key, spool in kept.spools.items()}
    return StreamRun(kept.shards, signals, kept.steps, is_interrupted, state_rows)


class _Kept:
    """The results of a run: of each shard what its steps came to, and for all the values."""

    def __init__(
        self,
        module: ConvertedModule,
        rows: Sequence[tuple[int, int]],
        states: Sequence[Any],
        folder: str | None,
        *,
        keep: bool,
    ) -> None:
        self.module, self.rows, self.folder, self.keep = module, rows, folder, keep
        self.steps = 0
        self.shards = [ShardRun(state=state) for state in states]
        self.spools: dict[Key, Spool] = {}
        self.waiting: list[ShardRun] = []

    def take(self, number: int, start: int, done: SequenceRun) -> None:
        """Take the results of a shard for the steps from `start` on, once the part is complete."""
        found = ShardRun(state=done.state)
        outputs = done.outputs
        if not isinstance(outputs, dict):
            outputs = {self.module.meta["outputs"][0]: outputs}
        values: dict[Key, Any] = {(name, None): values for name, values in outputs.items()}
        for path, variables in done.trace.items():
            for name, recorded in variables.items():
                if name == "count":
                    found.counts[path] = as_array(recorded)
                else:
                    values[path, name] = recorded
        for key, tensor in values.items():
            array = as_array(tensor)
            found.tallies[key] = Tally()
            found.tallies[key].add(array)
            if self.keep:
                if key not in self.spools:
                    self.spools[key] = Spool(self.rows[-1][1], array, self.folder)
                self.spools[key].put(array, start, self.rows[number][0])
        self.waiting.append(found)

    def complete(self, stop: int) -> None:
        """All shards were run up to the step `stop`."""
        for shard, part in zip(self.shards, self.waiting):
            for key, tally in part.tallies.items():
                shard.tallies.setdefault(key, Tally()).extend(tally)
            for path, count in part.counts.items():
                shard.counts[path] = shard.counts[path] + count if path in shard.counts else count
            shard.state = part.state
        self.waiting, self.steps = [], stop


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
        return rebuilt(template, parts)
    return value


def findings_of(module: ConvertedModule, outcome: StreamRun) -> list[Finding]:
    """What a run warns of: NaN and infinity (NIR611), and that no neuron fired (NIR617)."""
    fired = outcome.activity(float(module.meta["dt"]))
    return _not_finite(module, outcome) + silence(module, fired, outcome.steps)


def _not_finite(module: ConvertedModule, outcome: StreamRun) -> list[Finding]:
    """NIR611 for each output, recorded variable and node's state with NaN or infinity."""
    names = module.meta["names"]
    wrong = [key for key, tally in outcome.tallies.items() if not tally.is_finite]
    found = {names.get(n, n): "gives NaN or infinity" for n, of in wrong if of is None}
    for path in dict.fromkeys(path for path, of in wrong if of is not None):
        variables = [of for other, of in wrong if other == path and of is not None]
        found.setdefault(path, f"NaN or infinity in {listed(variables)}")
    states = {path for shard in outcome.shards for path in shard.not_finite}
    order = {path: place for place, (path, _) in enumerate(node_types(module))}
    for path in sorted(states, key=lambda path: (order.get(path, len(order)), path)):
        found.setdefault(path, "NaN or infinity in its state after the last step")
    return [Finding("NIR611", "warning", text, path) for path, text in found.items()]


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return rebuilt(value, [_mapped(part, change) for part in value])
    return value
