"""NumPy's own files, .npy and .npz, without pickle.

In: bytes. Out: an array that shares them, or the arrays of an archive by name; and back. Always
holds: what a header or an archive's directory claims is counted before it is allocated; nothing is
unpickled; bytes that do not belong to an array are reported, so that of two joined files none is
lost. Cost: linear in the bytes.
"""

from __future__ import annotations

import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any, BinaryIO

import numpy as np

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import counted, listed, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.sources import FilePart
from nirtorch_cli.running.signals.signal import Signal

NPY_SIGNATURE = b"\x93NUMPY"
NPZ_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")

DT = "dt"
"""The name of the array that holds the length of a recording's steps."""

_NUMBER_BYTES = 2**10
"""The most bytes of a file that holds a single number."""

_HEADER_BYTES = 2**17
"""The most bytes that the header of an array is looked for in; NumPy writes no more than 2**16."""

_END_BYTES = 22
"""The length of the end record of an archive, which begins with the second signature."""

_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OSError,
    SyntaxError,
    OverflowError,
    RecursionError,
    RuntimeError,  # a password is needed; includes NotImplementedError
    MemoryError,  # from Python's parser, which reads the header
    struct.error,
    tokenize.TokenError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""The errors that numpy and zipfile raise for damaged files."""


def array_of(content: bytes | memoryview, source: FilePart, max_bytes: int | None) -> Array:
    """The array of a .npy file, which is read-only and shares its bytes.

    Raises:
        ReadError: it is damaged, too large, holds Python objects, or more than one array.
    """
    stream = io.BytesIO(bytes(content[:_HEADER_BYTES]))
    try:
        version = np.lib.format.read_magic(stream)
        read_header: Any = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape: tuple[int, ...]
        shape, is_fortran, dtype = read_header(stream)
        count = math.prod(shape)
        if any(length < 0 for length in shape):
            raise ValueError("an axis of negative length")
        if dtype.hasobject:
            raise source.problem(
                "holds Python objects", "they are never unpickled here: save an array of numbers"
            )
        source.claim(count * dtype.itemsize, max_bytes, len(content))
        flat = np.frombuffer(content, dtype, count, stream.tell())
        _require_end(content, stream.tell() + flat.nbytes, source)
        return flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
    except _DAMAGE as error:
        text = "is a damaged .npy file, or one that was not written to its end"
        raise source.problem(text, "save it again with numpy.save") from error


def arrays_of(
    content: bytes, source: FilePart, max_bytes: int | None, name: str | None = None
) -> dict[str, Array]:
    """The arrays of a .npz file by name: all, or only one.

    Raises:
        ReadError: it is damaged, too large, lacks the array, or holds something else than arrays.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, content, source)
            if name is not None and name not in members:
                hint = did_you_mean(name, members) or _held(members)
                raise source.problem(f"has no array {quoted(name)}", hint)
            wanted = members if name is None else {name: members[name]}
            claimed = sum(info.file_size for info in wanted.values())
            source.claim(claimed, max_bytes, len(content))
            unpacked = {key: archive.read(info) for key, info in wanted.items()}
    except _DAMAGE as error:
        raise _damaged_archive(source) from error
    return {
        key: array_of(part, FilePart(source.file, key), max_bytes) for key, part in unpacked.items()
    }


def _require_end(content: bytes | memoryview, end: int, source: FilePart) -> None:
    """Refuse bytes after an array."""
    if end != len(content):
        is_array = bytes(content[end : end + len(NPY_SIGNATURE)]) == NPY_SIGNATURE
        found = "a second array" if is_array else counted(len(content) - end, "byte")
        raise source.problem(f"has {found} after its array", "save each array in a file of its own")


