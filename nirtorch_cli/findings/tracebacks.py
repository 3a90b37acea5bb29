"""What an exception says, and whose code raised it.

In: an exception, whatever it is and whoever wrote its class. Out: text in one line, and the
place in code that is neither ours nor that of a library we stand on. Loads nothing; raises
nothing.
"""

from __future__ import annotations

import sys
import traceback
from types import FrameType

MOST_TEXT = 400
"""Characters of an exception's own text that a line has room for."""

_LIBRARIES = (
    *("nirtorch_cli", "torch", "nir", "numpy", "h5py", "networkx", "matplotlib"),
    *("typer", "click", "rich", "__main__"),
)


_NO_MEMORY = (
    *("allocate memory", "out of memory"),  # torch, on the CPU and on other devices
    *("calculation overflowed", "multiplication overflow"),  # torch, of more than can be counted
    *("array is too big", "Maximum allowed dimension"),  # NumPy, of the same
)
"""What errors say where there is not enough memory, or can be nowhere."""


def reason(error: BaseException) -> str:
    """The type and the text of an exception, in one line."""
    return f"{type(error).__name__}: {message(error)}"


def message(error: BaseException) -> str:
    """The text of an exception, in one line, even if that raises too."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # a user's __str__ may raise whatever it likes
        text = "(its text cannot be had)"
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}..."


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which ends a program whatever was running."""
    return type(error) is KeyboardInterrupt


def place_in_user_code(error: BaseException) -> str | None:
    """`file:line` of the last call that is in no library of ours; None if there is none."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_user_code(package_of(frame)):
            found = f"{frame.f_code.co_filename}:{line}"
    return found


def package_of(frame: FrameType) -> str:
    """The package whose code a frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def is_user_code(package: str) -> bool:
    """Whether a package is neither ours nor Python's nor that of a library we stand on."""
    return package not in _LIBRARIES and package not in sys.stdlib_module_names


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception says that there is not enough memory."""
    return isinstance(error, MemoryError) or any(words in message(error) for words in _NO_MEMORY)
