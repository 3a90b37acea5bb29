"""The text of an exception, and whose code raised it.

In: an exception of any class, a user's too. Out: text in one line, and the file and line in code
that is neither ours nor a library's that we use. Loads nothing; raises nothing.
"""

from __future__ import annotations

import sys
import traceback
from types import FrameType

MOST_TEXT = 400
"""How many characters of an exception's own text are shown."""

_LIBRARIES = (
    *("nirtorch_cli", "torch", "nir", "numpy", "h5py", "networkx", "matplotlib"),
    *("typer", "click", "rich", "__main__"),
)


_NO_MEMORY = (
    *("allocate memory", "out of memory"),  # torch, on the CPU and on other devices
    *("calculation overflowed", "multiplication overflow"),  # torch, of more than can be counted
    *("array is too big", "Maximum allowed dimension"),  # NumPy, of the same
)
"""What errors say if there is not enough memory, or no machine could have enough."""


def reason(error: BaseException) -> str:
    """The type and the text of an exception, in one line."""
    return f"{type(error).__name__}: {message(error)}"


def message(error: BaseException) -> str:
    """The text of an exception, in one line, even if that raises too."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # a user's __str__ may raise whatever it likes
        text = "(its text cannot be read)"
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}..."


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which ends the program whatever is running."""
    return type(error) is KeyboardInterrupt


def place_in_user_code(error: BaseException) -> str | None:
    """`file:line` of the last call in a user's code; None if there is none."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_user_code(package_of(frame)):
            found = f"{frame.f_code.co_filename}:{line}"
    return found


def package_of(frame: FrameType) -> str:
    """The package whose code a frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def is_user_code(package: str) -> bool:
    """Whether a package is neither ours, nor Python's, nor a library's that we use."""
    return package not in _LIBRARIES and package not in sys.stdlib_module_names


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception says that there is not enough memory."""
    return isinstance(error, MemoryError) or any(words in message(error) for words in _NO_MEMORY)
