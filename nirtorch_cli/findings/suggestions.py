"""Suggestions for a name that does not exist: similar names, for the hint of a message.

In: a name and the names that exist, or the path of a missing file. Out: a question in one line, or
None if no name is similar. Cost: linear in the names; in a folder, only the first `_MOST_ENTRIES`
are considered.
"""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Iterable

from nirtorch_cli.findings.text import listed

_CUTOFF = 0.6
"""The least similarity by difflib: in a name of four letters, two may be swapped."""

_MOST, _MOST_ENTRIES = 3, 10_000


def near_names(name: str, names: Iterable[str]) -> list[str]:
    """The names that are similar to one, the most similar first."""
    by_small: dict[str, list[str]] = {}
    for other in names:
        by_small.setdefault(other.lower(), []).append(other)
    near = difflib.get_close_matches(name.lower(), by_small, n=_MOST, cutoff=_CUTOFF)
    return [other for small in near for other in by_small[small] if other != name][:_MOST]


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """The question whether a similar name was meant; None if none is similar.

    >>> did_you_mean("eular", ["euler", "exact"])
    "did you mean 'euler'?"
    """
    near = near_names(name, names)
    return f"did you mean {listed(near)}?" if near else None


def did_you_mean_file(path: str) -> str | None:
    """The question whether another file was meant than one that does not exist.

    A file is similar if its suffix is the same and its name is similar, or if only its suffix
    differs. A folder on the path may be misspelt instead.
    """
    near = _near_files(path)
    return f"did you mean {listed(near)}?" if near else None


def _near_files(path: str) -> list[str]:
    folder, name = os.path.split(path)
    if not name:
        folder, name = os.path.split(folder)
    if not name:
        return []
    if folder and not os.path.isdir(folder):
        moved = (os.path.join(near, name) for near in _near_files(folder))
        return [other for other in moved if os.path.lexists(other)]
    return [os.path.join(folder, other) for other in _near_entries(name, folder or os.curdir)]


def _near_entries(name: str, folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in itertools.islice(entries, _MOST_ENTRIES))
    except (OSError, ValueError):  # a NUL in the name
        return []
    stem, suffix = os.path.splitext(name)
    stems: dict[str, list[str]] = {}
    for other in found:
        other_stem, other_suffix = os.path.splitext(other)
        if other_suffix.lower() == suffix.lower() or other_stem == stem:
            stems.setdefault(other_stem, []).append(other)
    near = near_names(stem, stems)
    same = stems.get(stem, [])
    return [*same, *(other for near_stem in near for other in stems[near_stem])][:_MOST]
