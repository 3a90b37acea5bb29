"""The SHA-256 of what was read, or of a file.

In: bytes, or a path. Out: hexadecimal digits. Cost: linear in the bytes, of which no more than a
piece is in memory. Imports nothing that takes long.
"""

from __future__ import annotations

import hashlib
import mmap

_PIECE = 2**24


def digest_of(content: bytes | mmap.mmap) -> str:
    """The SHA-256 of the bytes of a source, in hexadecimal."""
    digest = hashlib.sha256()
    for start in range(0, len(content), _PIECE):
        digest.update(content[start : start + _PIECE])
        released(content)
    return digest.hexdigest()


def digest_of_file(path: str) -> str | None:
    """The SHA-256 of a file in hexadecimal; None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()


def released(content: bytes | mmap.mmap) -> None:
    """Give back the memory of a mapped file that was read: it is loaded again when it is used."""
    if isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)
