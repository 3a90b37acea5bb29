"""Runs a module over an input and records it on the steps of a comparison.

In: a module, an input on the longer of two steps, over which it is constant, and the wanted
variables of each node. Out: a `Recording` of those that exist.

Always holds: each step is run once, so that modules which keep their own state continue from it;
a run on shorter steps is converted to the longer ones part by part.
Cost: a run, linear in nodes and steps; what is recorded stays in memory, on the coarser steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nirtorch_cli.comparison.differences import is_zero_or_one
from nirtorch_cli.comparison.expected import nested_modules
from nirtorch_cli.comparison.grid import coarser_spikes, coarser_values
from nirtorch_cli.comparison.recording import Recording
from nirtorch_cli.conversion.attribution import user_errors
from nirtorch_cli.conversion.graph_module import ConvertedModule, first_floating, stored_tensors
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.arrays import as_array
from nirtorch_cli.running.engine.stages import stages_of
from nirtorch_cli.running.recording import (
    OF_OUTPUTS,
    held,
    node_variables,
    own_names,
)
from nirtorch_cli.running.session import SequenceRun, Session
from nirtorch_cli.running.shards import part_length

_COUNTED = "counted"
"""The name of an output taken as spikes; it is recorded as values too."""

Request = tuple[str, str]
"""The NIR path of a node, and one of its variables."""


def recorded(
    name: str,
    module: ConvertedModule,
    inputs: Mapping[str, Tensor],
    wanted: Mapping[str, Iterable[str]],
    *,
    dt: float,
    repeats: int = 1,
    spiking: Mapping[str, bool] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Recording:
    """Run a module over an input and record the wanted variables that it has.

    The first step is run by itself: the state after it shows which variables the nodes keep, since
    a module of another framework may use other names. Random numbers are drawn so that the next
    run gets the same.

    Arguments:
        inputs: by argument name, (T, B, *shape) on the coarser steps; see `fitting`.
        wanted: by NIR path, variables.
        dt: the length of a coarser step.
        repeats: how many steps of the module make a coarser step.
        spiking: by NIR path, whether a node's output is spikes, where that is known.
        state: the state to start from; None for the resting state.

    Raises:
        NirtorchError: the module raised.
    """
    asked = _recordable(module, wanted)
    outputs = [request for request in asked if request[1] in OF_OUTPUTS]
    steps = len(next(iter(inputs.values())))
    gathered = _Gathered(steps, repeats, spiking or {})
    with torch.no_grad(), torch.random.fork_rng(_devices(module)):
        pieces = _pieces(steps, repeats, _most_steps(module, inputs, repeats))
        first = next(pieces)
        run = _run(_session(module, state, outputs), _fed(inputs, first))
        kept = dict(_kept(module, run.state, set(asked)))
        for (path, variable), values in kept.items():
            run.trace.setdefault(path, {})[variable] = values.unsqueeze(0)
        gathered.add(first, run.trace)
        session = _session(module, run.state, [*outputs, *kept])
        for piece in pieces:
            gathered.add(piece, _run(session, _fed(inputs, piece)).trace)
    return Recording(name, dt, gathered.trace(), counted=gathered.counted())


def fitting(module: ConvertedModule, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs by NIR name, as a module takes them: by argument name, with its device and type."""
    like = first_floating(module)
    named = {name: inputs[module.meta["names"].get(name, name)] for name in module.meta["inputs"]}
    return {name: x if like is None else x.to(like) for name, x in named.items()}


def floating_type(module: ConvertedModule) -> torch.dtype | None:
    """The floating type of a module; None if it takes any."""
    like = first_floating(module)
    return None if like is None else like.dtype


def _recordable(module: ConvertedModule, wanted: Mapping[str, Iterable[str]]) -> list[Request]:
    """The wanted variables that the types of a module's nodes have.

    Of an edited graph only the outputs are known.
    """
    edited = tuple(
        f"{path}/" if path else ""
        for path, part in (("", module), *nested_modules(module))
        if stages_of(part.graph) is None
    )
    known = node_variables(module)
    return [
        (path, variable)
        for path, variables in wanted.items()
        for variable in variables
        if variable in known.get(path, ()) and not path.startswith(edited)
    ]


def _devices(module: ConvertedModule) -> list[torch.device]:
    """The devices besides the CPU on which a module may draw random numbers."""
    found = {t.device for t in stored_tensors(module) if t.is_cuda}
    return sorted(found, key=str)


def _most_steps(module: ConvertedModule, inputs: Mapping[str, Tensor], repeats: int) -> int:
    """How many of a module's steps are run at a time: as many as in `nirtorch run`."""
    whole = {
        key: torch.empty((len(x) * repeats, *x.shape[1:]), dtype=x.dtype, device="meta")
        for key, x in inputs.items()
    }
    return part_length(module, whole, next(iter(whole.values())))


