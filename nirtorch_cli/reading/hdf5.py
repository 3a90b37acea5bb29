"""Opens, walks and reads HDF5 files that may come from a stranger.

In: a path, bytes or a binary stream. Out: a `Store`, which lists groups and reads datasets
of numbers and text; everything else is refused with a ReadError. Only this package
calls h5py.

Always holds: no code is run, no link is followed and nothing outside the file is read; each group
is visited once, so that hard links cannot form a ring or multiply the work; what datasets and
objects claim is counted before it is allocated. Cost: linear in the bytes of the file and in what
it claims.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.chunks import chunked
from nirtorch_cli.reading.digests import digest_of, released
from nirtorch_cli.reading.heaps import Content, Heaps
from nirtorch_cli.reading.limits import (
    FIELD_BYTES,
    MAX_NAME,
    MAX_NAMES_BYTES,
    TEXT_BYTES,
    allowed_bytes,
)
from nirtorch_cli.reading.packing import Packing, packing_of
from nirtorch_cli.reading.sources import (
    Source,
    content_of,
    name_of,
    one_line,
    open_failure,
    shown,
    text_of,
)

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises where a file is damaged; UnicodeError is a ValueError."""

_READABLE = (
    h5py.h5t.TypeIntegerID,
    h5py.h5t.TypeFloatID,
    h5py.h5t.TypeEnumID,  # bool
    h5py.h5t.TypeStringID,
)
"""Numbers and text. libhdf5 has crashed on the others in damaged files."""

_USUAL_TYPES = tuple(
    (h5py.h5t.py_create(np.dtype(name)), np.dtype(name))
    for name in ("<f4", "<f8", "<i8", "<i4", "<u1", "<u8")
)
"""HDF5's common number types with NumPy's: comparing with these is faster than asking HDF5."""


@dataclass(frozen=True, slots=True)
class Member:
    """A hard link in a group; its target is opened when it is needed."""

    parent: Any
    link: bytes
    address: int

    def opened(self) -> Any:
        return h5py.h5o.open(self.parent, self.link)


_WORTH_MAPPING = 2**22
"""Bytes of contiguous data from which on they are mapped instead of read."""

_WORTH_SPOOLING = 2**25
"""Bytes of packed data from which on they are unpacked onto the disk, where that is asked for."""


