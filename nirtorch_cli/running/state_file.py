"""A module's state in a file, without pickle, so that a recording can be run in pieces.

In: a nested state of arrays: a module's state with tensors converted to arrays. Out: an .npz file
with an array for each leaf, named by its keys (`lif1/v`, `nest/lif/v`), and the settings that the
state was made with. A number or a text is stored as the bytes of its JSON, None not at all. And
back: a state of the same module gives the dicts, tuples and None around the leaves.

Always holds: a state is read back with the same types and numbers. Cost: linear.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

import numpy as np

from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import listed, printable, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.sources import FilePart, bytes_of
from nirtorch_cli.running.signals.npz import NPZ_SIGNATURES, archive_of, arrays_of

_OURS = "nirtorch:"
"""The prefix of entries that are not leaves; a colon in a key is escaped."""

_MADE_WITH = f"{_OURS}made_with"
"""The archive's entry with the settings that the state was made with, or null."""

_PLAIN = " !\"#$&'()*+,;<=>?@[]^`{|}"
"""Characters of a key that are not escaped in a name, beside letters, digits and `_.-~`."""

_MOST_SAID = 8


@dataclass(frozen=True)
class MadeWith:
    """The settings that a state was made with; None if not known.

    dt, integration, reset, reset_delay, fire_at: what a step means. dtype: of the module. model:
    the name of its file. steps: how many were done since the resting state.
    """

    dt: float | None = None
    integration: str | None = None
    reset: str | None = None
    reset_delay: bool | None = None
    fire_at: str | None = None
    dtype: str | None = None
    model: str | None = None
    steps: int | None = None

    def differences(self, now: MadeWith) -> list[str]:
        """The settings in which `now` differs, in words.

        >>> MadeWith(dt=1e-3, reset="value").differences(MadeWith(dt=1e-4, reset="value"))
        ['dt 0.001, not 0.0001']
        """
        names = ("dt", "integration", "reset", "reset_delay", "fire_at")
        pairs = [(name, getattr(self, name), getattr(now, name)) for name in names]
        return [
            f"{name} {_shown(then)}, not {_shown(today)}"
            for name, then, today in pairs
            if None not in (then, today) and not _is_same(then, today)
        ]


@dataclass(frozen=True)
class SavedState:
    """The content of a file: the leaves by their keys; `made_with` is None if the file lacks it."""

    leaves: Mapping[str, Array]
    made_with: MadeWith | None


def write_state(
    path: str | os.PathLike[str],
    state: Any,
    *,
    made_with: MadeWith | None = None,
    clobber: bool = True,
) -> None:
    """Store a state of arrays, None, numbers, texts, and dicts, tuples and lists of these.

    Raises:
        UsageError: it holds anything else.
        OutputError: the file cannot be written, or exists and `clobber` is False.
    """
    said = None if made_with is None else asdict(made_with)
    leaves = {_name(keys): _stored(leaf, keys) for keys, leaf in _leaves(state)}
    content = archive_of({**leaves, _MADE_WITH: _json_bytes(said)})
    with atomic_write(path, clobber=clobber) as file:
        file.write(content)


def require_storable_state(state: Any) -> None:
    """Refuse a state that `write_state` would refuse; no array is copied or written.

    Raises:
        UsageError: it holds what a state file cannot store.
    """
    for keys, leaf in _leaves(state):
        _stored(leaf, keys)


def saved_state(path: str, *, max_bytes: int | None = None) -> SavedState:
    """The leaves that `write_state` stored, and what they were made with.

    Raises:
        ReadError: the file cannot be read, or is not a state file.
    """
    source = FilePart(path)
    content = bytes_of(source, None, max_bytes)
    hint = "nirtorch run --state-out writes one"
    if not content.startswith(NPZ_SIGNATURES):
        raise source.problem("is not a saved state", hint)
    arrays = arrays_of(content, source, max_bytes)
    leaves = {name: array for name, array in arrays.items() if not name.startswith(_OURS)}
    if len(leaves) == len(arrays):
        raise source.problem("is an .npz file, but not a saved state", hint)
    try:
        made_with = _made_with(arrays[_MADE_WITH]) if _MADE_WITH in arrays else None
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise source.problem("is a damaged saved state", "write it again") from error
    return SavedState(leaves, made_with)


