"""HDF5 files that may come from a stranger: opened, walked and read. The only caller of h5py.

In: a path, bytes or a binary stream. Out: a `Store`, which lists groups and reads datasets
of numbers and text; everything else is refused with a ReadError.

Always holds: no code is run, no link is followed and nothing outside the file is read; each
group is visited once, so that hard links make neither a ring nor an explosion; what datasets
claim is counted before it is allocated. Cost: linear in the bytes of the file.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import h5py
import numpy as np

from nirtorch_cli.errors import ReadError
from nirtorch_cli.findings import Finding, quoted

Source = str | os.PathLike[str] | bytes | BinaryIO

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises where a file is damaged; UnicodeError is a ValueError."""

_READABLE = (
    h5py.h5t.TypeIntegerID,
    h5py.h5t.TypeFloatID,
    h5py.h5t.TypeEnumID,  # bool
    h5py.h5t.TypeStringID,
)
"""Numbers and text. libhdf5 has crashed on the others in damaged files."""


def name_of(source: Source) -> str:
    """How messages name a source."""
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "<stream>"))


@dataclass(frozen=True)
class Member:
    """A hard link in a group: what it leads to is opened when it is asked for."""

    parent: Any
    link: bytes

    def opened(self) -> Any:
        return h5py.h5o.open(self.parent, self.link)


