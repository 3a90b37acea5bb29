"""The texts of an HDF5 file: where its global heaps keep them, and what they say.

In: the bytes of a file. Out: texts by reference, and the promise that libhdf5 gets through
the heaps. A global heap is a list of numbered objects; a dataset of texts of any length
holds references to them: a length, the heap's address and the object's number.

libhdf5 (2.0 and before) goes from object to object by their sizes and looks for the end of
the heap only: an object of size 0 keeps it busy forever, and Ctrl-C does not stop it. It
also allocates what a reference says, up to 4 GB, before it looks at the text. Hence the
walk here, before any dataset is opened, and hence texts are taken from the bytes.

Cost: linear in the bytes of the file; a heap that texts are taken from is indexed once.
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
"""What an object in a heap's index costs."""


@dataclass
class Heaps:
    """The global heaps of a file.

    `base` is where the file's addresses count from, `offset_size` and `length_size` are how
    many bytes it gives to an address and to a length, and `claim` is called with what an
    index is going to take.
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
            ValueError: libhdf5 would walk in circles in one of them.
        """
        budget = len(self.content)  # bounds the work for heaps that lie inside one another
        at = self.content.find(_SIGNATURE)
        while at >= 0:
            size = self.size_at(at)
            # Anything smaller or longer is no heap; if it were taken for one, libhdf5 says so.
            if _SMALLEST <= size <= len(self.content) - at:
                budget -= self.walk(at, size, None)
                if budget < 0:
                    raise ValueError("too many heaps of text")
            at = self.content.find(_SIGNATURE, at + 1)

    def text(self, reference: bytes) -> bytes:
        """What a reference leads to, up to its first NUL, as C and h5py read it.

        Raises:
            ValueError: it leads nowhere, or to a text of another length.
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
        """Where the objects of the heap at a place are, and how long."""
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
        """How many objects a heap has; fills in its index, if there is one.

        Raises:
            ValueError: an object leads out of the heap, or nowhere.
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
