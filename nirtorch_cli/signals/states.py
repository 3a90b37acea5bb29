"""A module's state in a file, without pickle, so that a recording can be run in pieces.

In: a nested dict of arrays, as a step of a module returns it, with tensors made arrays. Out: an
.npz file with an array for each, named by its place (`lif1/v`, `nest/lif/v`), and a text that
says what holds what, so that None, tuples and empty dicts come back. And the same backwards.

Always holds: what is read back equals what was written, in type and in every number. Cost:
linear.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nirtorch_cli.errors import UsageError
from nirtorch_cli.findings import Finding, listed, quoted
from nirtorch_cli.limits import DEFAULT_MAX_BYTES
from nirtorch_cli.signals.archives import NPZ_SIGNATURES, archive_of, arrays_of
from nirtorch_cli.signals.sources import Place, bytes_of
from nirtorch_cli.writing import written

Array = np.ndarray[Any, Any]

_STRUCTURE = "nirtorch:state"
"""The archive's entry that says what holds what."""

_MOST_SAID = 8


def write_state(path: str | os.PathLike[str], state: Any, *, clobber: bool = True) -> None:
    """Store a state of arrays, None, numbers, texts, and dicts, tuples and lists of those.

    Raises:
        UsageError: it holds something else.
        OutputError: the file cannot be written, or exists and `clobber` is False.
    """
    arrays: dict[str, Array] = {}
    structure = json.dumps(_described(state, (), arrays))
    content = archive_of({**arrays, _STRUCTURE: np.frombuffer(structure.encode(), np.uint8)})
    with written(path, clobber=clobber) as file:
        file.write(content)


def read_state(path: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Any:
    """The state that `write_state` stored.

    Raises:
        ReadError: the file cannot be read, or is no such file.
    """
    place = Place(path)
    content = bytes_of(place, None, max_bytes)
    hint = "nirtorch run --state-out writes one"
    if not content.startswith(NPZ_SIGNATURES):
        raise place.problem("is no saved state", hint)
    arrays = arrays_of(content, place, max_bytes)
    if _STRUCTURE not in arrays:
        raise place.problem("is an .npz file, but no saved state", hint)
    try:
        structure = json.loads(arrays.pop(_STRUCTURE).tobytes())
        return _restored(structure, arrays)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise place.problem("is a damaged saved state", "write it again") from error


def fitted(state: Any, template: Any, file: str) -> Any:
    """A state that was read, as the module wants it: with the template's own kinds of tuples.

    Arguments:
        template: a state of the module for the same batch, with arrays for its tensors.

    Raises:
        UsageError: entries are missing or unknown, or arrays have other shapes; says them all.
    """
    problems = list(_differences(state, template, ""))
    if problems:
        more = len(problems) - _MOST_SAID
        text = "; ".join(problems[:_MOST_SAID]) + (f"; and {more} more" if more > 0 else "")
        message = f"is no state of this model and batch: {text}"
        raise UsageError(Finding("NIR601", "error", message, file=file))
    return _like(state, template)


def _described(value: Any, path: tuple[str, ...], arrays: dict[str, Array]) -> Any:
    """What holds what, as JSON has it; the arrays are put into `arrays`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        name = "/".join(_escaped(part) for part in path)
        name = name if name and name not in arrays else f"{name}:{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": [[k, _described(v, (*path, k), arrays)] for k, v in value.items()]}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_described(v, (*path, str(i)), arrays) for i, v in enumerate(value)]}
    text = f"the state holds a {type(value).__name__}, which no state file can"
    raise UsageError(Finding("NIR700", "error", text, "/".join(path) or None))


def _restored(structure: Any, arrays: Mapping[str, Array]) -> Any:
    if not isinstance(structure, dict):
        if isinstance(structure, list):
            raise ValueError("a list that nothing says the kind of")
        return structure
    ((kind, held),) = structure.items()
    if kind == "array":
        return arrays[held].copy()
    if kind == "dict":
        return {str(key): _restored(value, arrays) for key, value in held}
    if kind not in ("tuple", "list"):
        raise ValueError(f"an unknown kind {kind!r}")
    parts = [_restored(value, arrays) for value in held]
    return tuple(parts) if kind == "tuple" else parts


def _differences(state: Any, template: Any, where: str) -> Iterator[str]:
    if isinstance(template, Mapping) and isinstance(state, Mapping):
        missing = [f"{where}{key}" for key in template if key not in state]
        unknown = [f"{where}{key}" for key in state if key not in template]
        yield from [f"has no {listed(missing)}"] if missing else []
        yield from [f"has {listed(unknown)}, which the model has not"] if unknown else []
        for key in template:
            if key in state:
                yield from _differences(state[key], template[key], f"{where}{key}/")
    elif isinstance(template, (tuple, list)) and isinstance(state, (tuple, list)):
        if len(state) != len(template):
            yield f"{_place(where)} has {len(state)} parts, not {len(template)}"
        for place, (mine, wanted) in enumerate(zip(state, template)):
            yield from _differences(mine, wanted, f"{where}{place}/")
    elif isinstance(template, np.ndarray) and isinstance(state, np.ndarray):
        if state.shape != template.shape:
            yield f"{_place(where)} has the shape {state.shape}, not {template.shape}"
        elif state.dtype.kind not in "biuf":
            yield f"{_place(where)} holds {state.dtype}"
    elif _kind(state) != _kind(template):
        yield f"{_place(where)} is {_kind(state)}, not {_kind(template)}"


def _like(state: Any, template: Any) -> Any:
    if isinstance(template, Mapping):
        return {key: _like(state[key], part) for key, part in template.items()}
    if isinstance(template, (tuple, list)):
        parts = [_like(mine, part) for mine, part in zip(state, template)]
        if hasattr(template, "_make"):
            return template._make(parts)
        return tuple(parts) if isinstance(template, tuple) else parts
    return state


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (Mapping, tuple, list)):
        return "several values"
    return "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _place(where: str) -> str:
    return quoted(where.rstrip("/"))


def _escaped(part: str) -> str:
    """A key in an array's name: `/` separates keys, and `:` is for names that are no path."""
    return "".join(
        c
        if c not in "%/:\\" and c.isprintable() and c.isascii()
        else "".join(f"%{b:02x}" for b in c.encode("utf8", "surrogatepass"))
        for c in part
    )
