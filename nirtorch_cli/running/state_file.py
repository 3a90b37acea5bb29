"""A module's state in a file, without pickle, so that a recording can be run in pieces.

In: a nested dict of arrays, as a step of a module returns it, with tensors made arrays. Out: an
.npz file with an array for each, named by its place (`lif1/v`, `nest/lif/v`), and a text that
says what holds what, so that None, tuples and empty dicts come back; and what the state was made
with, if the caller says it. And the same backwards.

Always holds: what is read back equals what was written, in type and in every number. Cost:
linear.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nirtorch_cli.conversion.artefacts.atomic import written
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import listed, printable, quoted
from nirtorch_cli.running.signals.npz import NPZ_SIGNATURES, archive_of, arrays_of
from nirtorch_cli.running.signals.place import Place, bytes_of

Array = np.ndarray[Any, Any]

_STRUCTURE = "nirtorch:state"
"""The archive's entry that says what holds what."""

_MADE_WITH = "nirtorch:made_with"
"""The archive's entry that says what the state was made with; files of before have none."""

_MOST_SAID = 8


@dataclass(frozen=True)
class MadeWith:
    """What a state was made with; None for what is not known.

    dt, integration, reset: the steps. dtype: of the module. model: the name of its file.
    steps: how many were done since the resting state.
    """

    dt: float | None = None
    integration: str | None = None
    reset: str | None = None
    dtype: str | None = None
    model: str | None = None
    steps: int | None = None

    def differences(self, now: MadeWith) -> list[str]:
        """What makes a step of `now` another than one of these, in words.

        >>> MadeWith(dt=1e-3, reset="value").differences(MadeWith(dt=1e-4, reset="value"))
        ['dt 0.001, not 0.0001']
        """
        pairs = [
            (name, getattr(self, name), getattr(now, name))
            for name in ("dt", "integration", "reset")
        ]
        return [
            f"{name} {_shown(then)}, not {_shown(today)}"
            for name, then, today in pairs
            if None not in (then, today) and not _is_same(then, today)
        ]


@dataclass(frozen=True)
class SavedState:
    """What a file holds. made_with: None if it does not say."""

    state: Any
    made_with: MadeWith | None


def write_state(
    path: str | os.PathLike[str],
    state: Any,
    *,
    made_with: MadeWith | None = None,
    clobber: bool = True,
) -> None:
    """Store a state of arrays, None, numbers, texts, and dicts, tuples and lists of those.

    Raises:
        UsageError: it holds something else.
        OutputError: the file cannot be written, or exists and `clobber` is False.
    """
    arrays: dict[str, Array] = {}
    texts = {_STRUCTURE: json.dumps(_described(state, (), arrays))}
    if made_with is not None:
        texts[_MADE_WITH] = json.dumps(asdict(made_with))
    said = {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
    content = archive_of({**arrays, **said})
    with written(path, clobber=clobber) as file:
        file.write(content)


def refuse_unstorable_state(state: Any) -> None:
    """Refuse a state of arrays that `write_state` would; no array is copied or written.

    Raises:
        UsageError: it holds what no state file can.
    """
    _described(state, (), {})


def read_state(path: str, *, max_bytes: int | None = None) -> Any:
    """The state that `write_state` stored.

    Raises:
        ReadError: the file cannot be read, or is no such file.
    """
    return saved_state(path, max_bytes=max_bytes).state


def saved_state(path: str, *, max_bytes: int | None = None) -> SavedState:
    """The state that `write_state` stored, and what it was made with.

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
        said = arrays.pop(_MADE_WITH, None)
        made_with = None if said is None else _made_with(json.loads(said.tobytes()))
        return SavedState(_restored(structure, arrays), made_with)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise place.problem("is a damaged saved state", "write it again") from error


def _made_with(told: Any) -> MadeWith:
    """What JSON says; what this version does not know is left out."""
    if not isinstance(told, dict):
        raise TypeError("no object")
    texts = {name: told.get(name) for name in ("integration", "reset", "dtype", "model")}
    numbers = {name: told.get(name) for name in ("dt", "steps")}
    for name, text in texts.items():
        if not (text is None or isinstance(text, str)):
            raise TypeError(f"{name} is no text")
    for name, number in numbers.items():
        kinds = int if name == "steps" else (int, float)
        is_number = isinstance(number, kinds) and not isinstance(number, bool)
        if number is not None and not (is_number and 0 <= number < 2**63):
            raise ValueError(f"{name} is no number")
    dt = numbers["dt"]
    return MadeWith(None if dt is None else float(dt), steps=numbers["steps"], **texts)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)  # float32 keeps seven digits
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else printable(str(value))


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
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        name = "/".join(_escaped(part) for part in path)
        name = name if name and name not in arrays else f"{name}:{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": [[k, _described(v, (*path, k), arrays)] for k, v in value.items()]}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_described(v, (*path, str(i)), arrays) for i, v in enumerate(value)]}
    kind = "Python object" if isinstance(value, np.ndarray) else type(value).__name__
    text = f"the state holds a {kind}, which no state file can"
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
