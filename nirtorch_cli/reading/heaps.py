"""The variable-length texts of an HDF5 file, which are stored in its global heaps.

In: the bytes of a file. Out: texts by reference, and the certainty that libhdf5 can walk the heaps.
A global heap is a list of numbered objects; a dataset of variable-length texts holds references to
them: a length, the heap's address and the object's number.

libhdf5 (2.0 and earlier) steps from object to object by their sizes until the end of the heap: an
object of size 0 keeps it busy for ever, and Ctrl-C does not stop it. It also allocates as much as a
reference says, up to 4 GB, before it looks at the text. That is why the heaps are walked here
before any dataset is opened, and why texts are taken from the bytes.

Cost: linear in the bytes of the file; each heap is indexed at most once.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Content = bytes | mmap.mmap

_SIGNATURE = b"GCOL\x01"
_SMALLEST = 4096
_INDEX_BYTES = 256
"""Bytes that an object takes in the index of a heap."""


@dataclass
class Heaps:
    """The global heaps of a file.

    `base` is the offset that the file's addresses count from, `offset_size` and `length_size` are
    the bytes of an address and of a length, and `claim` is called with the bytes that an index will
    take.
    """

    content: Content
    base: int
    offset_size: int
    length_size: int
    claim: Callable[[int], None]
    indexed: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    longest: int = 0

    def __post_init__(self) -> None:
        rest = f"V{self.offset_size + 4}"  # an address and a number
        self.reference = np.dtype([("length", "<u4"), ("place", rest)])

    def check(self) -> None:
        """Walk every heap once.

        Raises:
            ValueError: libhdf5 would never get to the end of one of them.
        """
        budget = len(self.content)  # bounds the work for overlapping heaps
        at = self.content.find(_SIGNATURE)
        while at >= 0:
            size = self.size_at(at)
            # Anything smaller or longer is not a heap; libhdf5 reports it if a reference uses it.
            if _SMALLEST <= size <= len(self.content) - at:
                budget -= self.walk(at, size, None)
                if budget < 0:
                    raise ValueError("too many heaps of text")
            at = self.content.find(_SIGNATURE, at + 1)

    def text(self, reference: bytes) -> bytes:
        """The text of a reference, up to its first NUL, as C and h5py read it.

        Raises:
            ValueError: there is no such text, or it has another length.
        """
        length = int.from_bytes(reference[:4], "little")
        address = int.from_bytes(reference[4 : 4 + self.offset_size], "little")
        if length == 0 or address == 0:
            return b""
        number = int.from_bytes(reference[4 + self.offset_size :], "little")
        at = self.base + address
        index = self.indexed.get(at)
        position, size = (self.index(at) if index is None else index).get(number, (0, -1))
        if size != length:
            raise ValueError("a text is not where it should be")
        text = self.content[position : position + size]
        return text.split(b"\0", 1)[0] if b"\0" in text else text

    def index(self, at: int) -> dict[int, tuple[int, int]]:
        """The offset and length of each object of the heap at an offset."""
        size = self.size_at(at) if self.content[at : at + len(_SIGNATURE)] == _SIGNATURE else 0
        if not _SMALLEST <= size <= len(self.content) - at:
            raise ValueError("a text is not where it should be")
        self.claim(_INDEX_BYTES * self.walk(at, size, None))
        self.indexed[at] = {}
        self.walk(at, size, self.indexed[at])
        return self.indexed[at]

    def size_at(self, at: int) -> int:
        return int.from_bytes(self.content[at + 8 : at + 8 + self.length_size], "little")

    def walk(self, at: int, size: int, index: dict[int, tuple[int, int]] | None) -> int:
        """The number of objects in a heap; fills in its index, if one is given.

        Raises:
            ValueError: an object reaches out of the heap, or has size 0.
        """
        content, length_size = self.content, self.length_size
        header = -(-(8 + length_size) // 8) * 8
        position, end, count = at + header, at + size, 0
        while position + header <= end:
            number = int.from_bytes(content[position : position + 2], "little")
            taken = int.from_bytes(content[position + 8 : position + 8 + length_size], "little")
            # Object 0 is the free space; its size includes its header.
            step = taken if number == 0 else header + -(-taken // 8) * 8
            if not 0 < step <= end - position:
                raise ValueError("a heap of text is broken")
            if number:
                self.longest = max(self.longest, taken)
                if index is not None:
                    index[number] = (position + header, taken)
            position += step
            count += 1
        return count
