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
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import quoted

if TYPE_CHECKING:
    from nirtorch_cli.reading.sources import Source

_SUFFIX = ".nir"


def gathered(arguments: Iterable[Source]) -> list[Source]:
    """The files that arguments name, and the contents among them.

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
        found = _named(argument)
        if not found:
            kind = "in the folder" if os.path.isdir(argument) else "for the pattern"
            text = f"no {_SUFFIX} file {kind} {quoted(argument)}"
            problems.append(Finding("NIR700", "error", text))
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