@dataclass
class Store:
    """An open file; counts what its datasets have claimed and which groups were visited."""

    file: h5py.h5f.FileID
    max_bytes: int
    claimed: int = 0
    visited: set[tuple[int, int]] = field(default_factory=set)

    @property
    def root(self) -> Member:
        return Member(self.file, b"/")

    def is_group(self, member: Member) -> bool:
        with _damage_reported(None, text_of(member.link)):
            return isinstance(member.opened(), h5py.h5g.GroupID)

    def members(self, member: Member, where: str | None, name: str) -> dict[str, Member]:
        """What a group holds, by name.

        Raises:
            ReadError: it is no group, was visited before, or holds a soft or external link.
        """
        with _damage_reported(where, name):
            group = member.opened()
            if not isinstance(group, h5py.h5g.GroupID):
                raise _problem("NIR004", f"{quoted(name)} is not an HDF5 group", where)
            identity = h5py.h5o.get_info(group)
            here = (identity.fileno, identity.addr)
            if here in self.visited:
                text = f"the group {quoted(name)} is in the file twice, or inside itself"
                hint = "hard links to groups are refused: they can form a ring"
                raise _problem("NIR011", text, where, hint=hint)
            self.visited.add(here)
            for link in group:
                if group.links.get_info(link).type != h5py.h5l.TYPE_HARD:
                    text = f"{quoted(text_of(link))} is a soft or external link"
                    hint = "links are refused: a file from a stranger could point anywhere"
                    raise _problem("NIR010", text, where, hint=hint)
            return {text_of(link): Member(group, link) for link in group}

    def value(self, member: Member, where: str | None, name: str) -> Any:
        """A dataset's content: text as str, one number as a NumPy scalar, else an array.

        Arrays of text hold bytes; numbers are in the byte order of this machine.

        Raises:
            ReadError: it is no dataset, lies outside the file, claims more than the limit,
                or holds neither numbers nor text.
        """
        with _damage_reported(where, name):
            dataset = member.opened()
            self.allow(dataset, where, name)
            if h5py.check_string_dtype(dataset.dtype) is not None:
                content = self.texts(dataset, where, name)
            else:
                content = h5py.Dataset(dataset)[()]
        if isinstance(content, (bytes, str)):
            return text_of(content)
        if isinstance(content, np.ndarray) and not content.dtype.isnative:
            return content.astype(content.dtype.newbyteorder("="))
        return content

    def allow(self, dataset: Any, where: str | None, name: str) -> None:
        """Refuse, unread, what lies outside the file, is of no use or claims too much."""
        if not isinstance(dataset, h5py.h5d.DatasetID):
            raise _problem("NIR004", "is not a dataset", where, name)
        creation = dataset.get_create_plist()
        layout = creation.get_layout()
        if layout == h5py.h5d.VIRTUAL or creation.get_external_count():
            hint = "virtual datasets and external storage are refused"
            raise _problem("NIR010", "keeps its data in another file", where, name, hint)
        if not isinstance(dataset.get_type(), _READABLE):
            raise _problem("NIR016", "holds neither numbers nor text", where, name)
        if dataset.shape is None:
            raise _problem("NIR016", "holds no value", where, name)
        # A chunk is unpacked as a whole, however little of it the dataset uses.
        chunk = creation.get_chunk() if layout == h5py.h5d.CHUNKED else ()
        count = max(math.prod(dataset.shape), math.prod(chunk))
        self.claim(count * dataset.dtype.itemsize, where, name)

    def claim(self, size: int, where: str | None, name: str | None) -> None:
        """Count what is about to be allocated.

        Raises:
            ReadError: it is more than the limit, with all that was claimed before.
        """
        self.claimed += size
        if self.claimed > self.max_bytes:
            text = f"the file's data claim more than {self.max_bytes:,} bytes"
            hint = "if you trust the file, raise the limit (--max-bytes)"
            raise _problem("NIR014", text, where, name, hint)

    def texts(self, dataset: h5py.h5d.DatasetID, where: str | None, name: str) -> Any:
        """Text of any length, counted while it is read: many elements can share one text."""
        reading = h5py.Dataset(dataset)
        if not dataset.shape:
            content = reading[()]
            self.claim(len(content), where, name)
            return content
        content = np.empty(dataset.shape, dtype=object)
        most = max(1, (self.max_bytes - self.claimed) // self.file.get_filesize())
        for block in _blocks(dataset.shape, most):
            part = reading[block]
            self.claim(sum(map(len, np.asarray(part, dtype=object).flat)), where, name)
            content[block] = part
        return content


@contextlib.contextmanager
def opened(source: Source, max_bytes: int) -> Iterator[Store]:
    """Open a file for reading.

    Raises:
        ReadError: it is not there, cannot be read, or is no HDF5 file.
    """
    try:
        file = _opened(source)
    except _DAMAGE as error:
        raise ReadError(_open_failure(source, error)) from error
    try:
        yield Store(file, max_bytes)
    finally:
        with contextlib.suppress(*_DAMAGE):
            file.close()


def _opened(source: Source) -> h5py.h5f.FileID:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    if isinstance(source, (str, os.PathLike)):
        # Python's open says more clearly than libhdf5 why a file cannot be read.
        with open(source, "rb") as stream:
            if not stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
                file = h5py.h5f.open(os.fsencode(source), h5py.h5f.ACC_RDONLY, fapl=access)
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    return _with_sound_heaps(file, content)
            image = stream.read()  # a shell's <(command)
    else:
        image = source if isinstance(source, bytes) else source.read()
    if not image:
        raise OSError(_EMPTY)
    access.set_fapl_core(backing_store=False)
    access.set_file_image(image)
    # To libhdf5 two images of one name are one file, as long as the first is open.
    name = uuid.uuid4().hex.encode()
    return _with_sound_heaps(h5py.h5f.open(name, h5py.h5f.ACC_RDONLY, fapl=access), image)


def _open_failure(source: Source, error: Exception) -> Finding:
    """Say why a file did not open, in words of the file and not of libhdf5."""
    is_path, text = isinstance(source, (str, os.PathLike)), _one_line(error)
    if isinstance(error, IsADirectoryError):
        message, hint = "is a directory", "name a .nir file"
    elif isinstance(error, FileNotFoundError):
        message, hint = "no such file", None
    elif isinstance(error, PermissionError):
        message, hint = "permission denied", None
    elif text == _EMPTY or (is_path and os.path.getsize(source) == 0):  # type: ignore[arg-type]
        message, hint = "is empty", "a .nir file is an HDF5 file; was it written completely?"
    elif "signature not found" in text:
        message, hint = "is not an HDF5 file", "a .nir file is an HDF5 file written by nir.write"
    elif "truncated" in text:
        message, hint = "is a truncated HDF5 file", "copy or write it again"
    elif isinstance(error, OSError) and error.strerror and not text.startswith("Unable to"):
        message, hint = f"cannot be read: {error.strerror}", None
    else:
        message, hint = f"is a damaged HDF5 file: {text}", "copy or write it again"
    return Finding("NIR001", "error", message, hint=hint)


_EMPTY = "it is empty"
_HEAP = b"GCOL\x01"
"""How a global heap starts: a collection of texts that datasets refer to."""


def _with_sound_heaps(file: h5py.h5f.FileID, content: bytes | mmap.mmap) -> h5py.h5f.FileID:
    """The file itself, unless libhdf5 would walk in circles in its global heaps.

    libhdf5 (2.0 and before) goes from object to object by their sizes and looks for the end
    of the heap only: an object of size 0 keeps it busy forever, and Ctrl-C does not stop it.
    """
    try:
        _, length = file.get_create_plist().get_sizes()
        budget = len(content)  # bounds the work for heaps that lie inside one another
        at = content.find(_HEAP)
        while at >= 0:
            size = int.from_bytes(content[at + 8 : at + 8 + length], "little")
            # Anything smaller or longer is no heap; if it were taken for one, libhdf5 says so.
            if 4096 <= size <= len(content) - at:
                budget -= _walk_heap(content, at, size, length)
                if budget < 0:
                    raise ValueError("too many heaps of text")
            at = content.find(_HEAP, at + 1)
    except BaseException:
        file.close()
        raise
    return file


def _walk_heap(content: bytes | mmap.mmap, at: int, size: int, length: int) -> int:
    """How many objects a global heap has. Raises a ValueError if one leads astray."""
    header = _aligned(8 + length)
    position, end, count = at + header, at + size, 0
    while position + header <= end:
        index = int.from_bytes(content[position : position + 2], "little")
        space = int.from_bytes(content[position + 8 : position + 8 + length], "little")
        # Object 0 is the free space; its size includes its header.
        step = space if index == 0 else header + _aligned(space)
        if not 0 < step <= end - position:
            raise ValueError("a heap of text is broken")
        position += step
        count += 1
    return count


def _aligned(size: int) -> int:
    return (size + 7) // 8 * 8


def _blocks(shape: tuple[int, ...], most: int) -> Iterator[tuple[int | slice, ...]]:
    """Selections that cover an array, of at most `most` elements each."""
    row = math.prod(shape[1:])
    if row <= most:
        rows = most // max(row, 1)
        for start in range(0, shape[0], rows):
            yield (slice(start, start + rows),)
    else:
        for place in range(shape[0]):
            for inner in _blocks(shape[1:], most):
                yield (place, *inner)


@contextlib.contextmanager
def _damage_reported(where: str | None, name: str) -> Iterator[None]:
    """Turn what h5py raises on damage into a ReadError."""
    try:
        yield
    except _DAMAGE as error:
        text = f"damaged HDF5 file: {_one_line(error)}"
        finding = Finding("NIR002", "error", text, where, name, "copy or write it again")
        raise ReadError(finding) from error
    except MemoryError as error:
        text = "there is not enough memory for its data"
        raise ReadError(Finding("NIR014", "error", text, where, name)) from error


def _problem(
    code: str,
    message: str,
    where: str | None,
    name: str | None = None,
    hint: str | None = None,
) -> ReadError:
    return ReadError(Finding(code, "error", message, where, name, hint))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def text_of(value: Any) -> str:
    """Bytes or str as str; bytes that are no UTF-8 become lone surrogates, one each."""
    return value.decode("utf8", "surrogateescape") if isinstance(value, bytes) else str(value)
