"""A chunked dataset, assembled from its chunks, which are unpacked on all processors.

In: a dataset, its packing, and the ledger that counts what a file claims. Out: an array. libhdf5
reads the chunks one after another, since it does one thing at a time; what unpacks them does not.
No more is unpacked than fits where it belongs. Cost: linear in the bytes, stored and unpacked.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import h5py
import numpy as np

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.filters import DEFLATE, FLETCHER32, LZF, SHUFFLE, SZIP, unpacked
from nirtorch_cli.reading.heaps import Content
from nirtorch_cli.reading.limits import CHUNK_BYTES, MAX_REREAD, MAX_SZIP_CHUNK
from nirtorch_cli.reading.packing import Packing
from nirtorch_cli.reading.processors import shared
from nirtorch_cli.reading.szip import from_szip

_WORTH_SHARING = 2**22
"""Bytes of an array from which on threads pay."""


class Ledger(Protocol):
    """What counts the claims and the packed bytes of a file, which it holds."""

    content: Content
    packed: int

    def claim(self, size: int, where: str | None, name: str | None) -> None:
        """Count what is about to be allocated, or refuse it."""

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Room for an array."""


def chunked(
    dataset: h5py.h5d.DatasetID,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    packing: Packing,
    ledger: Ledger,
    where: str | None,
    name: str,
) -> Array | None:
    """The content of a chunked dataset; None if no chunk was stored.

    Arguments:
        where, name: the node and the parameter, for messages.

    Raises:
        ReadError: it claims too much, or is packed in a way that is not known.
        ValueError: it is damaged.
    """
    return _Chunked(dataset, ledger, where, name).array(shape, dtype, packing)


@dataclass(slots=True)
class _Chunked:
    """Reads the chunks of one dataset."""

    dataset: h5py.h5d.DatasetID
    store: Ledger
    where: str | None
    name: str

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any], packing: Packing) -> Array | None:
        """A chunked dataset, assembled from its chunks; None if none was stored."""
        sizes, filters = packing.chunk, packing.filters
        grid = [range(0, length, size) for length, size in zip(shape, sizes)]
        count, size = math.prod(map(len, grid)), math.prod(sizes) * dtype.itemsize
        # A chunk is always unpacked as a whole, even if the dataset uses little of it.
        self.claim(1, count * CHUNK_BYTES + (size if count else 0))
        self.check_filters([code for code, *_ in filters], size)
        stored = self.stored(count)
        if not stored:
            return None
        if shape == sizes:
            only = self.chunk(stored.get((0,) * len(shape)), filters, size)
            # A copy, because an array over bytes is read-only.
            return None if only is None else np.frombuffer(bytearray(only()), dtype).reshape(shape)
        array = self.store.zeros(shape, dtype)
        if dtype.kind != "V" and packing.has_fill_value:
            self.dataset.get_create_plist().get_fill_value(fill := np.zeros((), dtype))
            array[...] = fill
        work = self.work(stored, itertools.product(*grid), array, packing)
        is_worth = array.nbytes >= _WORTH_SHARING and SZIP not in [code for code, *_ in filters]
        if is_worth:
            shared(work)
        else:
            for task in work:
                task()
        return array

    def work(
        self,
        stored: Mapping[tuple[int, ...], Any],
        corners: Iterable[tuple[int, ...]],
        array: Array,
        packing: Packing,
    ) -> Iterator[Callable[[], None]]:
        """For each stored chunk, what unpacks it and puts it into its place in the array."""
        sizes, filters = packing.chunk, packing.filters
        size = math.prod(sizes) * array.dtype.itemsize

        def put(corner: tuple[int, ...], content: Callable[[], bytes]) -> None:
            inside = tuple(slice(at, at + length) for at, length in zip(corner, sizes))
            target, part = array[inside], np.frombuffer(content(), array.dtype).reshape(sizes)
            target[...] = part[tuple(slice(length) for length in target.shape)]

        for corner in corners:
            content = self.chunk(stored.get(corner), filters, size)
            if content is not None:
                yield functools.partial(put, corner, content)

    def stored(self, count: int) -> dict[tuple[int, ...], Any]:
        """Where the stored chunks are; there must not be more than `count`."""
        places: list[Any] = []

        def see(place: Any) -> bool | None:
            places.append(place)
            return True if len(places) > count else None

        if count:
            self.dataset.chunk_iter(see)
        if len(places) > count:
            raise ValueError("a dataset has more chunks than its shape")
        self.store.packed += sum(place.size for place in places)
        if self.store.packed > MAX_REREAD * len(self.store.content):
            raise ValueError("its chunks share their bytes")
        return {place.chunk_offset: place for place in places}

    def chunk(self, place: Any, filters: Sequence[Any], size: int) -> Callable[[], bytes] | None:
        """What unpacks a chunk, which is read now; None if it was never stored."""
        if place is None:
            return None
        if place.size > len(self.store.content):
            raise ValueError("a chunk is longer than the file")
        # libhdf5 would allocate the chunk's own size, and read as much as the index says.
        if not filters and place.size != size:
            raise ValueError("a chunk is not as long as it should be")
        # This looks the chunk up again; a damaged index may give another one than the walk did.
        skipped, stored = self.dataset.read_direct_chunk(place.chunk_offset)
        if len(stored) != place.size:  # libhdf5 returns bytes even if it did not read them
            raise ValueError("a chunk is not as long as it should be")
        undone = [(code, values) for code, _, values, _ in filters]
        return functools.partial(
            unpacked,
            stored,
            undone,
            skipped,
            size,
            lambda part: from_szip(self.dataset, part, size),
        )

    def check_filters(self, codes: list[int], size: int) -> None:
        """Refuse filters that cannot be undone, or not within bounds."""
        strange = [code for code in codes if code not in (DEFLATE, SHUFFLE, FLETCHER32, LZF, SZIP)]
        packers = [code for code in codes if code in (DEFLATE, LZF, SZIP)]
        hint = "only gzip, szip, lzf, shuffle and fletcher32 are known"
        if strange:
            text = f"is packed with filter {strange[0]}"
        elif len(set(packers)) > 1 or packers.count(SZIP) > 1:
            text = "is packed several times"
        elif SZIP in packers and size > MAX_SZIP_CHUNK:
            text = f"is packed in chunks of {size:,} bytes"
            hint = f"with szip, {MAX_SZIP_CHUNK:,} are the most"
        else:
            return
        raise ReadError("NIR016", text, self.where, self.name, hint)

    def claim(self, count: int, size: int) -> None:
        self.store.claim(count * size, self.where, self.name)
