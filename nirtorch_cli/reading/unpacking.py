"""A chunk of a dataset, packed by HDF5's filters, to its bytes.

In: the stored bytes and the filters that they went through. Out: exactly as many bytes as
the chunk has, or a ValueError. libhdf5 would do the same, but its inflate has no limit: a
chunk of a megabyte that should hold 64 bytes grows to a gigabyte before anybody counts.

Cost: linear in the bytes, stored and unpacked, whatever they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

DEFLATE, SHUFFLE, FLETCHER32, SZIP, LZF = 1, 2, 3, 4, 32000
"""The filters that are known, by HDF5's numbers. `nir.write` offers DEFLATE, SZIP and LZF."""

HERE = (DEFLATE, SHUFFLE, FLETCHER32)
"""The filters that are undone here."""

Filter = tuple[int, tuple[int, ...]]
"""A filter's number and its parameters."""


def unpacked(stored: bytes, filters: Sequence[Filter], skipped: int, size: int) -> bytes:
    """Undo filters, the last one first.

    Arguments:
        stored: the chunk as the file has it.
        filters: those of `HERE`, in the order in which they were applied.
        skipped: a bit for each filter that was not applied to this chunk.
        size: how many bytes must come out.

    Raises:
        ValueError: other than `size` bytes come out, or a checksum is wrong.
    """
    for place in reversed(range(len(filters))):
        code, values = filters[place]
        if skipped >> place & 1:
            continue
        if code == DEFLATE:
            # Filters before this one may have added a checksum, or a little to what did not pack.
            stored = _inflated(stored, size + size // 1000 + 64)
        elif code == SHUFFLE:
            stored = _unshuffled(stored, values[0] if values else 1)
        else:
            stored = _checked(stored)
    if len(stored) != size:
        raise ValueError("a chunk is not as long as it should be")
    return stored


def _inflated(stored: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        # One more than allowed: zlib takes a limit of 0 for none.
        data = inflater.decompress(stored, limit + 1)
    except zlib.error as error:
        raise ValueError("a chunk cannot be unpacked") from error
    if len(data) > limit:
        raise ValueError("a chunk is longer than it should be")
    return data


def _unshuffled(stored: bytes, width: int) -> bytes:
    """The bytes of each element side by side again; a rest that fills no element stays."""
    count = len(stored) // width if width else 0
    if width <= 1 or count <= 1:
        return stored
    planes = np.frombuffer(stored, dtype=np.uint8, count=count * width).reshape(width, count)
    gathered: bytes = planes.T.tobytes()
    return gathered + stored[count * width :]


def _checked(stored: bytes) -> bytes:
    """Without its checksum (Fletcher's, of 32 bits, over big-endian words of 16)."""
    data, sums = stored[:-4], int.from_bytes(stored[-4:], "little")
    words = np.frombuffer(data + b"\0" * (len(data) % 2), dtype=">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64) % 65535
    first = int(words.sum()) % 65535
    second = int((words * weights % 65535).sum()) % 65535
    if len(stored) < 4 or (first, second) != ((sums & 0xFFFF) % 65535, (sums >> 16) % 65535):
        raise ValueError("a chunk's checksum is wrong")
    return data
