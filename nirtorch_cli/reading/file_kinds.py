"""What kind of file was given in place of a .nir file.

In: the bytes of a file; only the first and the last are examined. Out: what it is and what to do,
in words, or None. Always holds: bytes are compared; nothing is unpacked, unpickled or run.
"""

from __future__ import annotations

import mmap
import os

Content = bytes | mmap.mmap

_LOOKED_AT = 2**16
"""How many bytes at the start and at the end are examined."""

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_PICKLE = b"/data.pkl"
"""The entry of a zip file that torch.save writes first."""

_OF_CONVERT = b"nirtorch_cli"
"""The package of the functions that the pickle of a converted module calls."""

_FED = "it can be fed to a model with 'nirtorch run --input'"

_FIRST_BYTES = (
    (HDF5_SIGNATURE, "is an HDF5 file", None),
    (b"version https://git-lfs.github.com/", "is a pointer of Git LFS", "git lfs pull"),
    (b"\x93NUMPY", "is a NumPy array (.npy)", _FED),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "was written by torch.save", None),
    (b"\x1f\x8b", "is packed with gzip", "unpack it (gunzip)"),
    (b"\xfd7zXZ\x00", "is packed with xz", "unpack it (unxz)"),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd", "unpack it (unzstd)"),
    (b"\x89PNG", "is a PNG picture", None),
    (b"%PDF", "is a PDF file", None),
)

_FIRST_WORDS = (
    ("<!doctype html", "is a page of HTML", "was a page saved in place of the file?"),
    ("<html", "is a page of HTML", "was a page saved in place of the file?"),
    ("<svg", "is an SVG picture", None),
)
"""The same for text files, after spaces and in lower case."""


def kind_of_other(content: Content, name: str) -> tuple[str, str | None] | None:
    """What a file is in place of a .nir file, and what to do; None if that is not known.

    Arguments:
        name: the file's name in messages.
    """
    start = bytes(content[:_LOOKED_AT])
    if start.startswith(_ZIP):
        return _kind_of_zip(content, name)
    for first, text, hint in _FIRST_BYTES:
        if start.startswith(first):
            return text, hint
    if _is_weights(start):
        hint = "load them into a module of the network: nirtorch_cli.load_weights"
        return "holds the weights of a module alone (.safetensors)", hint
    words = start[:512].lstrip(b"\xef\xbb\xbf \t\r\n").decode("latin1").lower()
    for word, text, hint in _FIRST_WORDS:
        if words.startswith(word):
            return text, hint
    return None


def is_saved(content: Content) -> bool:
    """Whether torch.save, in its present format, wrote a file."""
    ends = content[:_LOOKED_AT], content[-_LOOKED_AT:]
    return ends[0].startswith(_ZIP) and any(_PICKLE in part for part in ends)


def is_saved_file(path: str) -> bool:
    """The same of a file by its path; False if it cannot be read."""
    return is_saved(_ends_of(path))


def is_zip_file(path: str) -> bool:
    """Whether a file begins as a zip archive; False if it cannot be read."""
    return _ends_of(path).startswith(_ZIP)


def is_weights_file(path: str) -> bool:
    """Whether a file begins as a .safetensors file; False if it cannot be read."""
    return _is_weights(_ends_of(path))


def _is_weights(start: bytes) -> bool:
    return start[8:10] == b'{"' and start[:8].endswith(b"\0\0\0")  # the length of a JSON header


def kind_of_file(path: str) -> tuple[str, str | None] | None:
    """`kind_of_other` of a file by its path; None if it cannot be read."""
    return kind_of_other(_ends_of(path), path)


def _ends_of(path: str) -> bytes:
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
            file.seek(max(0, os.path.getsize(path) - _LOOKED_AT))
            return start + file.read(_LOOKED_AT)
    except (OSError, ValueError):
        return b""


def _kind_of_zip(content: Content, name: str) -> tuple[str, str | None]:
    start = content[:_LOOKED_AT]
    if is_saved(content):
        if _OF_CONVERT in start:
            text = "is a module that 'nirtorch convert -o' saved"
            return text, f"run it with 'nirtorch run {name} --trust', or give the .nir file"
        return "was written by torch.save", "give the .nir file"
    if b".npy" in start[:512]:
        return "is an archive of NumPy arrays (.npz)", _FED
    return "is a zip archive", "unpack it (unzip)"