@dataclass
class Store:
    """An open file; counts claimed and unpacked bytes, and knows the visited groups.

    path: where it is, if its data may be mapped. spools: whether large packed data are unpacked
    into temporary files instead of memory.
    """

    file: h5py.h5f.FileID
    content: Content
    max_bytes: int
    path: Any = None
    spools: bool = False
    claimed: int = 0
    packed: int = 0
    visited: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        creation = self.file.get_create_plist()
        offset_size, length_size = creation.get_sizes()
        self.heaps = Heaps(
            self.content,
            base=creation.get_userblock(),
            offset_size=offset_size,
            length_size=length_size,
            claim=lambda size: self.claim(size, None, None),
        )

    def sha256(self) -> str:
        """The digest of the file's bytes, in hexadecimal."""
        return digest_of(self.content)

    @property
    def root(self) -> Member:
        with _DamageReported(None, "/"):
            return Member(self.file, b"/", h5py.h5o.get_info(self.file).addr)

    def is_group(self, member: Member) -> bool:
        with _DamageReported(None, shown(text_of(member.link))):
            return isinstance(member.opened(), h5py.h5g.GroupID)

    def members(
        self,
        member: Member,
        where: str | None,
        name: str,
        each: int = FIELD_BYTES,
        kind: str = "fields",
    ) -> dict[str, Member]:
        """The members of a group by name, in the order of the names.

        Arguments:
            each: the bytes that every member claims.
            kind: the word for the members in messages.

        Raises:
            ReadError: it is not a group, was visited before, claims too much, or holds a soft or
            external link or a name that is too long.
        """
        with _DamageReported(where, name):
            group = member.opened()
            if not isinstance(group, h5py.h5g.GroupID):
                raise ReadError("NIR004", f"{quoted(name)} is not an HDF5 group", where)
            if member.address in self.visited:
                text = f"the group {quoted(name)} is in the file twice, or inside itself"
                hint = "hard links to groups are refused: they can form a ring"
                raise ReadError("NIR011", text, where, hint=hint)
            self.visited.add(member.address)
            count = group.get_num_objs()
            self.claim(count * each, where, None, f"{count:,} {kind}")
            # Opening one member may make libhdf5 load the names of all.
            names = h5py.h5o.get_info(group).meta_size.obj.heap_size
            if names > MAX_NAMES_BYTES:
                text = f"the names of its members take {names:,} bytes"
                raise ReadError("NIR017", text, where, name, f"{MAX_NAMES_BYTES:,} are the most")
            self.claim(names, where, name)
            return self.listed(group, count, where)

    def listed(self, group: h5py.h5g.GroupID, count: int, where: str | None) -> dict[str, Member]:
        """The links of a group; there must not be more than the group says."""
        links: list[tuple[bytes, int, int]] = []

        def see(link: bytes, info: Any) -> bool | None:
            links.append((link, info.type, info.u))
            return True if len(link) > MAX_NAME or len(links) > count else None

        # In native order libhdf5 yields link by link, without building a table of all first.
        order, by_name = h5py.h5.ITER_NATIVE, h5py.h5.INDEX_NAME
        group.links.iterate(see, idx_type=by_name, order=order, info=True)
        if len(links) > count:
            raise ValueError("a group holds more than it says")
        for link, kind, _ in links:
            if len(link) > MAX_NAME:
                text = f"a name of {len(link):,} bytes, {quoted(shown(text_of(link)))}"
                raise ReadError("NIR017", text, where, hint=f"{MAX_NAME:,} are the most")
            if kind != h5py.h5l.TYPE_HARD:
                text = f"{quoted(text_of(link))} is a soft or external link"
                hint = "links are refused: a file from a stranger could point anywhere"
                raise ReadError("NIR010", text, where, hint=hint)
        return {text_of(link): Member(group, link, at) for link, _, at in sorted(links)}

    def value(self, member: Member, where: str | None, name: str) -> Any:
        """A dataset's content: text as str, one number as a NumPy scalar, else an array.

        Arrays of text hold bytes; numbers are in the byte order of this machine. An empty dataset
        gives None.

        Raises:
            ReadError: it is not a dataset, lies outside the file, claims more than the limit, or
            holds neither numbers nor text.
        """
        with _DamageReported(where, name):
            try:
                dataset = h5py.h5d.open(member.parent, member.link)
            except _DAMAGE:
                if isinstance(member.opened(), h5py.h5d.DatasetID):
                    raise
                raise ReadError("NIR004", "is not a dataset", where, name) from None
            return _Reading(self, dataset, where, name).content()

    def mapped(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """Data where they lie in the file, loaded when they are used; None where they are read.

        They can be changed, which does not change the file. (Windows would not let go of it.)
        """
        size = math.prod(shape) * dtype.itemsize
        if self.path is None or os.name != "posix" or size < _WORTH_MAPPING:
            return None
        if offset % dtype.itemsize or not dtype.isnative or dtype.kind not in "fiu":
            return None
        return np.asarray(np.memmap(self.path, dtype, "c", offset, shape))

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Room for an array: in memory, or in a file that is gone when the array is."""
        size = math.prod(shape) * dtype.itemsize
        if not self.spools or size < _WORTH_SPOOLING or dtype.hasobject:
            return np.zeros(shape, dtype)
        try:
            with tempfile.TemporaryFile() as file:
                if hasattr(os, "posix_fallocate"):  # else a full disk would end the process later
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
        except OSError:  # there is no room on the disk
            return np.zeros(shape, dtype)

    def claim(
        self, size: int, where: str | None, name: str | None, what: str | None = None
    ) -> None:
        """Count what is about to be allocated.

        Raises:
            ReadError: together with all earlier claims it is more than the limit.
        """
        self.claimed += size
        if self.claimed > self.max_bytes:
            with_this = "" if what is None else f", with {what}"
            text = f"the file's data claim more than {self.max_bytes:,} bytes{with_this}"
            hint = "if you trust the file, raise the limit (--max-bytes)"
            raise ReadError("NIR014", text, where, name, hint)


@dataclass(slots=True)
class _Reading:
    """Reads one dataset: first its type, then what it claims, then its data."""

    store: Store
    dataset: h5py.h5d.DatasetID
    where: str | None
    name: str

    def content(self) -> Any:
        kind = self.dataset.get_type()
        if not isinstance(kind, _READABLE):
            raise ReadError("NIR016", "holds neither numbers nor text", self.where, self.name)
        # Contiguous data in this file have an offset. Data in chunks, in another file, or not
        # stored at all, have none; the creation property list says which it is.
        offset = self.dataset.get_offset()
        packing = None if offset is not None else packing_of(self.dataset)
        if packing == "elsewhere":
            text, hint = "keeps its data in another file", "virtual datasets and external "
            raise ReadError("NIR010", text, self.where, self.name, hint + "storage are refused")
        shape = self.dataset.shape
        if shape is None:
            return None
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
            return self.texts(shape, offset, packing)
        return self.numbers(kind, shape, offset, packing)

    def numbers(
        self,
        kind: h5py.h5t.TypeID,
        shape: tuple[int, ...],
        offset: int | None,
        packing: Packing | None,
    ) -> Any:
        """Numbers, or text of a fixed length; `packing` is given for a chunked dataset."""
        known, dtype, is_usual = _memory_type(kind)
        self.claim(math.prod(shape), dtype.itemsize)
        array = None
        if packing is not None:
            array = self.chunks(shape, dtype, packing)
        elif offset is not None and is_usual:
            array = self.store.mapped(offset, shape, dtype)
        if array is None or not is_usual:
            array = np.zeros(shape, dtype)  # stays as it is if the file stores nothing
            if array.size:
                self.dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array, known)
        if dtype.kind == "S" and shape == ():
            return text_of(array.item())
        if not dtype.isnative:
            array = array.astype(dtype.newbyteorder("="))
        return array if shape else array[()]

    def texts(self, shape: tuple[int, ...], offset: int | None, packing: Packing | None) -> Any:
        """Text of variable length; its size is counted first, because elements can share a text."""
        heaps, count = self.store.heaps, math.prod(shape)
        width = heaps.reference.itemsize
        self.store.claim(count * (width + TEXT_BYTES), self.where, self.name, f"{count:,} texts")
        references: Any = None
        if offset is not None:
            references = self.store.content[offset : offset + count * width]
        elif packing is not None:
            stored = self.chunks(shape, np.dtype(f"V{width}"), packing)
            references = None if stored is None else stored.tobytes()
        if references is None:  # stored in the dataset's header, or not stored
            self.claim(count, heaps.longest)
            read = h5py.Dataset(self.dataset)[()]
            return text_of(read) if shape == () else read
        if len(references) != count * width:
            raise ValueError("a dataset ends outside the file")
        if shape == ():
            self.claim(int.from_bytes(references[:4], "little"), 1)
            return text_of(heaps.text(references))
        lengths = np.frombuffer(references, heaps.reference)["length"]
        self.claim(int(lengths.sum(dtype=np.uint64)), 1)
        array = np.empty(count, dtype=object)
        for place in range(count):
            array[place] = heaps.text(references[place * width : (place + 1) * width])
        return array.reshape(shape)

    def chunks(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], packing: Packing
    ) -> Array | None:
        """The content of a chunked dataset; None if no chunk was stored."""
        where, name = self.where, self.name
        return chunked(self.dataset, shape, dtype, packing, self.store, where, name)

    def claim(self, count: int, size: int) -> None:
        self.store.claim(count * size, self.where, self.name)


def _memory_type(kind: h5py.h5t.TypeID) -> tuple[h5py.h5t.TypeID, np.dtype[Any], bool]:
    """The type in memory for a file's type of numbers or text, and whether the two are equal."""
    for known, dtype in _USUAL_TYPES:
        if kind.equal(known):
            return known, dtype, True
    dtype = kind.dtype
    known = h5py.h5t.py_create(dtype)
    return known, dtype, dtype.kind in "fiu" and kind.equal(known)


@contextlib.contextmanager
def opened(
    source: Source, max_bytes: int | None, *, maps: bool = False, spools: bool = False
) -> Iterator[Store]:
    """Open a file for reading.

    Arguments:
        maps: whether large data may stay in the file, which must then not be changed in place.
        spools: whether large packed data are unpacked onto the disk.

    Raises:
        ReadError: it does not exist, cannot be read, is not an HDF5 file, or its heaps would trap
        libhdf5 in a loop.
    """
    with contextlib.ExitStack() as stack:
        content: Content = b""
        try:
            content = content_of(source, max_bytes, stack)
            limit = allowed_bytes(max_bytes, len(content))
            path = source if maps and isinstance(content, mmap.mmap) else None
            store = Store(_opened(source, content, stack), content, limit, path, spools)
            store.heaps.check()
            released(content)
        except _DAMAGE as error:
            raise ReadError(open_failure(error, name_of(source), content)) from error
        yield store


def _opened(source: Source, content: Content, stack: contextlib.ExitStack) -> h5py.h5f.FileID:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_cache(0, 1, 0, 0.0)  # each chunk is read once, so a cache of chunks would only cost
    # Metadata is read once too; its cache grows only for large objects.
    objects = access.get_mdc_config()
    objects.initial_size = objects.min_size = 2**20
    objects.incr_mode = 0
    access.set_mdc_config(objects)
    if isinstance(content, mmap.mmap):
        name = os.fsencode(source)  # type: ignore[arg-type]
    else:
        access.set_fapl_core(backing_store=False)
        access.set_file_image(content)
        # libhdf5 takes two images of one name for one file while the first is open.
        name = uuid.uuid4().hex.encode()
    file = h5py.h5f.open(name, h5py.h5f.ACC_RDONLY, fapl=access)
    stack.callback(_close, file)
    return file


def _close(file: h5py.h5f.FileID) -> None:
    with contextlib.suppress(*_DAMAGE):
        file.close()


class _DamageReported:
    """Turns the errors that h5py raises for damage into a ReadError."""

    __slots__ = ("name", "where")

    def __init__(self, where: str | None, name: str) -> None:
        self.where, self.name = where, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, _DAMAGE):
            text = f"damaged HDF5 file: {one_line(error)}"
            hint = "copy or write it again"
            raise ReadError("NIR002", text, self.where, self.name, hint) from error
        if isinstance(error, MemoryError):
            text = "there is not enough memory for its data"
            raise ReadError("NIR014", text, self.where, self.name) from error
