"""What kinds of files there are for a purpose, by what their names end in: the form of a registry.

A registry is a tuple of `Format`s, in the room that writes and reads them. In: a registry and the
name of a file. Out: the format, or one UsageError that lists what there is. Writers and readers are
named as text, `package.file:name`, so that nothing loads before it is used.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import quoted


@dataclass(frozen=True)
class Format:
    """A format of files.

    Arguments:
        name: what options and JSON call it.
        suffixes: what names end in, in small letters.
        writer, reader: as text `package.file:name`; None for what is not written, or read.
        called: what a sentence calls such a file.
        signatures: what its bytes begin with, where that tells it.
        needs: what must be there or given to use it: an option, or a library.
        takes: the names of further options of its writer.
        beside: the suffix of a second file that is written beside it, under the same name.
        used: how it is used, where that is not by this program's commands.
        is_binary: whether it is nothing for a terminal.
    """

    name: str
    suffixes: tuple[str, ...]
    writer: str | None = None
    reader: str | None = None
    called: str = ""
    signatures: tuple[bytes, ...] = ()
    needs: str | None = None
    takes: tuple[str, ...] = ()
    beside: str | None = None
    used: str | None = None
    is_binary: bool = False

    def write(self) -> Callable[..., Any]:
        """The function that writes it."""
        assert self.writer is not None
        return loaded(self.writer)

    def read(self) -> Callable[..., Any]:
        """The function that reads it."""
        assert self.reader is not None
        return loaded(self.reader)


def suffix_of(path: str) -> str:
    """What a name ends in, in small letters."""
    return os.path.splitext(path)[1].lower()


def format_by_suffix(path: str, formats: Sequence[Format]) -> Format | None:
    """The format that a name asks for, if one does."""
    suffix = suffix_of(path)
    return next((found for found in formats if suffix in found.suffixes), None)


def written_suffixes(formats: Sequence[Format]) -> str:
    """The first suffix of each format that is written, for a sentence."""
    return ", ".join(found.suffixes[0] for found in formats if found.writer is not None)


def format_named(name: str, formats: Sequence[Format]) -> Format:
    """The format of a name that there is."""
    return next(found for found in formats if found.name == name)


def format_to_write(
    path: str,
    formats: Sequence[Format],
    what: str,
    *,
    or_else: str = "",
    unnamed: Format | None = None,
) -> Format:
    """The format in which a file is written.

    Arguments:
        what: what is written, as the subject of a sentence.
        or_else: what else could be done, for the hint.
        unnamed: what a device or a pipe gets, whose name says nothing.

    Raises:
        UsageError: the name ends in no suffix of a format that is written.
    """
    written = [found for found in formats if found.writer is not None]
    found = format_by_suffix(path, written)
    if found is not None:
        return found
    if unnamed is not None and os.path.exists(path) and not os.path.isfile(path):
        return unnamed
    suffix = suffix_of(path)
    text = f"{what} cannot be written as {quoted(suffix)}" if suffix else "the name has no suffix"
    suffixes = [suffix for format_ in written for suffix in format_.suffixes]
    raise UsageError(f"{quoted(path)}: {text}", hint=f"end it in {', '.join(suffixes)}{or_else}")


def format_by_content(content: bytes, formats: Sequence[Format]) -> Format | None:
    """The format that the first bytes of a file tell, if they do."""
    known = (found for found in formats if found.signatures)
    return next((found for found in known if content.startswith(found.signatures)), None)


def loaded(text: str) -> Callable[..., Any]:
    """What a text `package.file:name` names."""
    file, _, name = text.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(file), name)
    return found
