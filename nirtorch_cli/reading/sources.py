"""Where a file comes from: a path, bytes or a stream, to its bytes.

Out: the bytes of a source, of a file mapped and not read; and words for why there are none.
A stream may have no end, so no more is taken of it than is allowed. Imports no h5py.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from typing import Any, BinaryIO

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean_file
from nirtorch_cli.reading.file_kinds import kind_of_other
from nirtorch_cli.reading.heaps import Content
from nirtorch_cli.reading.limits import allowed_bytes

Source = str | os.PathLike[str] | bytes | BinaryIO

EMPTY = "it is empty"

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def name_of(source: Source) -> str:
    """How messages name a source."""
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "<stream>"))


def content_of(source: Source, max_bytes: int | None, stack: contextlib.ExitStack) -> Content:
    """The bytes of a source; those of a file are not in memory before they are asked for.

    Raises:
        OSError: it is not there, or is empty.
        ReadError: it is a stream of more than `max_bytes`.
    """
    if isinstance(source, bytes):
        content: Content = source
    elif isinstance(source, (str, os.PathLike)):
        # Python's open says more clearly than libhdf5 why a file cannot be read.
        stream = stack.enter_context(open(source, "rb"))  # noqa: SIM115 (the stack closes it)
        status = os.fstat(stream.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            return stack.enter_context(contextlib.closing(mapped))
        content = _read(stream, max_bytes)  # a shell's <(command)
    else:
        content = _read(source, max_bytes)
    if not content:
        raise OSError(EMPTY)
    return content


def _read(stream: BinaryIO, max_bytes: int | None) -> bytes:
    limit = allowed_bytes(max_bytes, 0)
    parts, room = [], limit + 1
    while room > 0 and (part := stream.read(min(room, 2**24))):
        parts.append(part)
        room -= len(part)
        if len(parts) == 1 and len(part) == 2**24 and not _has_signature(part):
            return part  # libhdf5 says that this is none of its files
    if room <= 0:
        text = f"has more than {limit:,} bytes"
        hint = "if you trust it, raise the limit (--max-bytes)"
        raise ReadError(Finding("NIR014", "error", text, hint=hint))
    return b"".join(parts)


def _has_signature(start: bytes) -> bool:
    """Whether an HDF5 file starts here, or after a block of its user's."""
    places = [0, *(2**power for power in range(9, 24))]
    return any(start.startswith(_SIGNATURE, place) for place in places)


def open_failure(error: Exception, name: str, content: Content) -> Finding:
    """Say why a file did not open, in words of the file and not of libhdf5.

    Arguments:
        name: how messages call the file. content: its bytes, as far as they were had.
    """
    text = one_line(error)
    hint: str | None
    other = kind_of_other(content, name) if "signature not found" in text else None
    if isinstance(error, IsADirectoryError):
        message, hint = "is a directory", "name a .nir file"
    elif isinstance(error, FileNotFoundError):
        message, hint = "no such file", did_you_mean_file(name)
    elif isinstance(error, PermissionError):
        message, hint = "permission denied", None
    elif text == EMPTY:
        message, hint = "is empty", "a .nir file is an HDF5 file; was it written completely?"
    elif other is not None:
        message, hint = f"{other[0]}, not a .nir file", other[1]
    elif "signature not found" in text:
        message, hint = "is not an HDF5 file", "a .nir file is an HDF5 file written by nir.write"
    elif "truncated" in text:
        message, hint = "is a truncated HDF5 file", "copy or write it again"
    elif isinstance(error, OSError) and error.strerror and not text.startswith("Unable to"):
        message, hint = f"cannot be read: {error.strerror}", None
    else:
        message, hint = f"is a damaged HDF5 file: {text}", "copy or write it again"
    return Finding("NIR001", "error", message, hint=hint)


def one_line(error: BaseException) -> str:
    """What an exception says, on one line and not at length."""
    return shown(" ".join(str(error).split()) or type(error).__name__, 500)


def text_of(value: Any) -> str:
    """Bytes or str as str; bytes that are no UTF-8 become lone surrogates, one each."""
    return value.decode("utf8", "surrogateescape") if isinstance(value, bytes) else str(value)


def shown(text: str, most: int = 60) -> str:
    """A text of the file as messages show it: no longer than a person reads."""
    return text if len(text) <= most else text[:most] + "..."
