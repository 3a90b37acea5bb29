"""Unpacks a chunk of a dataset that HDF5's filters packed.

In: the stored bytes and the filters that they went through. Out: exactly as many bytes as the chunk
has, or a ValueError. libhdf5 would do the same, but without a limit: a chunk of a megabyte that
should hold 64 bytes could grow to a gigabyte.

Cost: linear in the bytes, stored and unpacked, even of a hostile file.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

deflate: Any = zlib
with contextlib.suppress(ImportError):  # the extra `fast`: the same, in two thirds of the time
    from isal import isal_zlib as deflate

DEFLATE, SHUFFLE, FLETCHER32, SZIP, LZF = 1, 2, 3, 4, 32000
"""The filters that are known, by HDF5's numbers. `nir.write` offers DEFLATE, SZIP and LZF."""

Filter = tuple[int, tuple[int, ...]]
"""A filter's number and its parameters."""


Szip = Callable[[bytes], bytes]
"""Undoes szip, for which Python has no library; raises a ValueError."""


def unpacked(
    stored: bytes, filters: Sequence[Filter], skipped: int, size: int, szip: Szip
) -> bytes:
    """Undo filters, the last one first.

    Arguments:
        stored: the chunk as the file has it.
        filters: in the order in which they were applied.
        skipped: a bit for each filter that was not applied to this chunk.
        size: how many bytes must come out.
        szip: what to undo szip with.

    Raises:
        ValueError: other than `size` bytes come out, or a checksum is wrong.
    """
    for place in reversed(range(len(filters))):
        code, values = filters[place]
        if skipped >> place & 1:
            continue
        # Earlier filters may have added a checksum, or a little to data that did not shrink.
        limit = size + size // 1000 + 64
        if code == DEFLATE:
            stored = _inflated(stored, limit)
        elif code == LZF:
            stored = _from_lzf(stored, limit)
        elif code == SZIP:
            stored = szip(stored)
        elif code == SHUFFLE:
            stored = _unshuffled(stored, values[0] if values else 1)
        else:
            stored = _checked(stored)
    if len(stored) != size:
        raise ValueError("a chunk is not as long as it should be")
    return stored


def _inflated(stored: bytes, limit: int) -> bytes:
    inflater = deflate.decompressobj()
    try:
        # One more than allowed, because zlib takes 0 as no limit.
        data: bytes = inflater.decompress(stored, limit + 1)
    except deflate.error as error:
        raise ValueError("a chunk cannot be unpacked") from error
    if len(data) > limit:
        raise ValueError("a chunk is longer than it should be")
    return data


def _from_lzf(stored: bytes, limit: int) -> bytes:
    """LZF: runs of literal bytes, and references to earlier output (liblzf, lzf_d.c)."""
    data, at, end = bytearray(), 0, len(stored)
    try:
        while at < end:
            control = stored[at]
            at += 1
            if control < 32:
                at += control + 1
                data += stored[at - control - 1 : at]
            else:
                length = control >> 5
                if length == 7:
                    length += stored[at]
                    at += 1
                back = ((control & 31) << 8 | stored[at]) + 1
                at += 1
                length += 2
                start = len(data) - back
                if start < 0:
                    raise ValueError("a chunk cannot be unpacked")
                part = data[start : start + length]
                # The reference may overlap the bytes that it produces.
                data += part if back >= length else (part * (length // back + 1))[:length]
            if len(data) > limit:
                raise ValueError("a chunk is longer than it should be")
    except IndexError as error:
        raise ValueError("a chunk cannot be unpacked") from error
    if at != end:
        raise ValueError("a chunk cannot be unpacked")
    return bytes(data)


def _unshuffled(stored: bytes, width: int) -> bytes:
    """The bytes of each element side by side again; left-over bytes at the end stay as they are."""
    count = len(stored) // width if width else 0
    if width <= 1 or count <= 1:
        return stored
    planes = np.frombuffer(stored, dtype=np.uint8, count=count * width).reshape(width, count)
    gathered: bytes = planes.T.tobytes()
    return gathered + stored[count * width :]


def _checked(stored: bytes) -> bytes:
    """A chunk without its checksum, which must be right (Fletcher-32, big-endian 16-bit words)."""
    data, sums = stored[:-4], int.from_bytes(stored[-4:], "little")
    words = np.frombuffer(data + b"\0" * (len(data) % 2), dtype=">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64) % 65535
    first = int(words.sum()) % 65535
    second = int((words * weights % 65535).sum()) % 65535
    if len(stored) < 4 or (first, second) != ((sums & 0xFFFF) % 65535, (sums >> 16) % 65535):
        raise ValueError("a chunk's checksum is wrong")
    return data
