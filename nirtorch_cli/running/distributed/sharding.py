"""Shares the shards of a batch out to several processes, and makes one result of them.

In: what `run_stream` takes, the shards, the processes, and the folder of the finished ones. Out: on
the first process the `StreamRun` that a single one would have, on the others None. With shard 1
finished by an earlier run:

    round            process 0     process 1
      1              shard 0       shard 2        each waits for the other at the end of a round,
      2              shard 3       shard 4        so that none waits longer than a shard takes

Always holds: whichever process runs a shard, and however many there are, it gives the same numbers.
Cost: that of the shards, and reading their results once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.text import counted, printable
from nirtorch_cli.running.distributed.parts import Parts
from nirtorch_cli.running.distributed.processes import Processes
from nirtorch_cli.running.engine.compiler import Compiler
from nirtorch_cli.running.shards import Shards, StateRows, resting_template
from nirtorch_cli.running.signals.signal import Signal
from nirtorch_cli.running.state_file import MadeWith, fitted, saved_state
from nirtorch_cli.running.stream import (
    Key,
    StreamRun,
    as_arrays,
    run_stream,
    tensors_like,
)

_ANY = 2**63 - 1
"""The limit for a file that this run wrote."""


def run_shards(
    module: ConvertedModule,
    inputs: Mapping[str, Signal],
    like: Tensor,
    *,
    shards: Shards,
    finished: Sequence[int],
    processes: Processes,
    parts: Parts,
    state: Any = None,
    record: Sequence[str] = (),
    compiler: Compiler | None = None,
    made_with: MadeWith | None = None,
    on_steps: Callable[[int, Any], None] = lambda done, state: None,
    on_shard: Callable[[int], None] = lambda done: None,
) -> StreamRun | None:
    """Run those shards that are not finished; see `run_stream` for the other arguments.

    Arguments:
        finished: the numbers of the shards that are; the same on all processes.
        state: of the whole batch. made_with: what the last state is kept with; None not to keep it.
        on_shard: called after each round with the number of finished shards.

    Raises:
        KeyboardInterrupt: Ctrl-C; finished shards are kept.
        ProcessLostError: another process ended.
        NirtorchError: the module raised, or the disk is full.
    """
    rows, launch = shards.rows, processes.launch
    states = [state] * len(rows)
    if state is not None and len(rows) > 1:
        states = StateRows(module, inputs, like).split(state, rows)
    missing = [number for number in range(len(rows)) if number not in finished]
    try:
        for start in range(0, len(missing), launch.count):
            for number in missing[start : start + launch.count][launch.rank : launch.rank + 1]:
                run = run_stream(
                    module,
                    {name: signal.rows(*rows[number]) for name, signal in inputs.items()},
                    like,
                    state=states[number],
                    record=record,
                    shards=shards.only(number),
                    compiler=compiler,
                    on_steps=on_steps,
                    folder=str(parts.folder),
                )
                if run.is_interrupted:
                    raise KeyboardInterrupt
                parts.put(number, run, made_with)
            processes.wait()
            on_shard(len(rows) - len(missing) + min(start + launch.count, len(missing)))
    except KeyboardInterrupt as interrupt:
        done = f"{len(parts.finished(len(rows)))} of {counted(len(rows), 'shard')}"
        text = f"interrupted: {done} finished and kept in {printable(str(parts.folder))}"
        raise KeyboardInterrupt(f"{text}; the same command goes on") from interrupt
    if not launch.is_first:
        return None
    return _joined(module, inputs, like, shards, parts, has_state=made_with is not None)


def _joined(
    module: ConvertedModule,
    inputs: Mapping[str, Signal],
    like: Tensor,
    shards: Shards,
    parts: Parts,
    *,
    has_state: bool,
) -> StreamRun:
    """The results of all shards as one; signals are read when they are written."""
    runs = [parts.shard(number) for number in range(len(shards.rows))]
    for number, (run, (first, last)) in enumerate(zip(runs, shards.rows)):
        if has_state:
            template = resting_template(module, inputs, like, rows=last - first)
            file = parts.state_file(number)
            leaves = saved_state(file, max_bytes=_ANY).leaves
            run.shards[0].state = tensors_like(fitted(leaves, as_arrays(template), file), template)
    signals: dict[Key, Signal] = {
        key: Signal.beside([run.signals[key] for run in runs]) for key in runs[0].signals
    }
    return StreamRun(
        [run.shards[0] for run in runs],
        signals,
        runs[0].steps,
        state_rows=None if len(runs) == 1 else lambda: StateRows(module, inputs, like),
    )
