"""Writes files so that a crash leaves the old file or the new one, never half of one.

In: a target path. Out: a stream of a temporary file beside the target, which replaces the target if
all went well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nirtorch_cli.findings.errors import OutputError

PathLike = str | os.PathLike[str]


@contextlib.contextmanager
def atomic_write(target: PathLike, *, clobber: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `target` when the block ends without an error.

    Raises:
        OutputError: it cannot be written, or exists and `clobber` is False.
    """
    path = Path(os.path.realpath(target))  # a link is kept; its target is replaced
    try:
        _require_target(target, clobber, None)
        if path.exists() and not path.is_file():
            with path.open("wb") as device:  # a pipe or /dev/null cannot be replaced
                yield device
        else:
            with _replacement(path) as file:
                yield file
    except OSError as error:
        raise _output_error(target, f"cannot be written: {error.strerror or error}") from error


def write_to(target: PathLike | BinaryIO, content: bytes, *, clobber: bool = True) -> None:
    """Write a whole file; or to a binary stream, which is just written to.

    Raises:
        OutputError: see `atomic_write`.
    """
    if isinstance(target, (str, os.PathLike)):
        with atomic_write(target, clobber=clobber) as file:
            file.write(content)
    else:
        target.write(content)


def require_writable(
    target: PathLike, *, clobber: bool = True, source: PathLike | None = None
) -> None:
    """Check a target before any work is done for it.

    Raises:
        OutputError: it is the source or a folder, its folder does not exist, it exists and
        `clobber` is False, or nothing can be written beside it.
    """
    path = Path(os.path.realpath(target))
    try:
        _require_target(target, clobber, source)
        if path.exists() and not path.is_file():
            return
        beside = _beside(path)
        beside.open("xb").close()  # only writing shows whether it can be written
        beside.unlink()
    except OSError as error:
        raise _output_error(target, f"cannot be written: {error.strerror or error}") from error


def _require_target(target: PathLike, clobber: bool, source: PathLike | None) -> None:
    both_exist = source is not None and os.path.exists(source) and os.path.exists(target)
    if both_exist and os.path.samefile(str(source), target):
        raise _output_error(target, "the output is the input, which is never replaced", "NIR703")
    if not os.fspath(target):
        raise _output_error(target, "cannot be written: the name is empty")
    if not clobber and os.path.lexists(target):
        hint = "leave out --no-clobber to replace it, or name another"
        raise _output_error(target, "exists already", "NIR702", hint)
    if os.path.isdir(target):
        raise _output_error(target, "cannot be written: it is a folder")
    if not Path(os.path.realpath(target)).parent.is_dir():
        raise _output_error(target, "cannot be written: there is no such folder")


@contextlib.contextmanager
def _replacement(path: Path) -> Iterator[BinaryIO]:
    beside = _beside(path)
    try:
        with beside.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    """A new file's path, not named after the target, whose name may be as long as possible."""
    return path.with_name(f".nirtorch-{os.urandom(8).hex()}.tmp")


def _output_error(
    target: PathLike, message: str, code: str = "NIR701", hint: str | None = None
) -> OutputError:
    return OutputError(code, message, hint=hint, file=os.fspath(target))
