"""A run from arrays to arrays: time is cut into parts, so that Ctrl-C loses the last one only.

In: a converted module and arrays (T, B, *shape) for its inputs. Out: an `Outcome` of arrays.
Always holds: the parts change no result; what is on another device is brought over part by
part. Cost: that of `run_sequence`, and the memory of what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nirtorch_cli.arrays import as_array
from nirtorch_cli.errors import NirtorchError
from nirtorch_cli.findings import Finding
from nirtorch_cli.graph_module import ConvertedModule
from nirtorch_cli.running import chunk_length, run_sequence
from nirtorch_cli.sampling import OutputStatistics
from nirtorch_cli.signals.arranging import Port
from nirtorch_cli.signals.feeding import Signal

Array = np.ndarray[Any, Any]

_FEWEST_STEPS = 64
_PARTS = 10
"""A run is cut into so many parts at least, if each has `_FEWEST_STEPS`."""

_NO_MEMORY = ("allocate memory", "out of memory")


@dataclass(frozen=True)
class Outcome:
    """What came out of a run.

    outputs: by the Output's argument, (T, B, *shape). state: after the last step, of tensors.
    trace: by NIR path and variable, (T, B, *shape); a `count` is (B, *shape). steps: how many
    were done. is_interrupted: whether Ctrl-C came before the last.
    """

    outputs: dict[str, Array]
    state: Any
    trace: dict[str, dict[str, Array]]
    steps: int
    is_interrupted: bool


def ports_of(module: ConvertedModule) -> list[Port]:
    """The inputs that a run of a module must be given."""
    names, shapes = module.meta["names"], module.meta["shapes"]
    return [
        Port(
            name, names.get(name, name), None if shapes[name][1] is None else tuple(shapes[name][1])
        )
        for name in module.meta["inputs"]
    ]


def drive(
    module: ConvertedModule,
    inputs: Mapping[str, Signal],
    like: Tensor,
    *,
    state: Any = None,
    record: Sequence[str] = (),
    chunk: int | None = None,
    on_steps: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Run a module; the first Ctrl-C ends the run and keeps what is complete.

    Arguments:
        inputs: (T, B, *shape) by argument name.
        like: of the dtype and on the device that inputs are to have.
        state: of tensors; None for the resting state.
        record: as `run_sequence` takes it.
        chunk: how many steps are run at a time; None to choose it.
        on_steps: is told after each part how many steps are done.

    Raises:
        KeyboardInterrupt: Ctrl-C before anything was complete.
        NirtorchError: the module raised.
    """
    steps = len(next(iter(inputs.values())))
    parts: list[tuple[int, Any, Any, Any]] = []
    is_interrupted = False
    try:
        with torch.no_grad():
            length = chunk or _chunk(module, inputs, like)
            for start in range(0, steps, length):
                part = {
                    name: torch.from_numpy(values.part(start, start + length)).to(like)
                    for name, values in inputs.items()
                }
                outputs, state, trace = _run(module, part, state, record)
                named = (
                    outputs if isinstance(outputs, dict) else {module.meta["outputs"][0]: outputs}
                )
                done = min(steps, start + length)
                parts.append((done, as_arrays(named), state, as_arrays(trace)))
                on_steps(done)
    except KeyboardInterrupt:
        if not parts:
            raise
        is_interrupted = parts[-1][0] < steps
    done, _, state, _ = parts[-1]
    return Outcome(
        outputs=_joined([outputs for _, outputs, _, _ in parts]),
        state=state,
        trace=_joined_trace([trace for _, _, _, trace in parts]),
        steps=done,
        is_interrupted=is_interrupted,
    )


def resting_template(module: ConvertedModule, inputs: Mapping[str, Signal], like: Tensor) -> Any:
    """A state of a module for the batch of these inputs: what a step of silence returns."""
    silence = {
        name: torch.zeros(values.shape[1:], dtype=like.dtype, device=like.device)
        for name, values in inputs.items()
    }
    with torch.no_grad():
        return module(**silence)[1]


def as_arrays(value: Any) -> Any:
    """The same dicts, tuples and lists, with arrays in place of tensors."""
    return _mapped(value, lambda tensor: as_array(tensor))


def tensors_like(value: Any, template: Any) -> Any:
    """The same with tensors in place of arrays, each of its template's dtype and device."""
    if isinstance(template, Tensor):
        return torch.from_numpy(np.array(value)).to(template)
    if isinstance(template, Mapping):
        return {key: tensors_like(value[key], part) for key, part in template.items()}
    if isinstance(template, (tuple, list)):
        parts = [tensors_like(mine, part) for mine, part in zip(value, template)]
        return _rebuilt(template, parts)
    return value


def statistics(values: Array) -> OutputStatistics:
    """Shape, type and range of an array, in words that JSON has."""
    shape, dtype = list(values.shape), str(values.dtype)
    if not values.size:
        return OutputStatistics(shape, dtype)
    numbers = (values.mean(dtype=np.float64), values.min(), values.max())
    told = [float(n) if math.isfinite(n) else str(float(n)) for n in numbers]
    return OutputStatistics(shape, dtype, *told)


def not_finite(outputs: Mapping[str, Array], names: Mapping[str, str]) -> list[Finding]:
    """NIR611 for each output with NaN or infinity."""
    return [
        Finding("NIR611", "warning", "gives NaN or infinity", names.get(name, name))
        for name, values in outputs.items()
        if not np.isfinite(values).all()
    ]


def _run(
    module: ConvertedModule,
    inputs: dict[str, Tensor],
    state: Any,
    record: Iterable[str],
) -> tuple[Any, Any, Any]:
    steps = len(next(iter(inputs.values())))
    try:
        return run_sequence(module, inputs, state, record, chunk=steps)
    except (NirtorchError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a user's module raises whatever it likes
        if any(words in str(error) for words in _NO_MEMORY):
            raise
        text = " ".join(f"raised {type(error).__name__} when it was run: {error}".split())
        raise NirtorchError(Finding("NIR610", "error", text)) from error


def _chunk(module: ConvertedModule, inputs: Mapping[str, Signal], like: Tensor) -> int:
    shapes = {
        name: torch.empty(values.shape, dtype=like.dtype, device="meta")
        for name, values in inputs.items()
    }
    steps = len(next(iter(inputs.values())))
    return min(chunk_length(module, shapes), max(_FEWEST_STEPS, -(-steps // _PARTS)))


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """Arrays of parts of time, one after the other."""
    each = {name: [part[name] for part in parts] for name in parts[0]}
    return {name: a[0] if len(a) == 1 else np.concatenate(a) for name, a in each.items()}


def _joined_trace(parts: list[dict[str, dict[str, Array]]]) -> dict[str, dict[str, Array]]:
    """The same for what was recorded; counts are added."""
    joined = {}
    for path in parts[0]:
        of_node = [dict(part[path]) for part in parts]
        counts = [variables.pop("count") for variables in of_node if "count" in variables]
        joined[path] = _joined(of_node)
        if counts:
            joined[path]["count"] = sum(counts[1:], counts[0])
    return joined


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return _rebuilt(value, [_mapped(part, change) for part in value])
    return value


def _rebuilt(model: Any, parts: list[Any]) -> Any:
    """A tuple or list of the kind of another, a named tuple too."""
    if hasattr(model, "_make"):
        return model._make(parts)
    return tuple(parts) if isinstance(model, tuple) else parts