def _members(
    archive: zipfile.ZipFile, content: bytes, source: FilePart
) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an archive by name; none appears twice, and the archive is the whole file."""
    infos = archive.infolist()
    begin = min((info.header_offset for info in infos), default=archive.start_dir)
    end = content.rfind(NPZ_SIGNATURES[1]) + _END_BYTES + len(archive.comment)
    if begin or end != len(content):
        text = "has bytes before or after its archive; were two files joined?"
        raise source.problem(text, "save all arrays at once with numpy.savez")
    for name, count in Counter(_array_name(info.filename) for info in infos).items():
        if count > 1:
            raise source.problem(f"has {count} arrays {quoted(name)}", "give each its own name")
    return {_array_name(info.filename): info for info in infos}


def only_array_of(content: bytes, source: FilePart, max_bytes: int | None) -> Array:
    """The array of a .npz file that `source` names, or its only one apart from the number `dt`.

    Raises:
        ReadError: see `arrays_of`; or there are several arrays, and none is named.
    """
    part = source.part
    if part is None:
        has_step = step_of(content, source, max_bytes) is not None
        names = [name for name in _infos(content, source) if not (has_step and name == DT)]
        if len(names) != 1:
            text = f"holds {len(names)} arrays" if names else "holds no array"
            first = "".join(quoted(f"{source.file}:{name}") for name in names[:1])
            raise source.problem(text, f"name one, {first}: {_held(names)}" if names else None)
        (part,) = names
    return arrays_of(content, source, max_bytes, part)[part]


def names_of(content: bytes, source: FilePart) -> list[str]:
    """The names of the arrays in a .npz file.

    Raises:
        ReadError: see `arrays_of`.
    """
    return list(_infos(content, source))


def arrays_of_names(
    content: bytes, source: FilePart, max_bytes: int | None, names: Sequence[str]
) -> dict[str, Array]:
    """Some arrays of a .npz file, which are counted together before any is unpacked.

    Raises:
        ReadError: see `arrays_of`.
    """
    infos = _infos(content, source)
    claimed = sum(infos[name].file_size for name in names)
    source.claim(claimed, max_bytes, len(content))
    return {name: arrays_of(content, source, max_bytes, name)[name] for name in names}


def step_of(content: bytes, source: FilePart, max_bytes: int | None) -> float | None:
    """The length of a step in a .npz file: a positive number in its array `dt`.

    Raises:
        ReadError: see `arrays_of`.
    """
    info = _infos(content, source).get(DT)
    if info is None or info.file_size > _NUMBER_BYTES:
        return None
    array = arrays_of(content, source, max_bytes, DT)[DT]
    if array.size != 1 or array.dtype.kind not in "fiu":
        return None
    number = float(array.item())
    return number if 0 < number < math.inf else None


def _infos(content: bytes, source: FilePart) -> dict[str, zipfile.ZipInfo]:
    """The directory entries of an archive's arrays, by name."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _members(archive, content, source)
    except _DAMAGE as error:
        raise _damaged_archive(source) from error


def archive_of(arrays: Mapping[str, Array]) -> bytes:
    """A .npz file with these arrays, for numpy.load; the same arrays give the same bytes."""
    stream = io.BytesIO()
    write_archive(stream, arrays)
    return stream.getvalue()


def write_archive(stream: BinaryIO, arrays: Mapping[str, Array | Signal]) -> None:
    """Write a .npz file to a stream that can go back; of a signal, one part after the other."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            member_name = f"{name}.npy".encode("utf8", "backslashreplace").decode()
            info = zipfile.ZipInfo(member_name)  # always dated 1980
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                if isinstance(array, Signal):
                    _write_signal(member, array)
                else:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _write_signal(stream: IO[bytes], signal: Signal) -> None:
    """Write a .npy file, with the bytes that NumPy writes."""
    descr = np.lib.format.dtype_to_descr(signal.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": signal.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for part in signal.parts():
        stream.write(part.tobytes())


def _damaged_archive(source: FilePart) -> ReadError:
    text = "is a damaged .npz file, or one that was not written to its end"
    return source.problem(text, "save it again with numpy.savez")


def _array_name(member: str) -> str:
    return member.removesuffix(".npy")


def _held(names: Any) -> str:
    return f"it holds {listed(sorted(names))}" if names else "it holds none"