def fitted(leaves: Mapping[str, Array], template: Any, file: str) -> Any:
    """A state with these leaves and the structure of the template.

    Arguments:
        template: a state of the module for the same batch, with arrays for its tensors.

    Raises:
        UsageError: leaves are missing or unknown, or have other shapes; lists all of them.
    """
    left, missing, odd = dict(leaves), list[str](), list[str]()

    def made(wanted: Any, keys: tuple[str, ...]) -> Any:
        if isinstance(wanted, Mapping):
            return {key: made(part, (*keys, key)) for key, part in wanted.items()}
        if isinstance(wanted, (tuple, list)):
            parts = [made(part, (*keys, str(n))) for n, part in enumerate(wanted)]
            if hasattr(wanted, "_make"):
                return wanted._make(parts)
            return tuple(parts) if isinstance(wanted, tuple) else parts
        if wanted is None:
            return None
        where = "/".join(keys)
        leaf: Any = left.pop(_name(keys), None)
        if leaf is None:
            missing.append(where)
        elif not isinstance(wanted, np.ndarray):
            leaf = _from_json(leaf)
            if type(leaf) is not type(wanted):
                odd.append(f"{quoted(where)} is no {type(wanted).__name__}")
        elif leaf.shape != wanted.shape:
            odd.append(f"{quoted(where)} has the shape {leaf.shape}, not {wanted.shape}")
        elif leaf.dtype.kind not in "biuf":
            odd.append(f"{quoted(where)} holds {leaf.dtype}")
        return leaf

    state = made(template, ())
    problems = [
        *([f"has no {listed(missing)}"] if missing else []),
        *([f"has {listed(list(left))}, which the model has not"] if left else []),
        *odd,
    ]
    if problems:
        more = len(problems) - _MOST_SAID
        text = "; ".join(problems[:_MOST_SAID]) + (f"; and {more} more" if more > 0 else "")
        message = f"is not a state of this model and batch: {text}"
        raise UsageError("NIR601", message, file=file)
    return state


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves of a state (all but dicts, tuples, lists and None), each with its keys."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        for key, part in value.items():
            yield from _leaves(part, (*keys, key))
    elif isinstance(value, (tuple, list)):
        for n, part in enumerate(value):
            yield from _leaves(part, (*keys, str(n)))
    elif value is not None:
        yield keys, value


def _stored(leaf: Any, keys: tuple[str, ...]) -> Array:
    if isinstance(leaf, (bool, int, float, str)):
        return _json_bytes(leaf)
    if isinstance(leaf, np.ndarray) and not leaf.dtype.hasobject:
        return leaf
    kind = "Python object" if isinstance(leaf, np.ndarray) else type(leaf).__name__
    text = f"the state holds a {kind}, which a state file cannot store"
    raise UsageError("NIR700", text, "/".join(keys) or None)


def _json_bytes(value: Any) -> Array:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _from_json(array: Array) -> Any:
    """The value that `_json_bytes` stored in an array; other arrays are returned as they are."""
    try:
        return json.loads(array.tobytes())
    except (ValueError, RecursionError):
        return array


def _made_with(array: Array) -> MadeWith | None:
    """The settings from JSON; entries that this version does not know are left out."""
    said = json.loads(array.tobytes())
    if said is None:
        return None
    kinds = get_type_hints(MadeWith)
    values = {name: said.get(name) for name in kinds}
    values["dt"] = None if values["dt"] is None else float(values["dt"])
    if any(type(values[name]) not in get_args(kind) for name, kind in kinds.items()):
        raise TypeError("another type than was written")
    if not all(0 <= n < 2**63 for n in (values["dt"], values["steps"]) if n is not None):
        raise ValueError("not a known number")
    return MadeWith(**values)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)  # float32 keeps seven digits
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else printable(str(value))


def _name(keys: tuple[str, ...]) -> str:
    """The name of an entry: `/` separates keys, and `:` marks entries that are not leaves."""
    return "/".join(quote(key, _PLAIN, errors="surrogatepass") for key in keys)
