"""The content of a `.nir` file, one line per field and edge, and how two files differ.

In: a path, bytes or a stream. Out: text. Shows people what a repair changed; unknown fields are
listed too. Cost: linear in the bytes of the file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nirtorch_cli.findings.text import quoted
from nirtorch_cli.reading.hdf5 import Member, Store, opened
from nirtorch_cli.reading.limits import MAX_NESTING
from nirtorch_cli.reading.sources import Source, text_of

_FEW = 8
"""Arrays of up to this many values are written out."""


@dataclass(frozen=True)
class Change:
    """A line that is in one file only: `+` in the second, `-` in the first."""

    sign: str
    text: str


def outline(source: Source, *, max_bytes: int | None = None) -> dict[str, str]:
    """Every field and edge of a file: its path, and its value in few characters.

    Raises:
        ReadError: see `reading.read`.
    """
    with opened(source, max_bytes) as store:
        return dict(_walk(store, store.root, ()))


def difference(before: dict[str, str], after: dict[str, str]) -> list[Change]:
    """The lines that differ between two outlines, in the order of the paths."""
    changes = []
    for place in sorted({*before, *after}):
        old, new = before.get(place), after.get(place)
        if old != new:
            changes += [Change("-", f"{place}{old}")] if old is not None else []
            changes += [Change("+", f"{place}{new}")] if new is not None else []
    return changes


def _walk(store: Store, member: Member, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if len(path) > 3 * MAX_NESTING:
        return  # reading refuses this
    where = "/".join(path)
    for name, inner in store.members(member, None, where or "/").items():
        place = f"{where}/{name}".lstrip("/").removeprefix("node/")
        if store.is_group(inner):
            yield from _walk(store, inner, (*path, name))
            continue
        value = store.value(inner, None, place)
        if name == "edges" and np.ndim(value) == 2:
            edges = Counter(tuple(map(text_of, edge)) for edge in value.tolist())
            for (source, target), count in sorted(edges.items()):
                times = f" ({count} times)" if count > 1 else ""
                yield f"{place}: {quoted(source)} -> {quoted(target)}", times
            continue
        yield place, f" = {_described(value)}"


def _described(value: Any) -> str:
    """A value in few characters; different values look different."""
    if isinstance(value, (str, bytes)):
        return quoted(text_of(value))
    array = np.asarray(value)
    if array.size == 1 and array.ndim == 0:
        return f"{array.item()!s} ({array.dtype})"
    shape = "x".join(map(str, array.shape))
    if array.size <= _FEW:
        return f"{' '.join(str(array.tolist()).split())} ({array.dtype}, {shape})"
    if array.dtype.kind not in "fiub":
        return f"{array.dtype}, {shape}"
    low, high = array.min(), array.max()
    if low == high:
        return f"all {low:.6g} ({array.dtype}, {shape})"
    digest = hashlib.blake2b(array.tobytes(), digest_size=4).hexdigest()
    return f"{low:.6g}..{high:.6g} ({array.dtype}, {shape}, #{digest})"