class _Piece(NamedTuple):
    """Steps that are run at a time: `each` for every coarser step from start to stop."""

    start: int
    stop: int
    each: int


def _pieces(steps: int, repeats: int, most: int) -> Iterator[_Piece]:
    """All steps in pieces of at most so many, the first step by itself."""
    yield _Piece(0, 1, 1)
    yield from _within(0, repeats - 1, most)
    if most >= repeats:
        for start in range(1, steps, most // repeats):
            yield _Piece(start, min(steps, start + most // repeats), repeats)
    else:
        for step in range(1, steps):
            yield from _within(step, repeats, most)


def _fed(inputs: Mapping[str, Tensor], piece: _Piece) -> dict[str, Tensor]:
    return {
        key: values[piece.start : piece.stop].repeat_interleave(piece.each, dim=0)
        for key, values in inputs.items()
    }


def _within(step: int, left: int, most: int) -> Iterator[_Piece]:
    for done in range(0, left, most):
        yield _Piece(step, step + 1, min(most, left - done))


def _kept(
    module: ConvertedModule, state: Any, requests: set[Request], prefix: str = ""
) -> Iterator[tuple[Request, Tensor]]:
    """The requests whose variable is in a state."""
    for name, nir_name in module.meta["names"].items():
        path, child = prefix + nir_name, getattr(module, name, None)
        own = state.get(name) if isinstance(state, Mapping) else None
        if isinstance(child, ConvertedModule):
            yield from _kept(child, own, requests, f"{path}/")
        wanted = [variable for where, variable in sorted(requests) if where == path]
        names = own_names(child, wanted) if child is not None else {}
        for variable, its_own in names.items():
            value = held(own, its_own) if variable not in OF_OUTPUTS else None
            if value is not None:
                yield (path, variable), value


class _Gathered:
    """Collects what is recorded, on the coarser steps."""

    def __init__(self, steps: int, repeats: int, spiking: Mapping[str, bool]) -> None:
        self.steps, self.repeats, self.spiking = steps, repeats, spiking
        self.pieces = 0
        self.arrays: dict[Request, Array] = {}
        self.parts: dict[Request, int] = {}
        self.graded: set[str] = set()

    def add(self, piece: _Piece, trace: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Add what was recorded over a piece."""
        self.pieces += 1
        for path, variables in trace.items():
            for variable, values in variables.items():
                part = as_array(values)
                if variable == "spikes" and self.repeats > 1:
                    self.total((path, variable), piece, part)
                else:
                    self.put((path, variable), piece, part)
                if variable == "output" and self.repeats > 1 and self.spiking.get(path, True):
                    self.count(path, piece, part)

    def put(self, request: Request, piece: _Piece, part: Array) -> None:
        """Keep values at the ends of coarser steps."""
        part = coarser_values(part, piece.each)
        array = self.buffer(request, part)
        if array is not None:
            array[piece.start : piece.stop] = part

    def total(self, request: Request, piece: _Piece, part: Array) -> None:
        """Count spikes over coarser steps."""
        part = coarser_spikes(part.astype(float), piece.each)
        array = self.buffer(request, part)
        if array is not None:
            array[piece.start : piece.stop] += part

    def buffer(self, request: Request, part: Array) -> Array | None:
        """The buffer for a part of a variable; None if its shape changed, so that it has none."""
        array = self.arrays.get(request)
        if array is None:
            array = np.zeros((self.steps, *part.shape[1:]), part.dtype)
        if array.shape[1:] != part.shape[1:]:
            return None
        self.parts[request] = self.parts.get(request, 0) + 1
        self.arrays[request] = array.astype(np.result_type(array, part), copy=False)
        return self.arrays[request]

    def count(self, path: str, piece: _Piece, part: Array) -> None:
        """Count an output as spikes, as long as all its values are 0 or 1."""
        if not is_zero_or_one(part):
            self.graded.add(path)
        if path not in self.graded:
            self.total((path, _COUNTED), piece, part)

    def trace(self) -> dict[str, dict[str, Array]]:
        """The variables that were recorded at every step."""
        found: dict[str, dict[str, Array]] = {}
        for (path, variable), array in self.arrays.items():
            if variable != _COUNTED and self.parts[path, variable] == self.pieces:
                found.setdefault(path, {})[variable] = array
        return found

    def counted(self) -> dict[str, Array]:
        """The outputs whose values are all 0 or 1."""
        return {
            path: array
            for (path, variable), array in self.arrays.items()
            if variable == _COUNTED and self.parts[path, variable] == self.pieces
        }


def _session(
    module: ConvertedModule, state: Mapping[str, Any] | None, requests: Iterable[Request]
) -> Session:
    return Session(module, [f"{path}:{variable}" for path, variable in requests], state=state)


def _run(session: Session, inputs: Mapping[str, Tensor]) -> SequenceRun:
    with user_errors(session.module):
        return session.run(inputs, chunk=len(next(iter(inputs.values()))))
