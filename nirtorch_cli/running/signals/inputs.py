"""All inputs of a run: what a user asked for, to a signal for each Input of the model.

In: texts such as `spikes.npz`, `left=poisson:rate=50`, and the model's Inputs. Out: for each
its signal (T, B, *shape), all with the same T and B. Always holds: all problems are reported
together, before any part of a signal is made, even NaN in the last step of a file. Cost: linear in
the files, which are kept in memory as they are, but those of .npy, which are read where they lie;
generators keep nothing in memory.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from nirtorch_cli.findings.errors import NirtorchError, ReadError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import counted, listed, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.sources import STDIN, FilePart, file_part_of
from nirtorch_cli.running.signals.axes import Layout, Port, Share, arranged, require_finite
from nirtorch_cli.running.signals.events import (
    EventCount,
    EventGrid,
    Events,
    TimeUnit,
    event_grid,
    require_unused,
)
from nirtorch_cli.running.signals.formats import recording_of
from nirtorch_cli.running.signals.generators import (
    EXAMPLES,
    Generator,
    check_generator,
    generated,
    is_generator,
    parsed,
)
from nirtorch_cli.running.signals.signal import Signal

DEFAULT_STEPS = 100
DEFAULT_BATCH = 1


@dataclass(frozen=True)
class InputOptions:
    """How inputs are made and read.

    dt: the length of a step. steps, batch: the size of generated inputs, which files must have too;
    a file with more steps is cut. layout: the order of the first two axes of arrays. start: how
    many steps of every file and generator are skipped, so that a long run can be done in pieces.
    share: which part of the batch is looked at for NaN, where several processes share it.
    time_unit, events: of files of events, see `events.event_grid`.
    """

    dt: float
    steps: int | None = None
    batch: int | None = None
    layout: Layout = "TB"
    seed: int = 0
    dtype: str = "float32"
    allow_nan: bool = False
    max_bytes: int | None = None
    start: int = 0
    share: Share = (0, 1)
    time_unit: TimeUnit | None = None
    events: EventCount = "sum"


def assigned(specs: Iterable[str], ports: Sequence[Port]) -> dict[str, str]:
    """The spec of each Input, by its argument, in the model's order.

    A spec is `SPEC`, for a model with one input, or `NAME=SPEC` with the Input's NIR name or the
    name of its argument. Such a name wins over a file of that name; with `./` in front the file is
    meant.

    Raises:
        UsageError: an Input does not exist, or has no spec or two, or a spec lacks a name.
    """
    if not ports:
        raise UsageError("the model has no input")
    found: dict[str, str] = {}
    problems: list[str] = []
    names = [port.name for port in ports]
    for text in specs:
        named = [
            (port, name)
            for port in ports
            for name in {port.name: 0, port.argument: 0}
            if text.startswith(f"{name}=")
        ]
        before, equals, _ = text.partition("=")
        if named:
            port, name = max(named, key=lambda pair: len(pair[1]))
            spec = text[len(name) + 1 :]
        elif equals and not any(mark in before for mark in ":/\\") and not _is_there(text):
            near = did_you_mean(before, names) or f"it has {listed(names)}"
            problems.append(f"the model has no input {quoted(before)}; {near}")
            continue
        elif len(ports) > 1:
            problems.append(f"--input {quoted(text)} must name its Input, one of {listed(names)}")
            continue
        else:
            port, spec = ports[0], text
        if port.argument in found:
            problems.append(f"the input {quoted(port.name)} is given twice")
        found[port.argument] = spec
    missing = [port.name for port in ports if port.argument not in found]
    if missing and not problems:
        of = "" if len(ports) == 1 else f" for {listed(missing)}"
        name = "" if len(ports) == 1 else f"{missing[0]}="
        problems.append(f"no input is given{of}: --input {name}FILE, or a generator: {EXAMPLES}")
    if sum(file_part_of(spec).file == STDIN for spec in found.values()) > 1:
        problems.append("stdin can be read once only, and several inputs are -")
    if problems:
        raise UsageError([Finding("NIR700", "error", text) for text in problems])
    return {port.argument: found[port.argument] for port in ports}


def readings(text: str) -> list[str]:
    """Every SPEC that an --input could mean, for any names of the model's Inputs.

    >>> readings("a=b=c.npz")
    ['a=b=c.npz', 'b=c.npz', 'c.npz']
    """
    parts = text.split("=")
    return ["=".join(parts[i:]) for i in range(len(parts))]


def read_inputs(
    specs: Mapping[str, str],
    ports: Sequence[Port],
    options: InputOptions,
    stdin: BinaryIO | None = None,
) -> dict[str, Signal]:
    """The signal of each Input, (T, B, *shape), by its argument; see `assigned` for the specs.

    Raises:
        ReadError: a file cannot be read.
        UsageError: inputs do not fit the model or each other.
        MemoryError: there cannot be arrays of such sizes.
    """
    problems: list[NirtorchError] = []
    recordings: dict[str, Array | EventGrid] = {}
    generators: dict[str, Generator] = {}
    for port in ports:
        text = specs[port.argument]
        try:
            source = file_part_of(text)
            if is_generator(text) or _is_no_file(text, source):
                generators[port.argument] = parsed(text)
                _require_shape(port, text)
            else:
                recordings[port.argument] = _recorded(source, port, options, stdin)
        except NirtorchError as error:
            problems.append(error)
    _raise(problems)
    if not any(isinstance(found, EventGrid) for found in recordings.values()):
        require_unused(options.time_unit, options.events)
    steps, batch = _size(recordings, specs, options)
    signals: dict[str, Signal] = {}
    for stream, port in enumerate(ports):
        name = port.argument
        try:
            if name in generators:
                shape = (steps, batch, *(port.shape or ()))
                signals[name] = generated_signal(generators[name], shape, stream, options)
                continue
            found = recordings[name]
            if isinstance(found, EventGrid):
                signals[name] = found.signal(options.start, steps, options.dtype)
                continue
            values = found[options.start : options.start + steps]
            signals[name] = _held(values, port, _shown(specs[name]), options)
        except NirtorchError as error:
            problems.append(error)
    _raise(problems)
    return signals


def generated_signal(
    generator: Generator, shape: tuple[int, ...], stream: int, options: InputOptions
) -> Signal:
    """The signal of a generator, (T, B, *shape), made part by part.

    Raises:
        UsageError: see `check_generator`.
        MemoryError: there cannot be such an array.
    """
    if math.prod(shape) * 8 > sys.maxsize:
        raise MemoryError
    dtype = None if options.allow_nan else options.dtype
    check_generator(generator, dt=options.dt, steps=shape[0], start=options.start, dtype=dtype)

    def make(start: int, stop: int, rows: slice) -> Array:
        part = generated(
            generator,
            (stop - start, *shape[1:]),
            dt=options.dt,
            seed=options.seed,
            stream=stream,
            start=options.start + start,
            rows=rows,
        )
        with np.errstate(over="ignore"):
            return part.astype(options.dtype, copy=False)

    return Signal(shape, np.dtype(options.dtype), make)


def _held(values: Array, port: Port, file: str, options: InputOptions) -> Signal:
    """The signal of a file: its numbers are checked here, and cast when they are used."""
    if not options.allow_nan:
        require_finite(
            values,
            port,
            dtype=options.dtype,
            file=file,
            first=options.start,
            share=options.share,
        )
    return Signal.of(values, options.dtype)


def _recorded(
    source: FilePart, port: Port, options: InputOptions, stdin: BinaryIO | None
) -> Array | EventGrid:
    recording = recording_of(source, dt=options.dt, max_bytes=options.max_bytes, stdin=stdin)
    if isinstance(recording, Events):
        unit, count = options.time_unit, options.events
        grid = event_grid(recording, port, dt=options.dt, unit=unit, count=count)
        # How long the recording is, no event says: there may be none in its last steps.
        steps = max(grid.shape[0], options.start + (options.steps or 1))
        return replace(grid, shape=(steps, *grid.shape[1:]))
    return arranged(
        recording.values,
        port,
        layout=options.layout,
        is_flat=recording.is_flat,
        file=source.name,
    )


def _is_there(text: str) -> bool:
    """Whether a text as a whole names a file, or a part of one."""
    return os.path.lexists(file_part_of(text).file)


def _is_no_file(text: str, source: FilePart) -> bool:
    """Whether a text can only be a generator that does not exist, such as `posson:rate=50`."""
    is_word = text.partition(":")[0].isidentifier()
    return is_word and not os.path.lexists(source.file)


def _require_shape(port: Port, text: str) -> None:
    if port.shape is None:
        hint = "feed an array with the axes T, B and the neurons'"
        raise port.problem(text, "the shape of this input is not in the model", hint)


def _size(
    recordings: Mapping[str, Array | EventGrid], specs: Mapping[str, str], options: InputOptions
) -> tuple[int, int]:
    """The numbers of steps and of batch rows."""
    if not recordings:
        steps = DEFAULT_STEPS if options.steps is None else options.steps
        return steps, DEFAULT_BATCH if options.batch is None else options.batch
    problems = []
    files = {name: _shown(specs[name]) for name in recordings}
    for axis, what in enumerate(("steps", "batch rows")):
        sizes = {name: array.shape[axis] for name, array in recordings.items()}
        if len(set(sizes.values())) > 1 and (what != "steps" or options.steps is None):
            each = ", ".join(f"{files[name]} {size:,}" for name, size in sizes.items())
            problems.append(Finding("NIR605", "error", f"the inputs differ in {what}: {each}"))
    for name, array in recordings.items():
        problems += _misfits(array, files[name], options)
    if problems:
        raise UsageError(problems)
    steps, batch = next(iter(recordings.values())).shape[:2]
    return steps - options.start if options.steps is None else options.steps, batch


def _misfits(array: Array | EventGrid, file: str, options: InputOptions) -> list[Finding]:
    """The errors if a recording is shorter than asked for, or has other batch rows."""
    steps, batch = array.shape[:2]
    start = options.start
    wanted_steps = steps - start if options.steps is None else options.steps
    wanted_batch = batch if options.batch is None else options.batch
    hint = None
    if options.batch is not None and (wanted_batch, wanted_steps) in (
        (steps, batch),
        (steps, steps),
    ):
        hint = f"--layout {'BT' if options.layout == 'TB' else 'TB'} would fit"
    texts = []
    has = f"has {counted(steps, 'step')}"
    if start >= steps:
        texts.append(f"{has}, and --start {start:,} skips all of them")
    elif start + wanted_steps > steps:
        asked = f"--steps asks for {wanted_steps:,}"
        texts.append(f"{has}, and {asked}{f' from step {start:,} on' if start else ''}")
    if wanted_batch != batch:
        texts.append(f"has {counted(batch, 'batch row')}, and --batch asks for {wanted_batch:,}")
    return [Finding("NIR605", "error", text, file=file, hint=hint) for text in texts]


def _shown(spec: str) -> str:
    return "<stdin>" if spec == STDIN else spec


def _raise(problems: Sequence[NirtorchError]) -> None:
    """Raise all problems together; a file that cannot be read decides the exit code."""
    if problems:
        kind = ReadError if any(isinstance(e, ReadError) for e in problems) else UsageError
        findings = [finding for error in problems for finding in error.findings]
        raise kind(findings) from problems[0]
