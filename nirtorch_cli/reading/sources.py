"""The bytes of a file that is given as a path, bytes, a stream or stdin.

In: a `Source`, or a `FilePart`: a user's `FILE`, `FILE:PART` or `-`. Out: the bytes (a .nir
file is memory-mapped, not read), or an error that says why there are none. A stream may never end,
so no more than the limit is read from it. Imports no h5py. Cost: linear in the bytes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean_file
from nirtorch_cli.reading.file_kinds import HDF5_SIGNATURE, is_saved, kind_of_other
from nirtorch_cli.reading.heaps import Content
from nirtorch_cli.reading.limits import allowed_bytes

Source = str | os.PathLike[str] | bytes | BinaryIO

STDIN = "-"
EMPTY = "it is empty"

_PIECE = 2**24


def name_of(source: Source) -> str:
    """The name of a source in messages."""
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "<stream>"))


def content_of(source: Source, max_bytes: int | None, stack: contextlib.ExitStack) -> Content:
    """The bytes of a source; those of a file are loaded into memory only when they are used.

    Raises:
        OSError: it does not exist, or is empty.
        ReadError: it is a stream of more than `max_bytes`.
    """
    if isinstance(source, bytes):
        content: Content = source
    elif isinstance(source, (str, os.PathLike)):
        # Python's open explains better than libhdf5 why a file cannot be read.
        stream = stack.enter_context(open(source, "rb"))  # noqa: SIM115 (the stack closes it)
        status = os.fstat(stream.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            return stack.enter_context(contextlib.closing(mapped))
        content = _read(stream, max_bytes, _has_signature)  # a shell's <(command)
    else:
        content = _read(source, max_bytes, _has_signature)
    if not content:
        raise OSError(EMPTY)
    return content


def _read(
    stream: BinaryIO, max_bytes: int | None, is_wanted: Callable[[bytes], bool] = lambda _: True
) -> bytes:
    """All bytes of a stream; only the first piece, if `is_wanted` rejects it."""
    limit = allowed_bytes(max_bytes, 0)
    parts, room = [], limit + 1
    while room > 0 and (part := stream.read(min(room, _PIECE))):
        parts.append(part)
        room -= len(part)
        if len(parts) == 1 and len(part) == _PIECE and not is_wanted(part):
            return part  # libhdf5 reports that this is not an HDF5 file
    if room <= 0:
        text = f"has more than {limit:,} bytes"
        hint = "if you trust it, raise the limit (--max-bytes)"
        raise ReadError("NIR014", text, hint=hint)
    return b"".join(parts)


def _has_signature(start: bytes) -> bool:
    """Whether an HDF5 file starts here, or after a user block."""
    offsets = [0, *(2**power for power in range(9, 24))]
    return any(start.startswith(HDF5_SIGNATURE, offset) for offset in offsets)


@dataclass(frozen=True)
class FilePart:
    """A file, by its path or `-` for stdin, and the part of it that is meant, if one is named."""

    file: str
    part: str | None = None

    @property
    def name(self) -> str:
        """The file's name in messages."""
        return "<stdin>" if self.file == STDIN else self.file

    def problem(self, text: str, hint: str | None = None, code: str = "NIR022") -> ReadError:
        """The error that the file cannot be used."""
        return ReadError(code, text, hint=hint, file=self.name)

    def claim(self, size: int, max_bytes: int | None, given: int) -> None:
        """Refuse data of more than `max_bytes` before they are allocated; `given` is the file's
        size.

        Raises:
            ReadError: it is too much.
        """
        limit = allowed_bytes(max_bytes, given)
        if size > limit:
            text = f"its data claim more than {limit:,} bytes"
            hint = "if you trust the file, raise the limit (--max-bytes)"
            raise self.problem(text, hint, "NIR014")


def file_part_of(text: str) -> FilePart:
    """File and part of `FILE` or `FILE:PART`; a file's own name may have colons.

    >>> file_part_of("-:lif/spikes")
    FilePart(file='-', part='lif/spikes')
    """
    if text == STDIN or text.startswith(STDIN + ":"):
        return FilePart(STDIN, text[2:] or None)
    if os.path.lexists(text):
        return FilePart(text)
    file = text
    while ":" in file:
        file = file.rpartition(":")[0]
        if file and os.path.exists(file) and not os.path.isdir(file):
            return FilePart(file, text[len(file) + 1 :])
    return FilePart(text)


def bytes_of(source: FilePart, stdin: BinaryIO | None, max_bytes: int | None) -> bytes:
    """All bytes of a file of another kind than .nir.

    Raises:
        ReadError: it does not exist, is empty, cannot be read, or has more than `max_bytes`.
    """
    try:
        if source.file != STDIN:
            with open(source.file, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                source.claim(size, max_bytes, size)
                content = stream.read() if size else _read(stream, max_bytes)
        elif stdin is None:
            raise source.problem("there is no stdin")
        else:
            content = _read(stdin, max_bytes)
    except OSError as error:
        raise source.problem(*_why_unreadable(error, source.file, "a file"), "NIR001") from error
    except ValueError as error:  # a NUL in the name
        raise source.problem(f"cannot be read: {error}", code="NIR001") from error
    except ReadError as error:
        raise error.of(source.name) from error.__cause__
    if not content:
        raise source.problem("is empty", "was it written completely?", "NIR001")
    if is_saved(content):
        raise source.problem("was written by torch.save, so it is not a recording")
    return content


def open_failure(error: Exception, name: str, content: Content) -> Finding:
    """The finding that says why a .nir file did not open, in terms of the file, not of libhdf5.

    Arguments:
        name: the file's name in messages. content: the bytes of it that were read.
    """
    text = one_line(error)
    hint: str | None
    other = kind_of_other(content, name) if "signature not found" in text else None
    if isinstance(error, OSError) and error.strerror and "Unable to" not in error.strerror:
        message, hint = _why_unreadable(error, name, "a .nir file")
    elif text == EMPTY:
        message, hint = "is empty", "a .nir file is an HDF5 file; was it written completely?"
    elif other is not None:
        message, hint = f"{other[0]}, not a .nir file", other[1]
    elif "signature not found" in text:
        message, hint = "is not an HDF5 file", "a .nir file is an HDF5 file written by nir.write"
    elif "truncated" in text:
        message, hint = "is a truncated HDF5 file", "copy or write it again"
    else:
        message, hint = f"is a damaged HDF5 file: {text}", "copy or write it again"
    return Finding("NIR001", "error", message, hint=hint)


def _why_unreadable(error: OSError, name: str, wanted: str) -> tuple[str, str | None]:
    """Why the system did not open a file, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "no such file", did_you_mean_file(name) or did_you_mean_file(name.rpartition(":")[0])
    if isinstance(error, IsADirectoryError):
        return "is a directory", f"name {wanted}"
    if isinstance(error, PermissionError):
        return "permission denied", None
    return f"cannot be read: {error.strerror or error}", None


def one_line(error: BaseException) -> str:
    """The text of an exception, shortened to one line."""
    return shown(" ".join(str(error).split()) or type(error).__name__, 500)


def text_of(value: Any) -> str:
    """Bytes or str as str; a byte that is not UTF-8 becomes a lone surrogate."""
    return value.decode("utf8", "surrogateescape") if isinstance(value, bytes) else str(value)


def shown(text: str, most: int = 60) -> str:
    """A text of the file as messages show it, cut to a readable length."""
    return text if len(text) <= most else text[:most] + "..."
