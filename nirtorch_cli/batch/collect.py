"""MODEL arguments to the files that they name.

In: paths, patterns (`models/**/*.nir`), folders, and what is no path: bytes and streams. Out: the
names of files, each once, in the order of the arguments and by name within one, and what is no
path, as it is. Patterns are expanded here too, for shells that do not and for those that were told
not to.

A name that is not a pattern is passed on even if there is no such file; reading it then reports
what is wrong. Cost: linear in the entries of the folders that are searched.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted, quoted

if TYPE_CHECKING:
    from nirtorch_cli.reading.sources import Source

_SUFFIX = ".nir"


def gathered(arguments: Iterable[Source], exclude: Sequence[str] = ()) -> list[Source]:
    """The files that arguments name, and the contents among them.

    Arguments:
        exclude: patterns of files and folders that are left out of folders and patterns; a file
            that is named itself is not. See `fits`.

    Raises:
        UsageError: a pattern or a folder leads to no file; says so of every such argument.
    """
    files: dict[str | int, Source] = {}
    problems: list[Finding] = []
    for argument in arguments:
        if not isinstance(argument, (str, os.PathLike)):
            files.setdefault(id(argument), argument)
            continue
        argument = os.fspath(argument)
        there = _named(argument)
        found = [
            file
            for file in there
            if file == argument or not any(fits(file, pattern) for pattern in exclude)
        ]
        if not found:
            kind = "in the folder" if os.path.isdir(argument) else "for the pattern"
            text = f"no {_SUFFIX} file {kind} {quoted(argument)}"
            left = f"{counted(len(there), 'file')} excluded" if there else None
            problems.append(Finding("NIR700", "error", text, hint=left))
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    if problems:
        raise UsageError(problems)
    return list(files.values())


def _named(argument: str) -> list[str]:
    if os.path.isdir(argument):
        return _inside(argument)
    # A file may be called like a pattern: 'model[1].nir'.
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    matches = sorted(glob.glob(argument, recursive=True))
    return [file for match in matches for file in _expanded(match)]


def _expanded(match: str) -> list[str]:
    return _inside(match) if os.path.isdir(match) else [match]


def _inside(folder: str) -> list[str]:
    """The models of a folder and those below it; links to folders are not followed."""
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(_SUFFIX)
    )


def is_name(pattern: str) -> bool:
    """Whether a pattern is the name of a file or folder, wherever that is."""
    return "/" not in pattern.replace(os.sep, "/").rstrip("/")


def fits(file: str, pattern: str, folder: str | None = None) -> bool:
    """Whether a pattern means a file, or a folder that holds it.

    A pattern without a slash is the name of either, wherever it is: `old`, `*_v1.nir`. Others are
    paths from a folder, the current one if none is given; `*` and `**` go through folders.

    >>> fits("models/old/a.nir", "old"), fits("models/old/a.nir", "models/*/a.nir")
    (True, True)
    """
    pattern = pattern.replace(os.sep, "/").rstrip("/")
    try:
        base = os.path.abspath(folder or os.curdir)
        parts = os.path.relpath(os.path.abspath(file), base).split(os.sep)
    except (OSError, ValueError):  # no current folder; on another drive
        return False
    if is_name(pattern):
        return any(fnmatchcase(part, pattern) for part in parts)
    if os.path.isabs(pattern):
        parts = os.path.abspath(file).split(os.sep)
    wanted = pattern.removeprefix("./").replace("/./", "/").replace("**/", "*")
    path = "/".join(parts)
    return fnmatchcase(path, wanted) or fnmatchcase(path, f"{wanted}/*")
