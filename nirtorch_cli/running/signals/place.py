"""Where recorded inputs come from: a path or stdin, to bytes.

In: what a user wrote, `FILE` or `FILE:PART`. Out: the bytes of the file and the name of the
part. Always holds: no more is read than allowed. Cost: linear in the bytes.
"""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO

from nirtorch_cli.findings.errors import ReadError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean_file
from nirtorch_cli.reading.file_kinds import is_saved
from nirtorch_cli.reading.limits import allowed_bytes

STDIN = "-"
_PIECE = 2**24


@dataclass(frozen=True)
class Place:
    """A file, by its path or `-` for stdin, and which of what it holds is meant, if one is."""

    file: str
    part: str | None = None

    @property
    def name(self) -> str:
        """How messages call the file."""
        return "<stdin>" if self.file == STDIN else self.file

    def problem(self, text: str, hint: str | None = None, code: str = "NIR022") -> ReadError:
        """The error that the file cannot be used."""
        return ReadError(Finding(code, "error", text, hint=hint, file=self.name))

    def claim(self, size: int, max_bytes: int | None, given: int) -> None:
        """Refuse what would take more than `max_bytes`, before it does; `given` is the file's size.

        Raises:
            ReadError: it would.
        """
        limit = allowed_bytes(max_bytes, given)
        if size > limit:
            text = f"its data claim more than {limit:,} bytes"
            hint = "if you trust the file, raise the limit (--max-bytes)"
            raise self.problem(text, hint, "NIR014")


def refuse_other_step(found: float, dt: float, *, file: str | None, node: str | None) -> None:
    """Refuse what was recorded on steps of another length than the model's.

    Raises:
        UsageError: it was.
    """
    if not math.isclose(found, dt, rel_tol=1e-6):  # float32 keeps seven digits
        text = f"was recorded at dt {found:g}, and the model runs at dt {dt:g}"
        hint = f"give --dt {found:g}, or record events, which fit any dt"
        raise UsageError(Finding("NIR605", "error", text, node, hint=hint, file=file))


def place_of(text: str) -> Place:
    """File and part of `FILE` or `FILE:PART`; a file's own name may have colons.

    >>> place_of("-:lif/spikes")
    Place(file='-', part='lif/spikes')
    """
    if text == STDIN or text.startswith(STDIN + ":"):
        return Place(STDIN, text[2:] or None)
    if os.path.lexists(text):
        return Place(text)
    file = text
    while ":" in file:
        file = file.rpartition(":")[0]
        if file and os.path.exists(file) and not os.path.isdir(file):
            return Place(file, text[len(file) + 1 :])
    return Place(text)


def bytes_of(place: Place, stdin: BinaryIO | None, max_bytes: int | None) -> bytes:
    """All bytes of a file.

    Raises:
        ReadError: it is not there, is empty, cannot be read, or has more than `max_bytes`.
    """
    try:
        if place.file == STDIN:
            if stdin is None:
                raise place.problem("there is no stdin")
            content = _read(place, stdin, max_bytes, 0)
        else:
            with open(place.file, "rb") as stream:
                status = os.fstat(stream.fileno())
                size = status.st_size if stat.S_ISREG(status.st_mode) else 0
                place.claim(size, max_bytes, size)
                content = _read(place, stream, max_bytes, size)
    except OSError as error:
        raise _failure(place, error) from error
    except ValueError as error:  # a NUL in the name
        raise place.problem(f"cannot be read: {error}", code="NIR001") from error
    if not content:
        raise place.problem("is empty", "was it written completely?", "NIR001")
    if is_saved(content):
        raise place.problem("is a file that torch.save wrote, and holds no recording")
    return content


def _read(place: Place, stream: BinaryIO, max_bytes: int | None, given: int) -> bytes:
    parts, size = [], 0
    while part := stream.read(_PIECE):
        size += len(part)
        place.claim(size, max_bytes, given)
        parts.append(part)
    return b"".join(parts)


def _failure(place: Place, error: OSError) -> ReadError:
    hint = None
    if isinstance(error, FileNotFoundError):
        text = "no such file"
        hint = did_you_mean_file(place.file) or did_you_mean_file(place.file.rpartition(":")[0])
    elif isinstance(error, IsADirectoryError):
        text, hint = "is a directory", "name a file"
    elif isinstance(error, PermissionError):
        text = "permission denied"
    else:
        text = f"cannot be read: {error.strerror or error}"
    return place.problem(text, hint, "NIR001")
