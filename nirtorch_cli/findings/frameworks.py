"""Whether an exception was raised because a library is missing, and the error to report then.

In: an exception. Out: the error for the user, if a library that this program needs is not installed
or cannot be imported. Loads nothing, so that it works when a library is missing.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

from nirtorch_cli.findings.errors import MissingFrameworkError
from nirtorch_cli.findings.tracebacks import is_user_code, package_of, place_in_user_code, reason

_INSTALLED_WITH = {
    "torch": "pip install torch",
    "nir": "pip install nir",
    "numpy": "pip install numpy",
    "h5py": "pip install h5py",
    "rich": "pip install rich",
    "matplotlib": "pip install 'nirtorch-cli[plot]'",
    "typst": "pip install 'nirtorch-cli[draw]'",
    "safetensors": "pip install 'nirtorch-cli[safetensors]'",
    "onnx": "pip install 'nirtorch-cli[onnx]'",
    "onnxscript": "pip install 'nirtorch-cli[onnx]'",
    "onnxruntime": "pip install 'nirtorch-cli[onnx]'",
}
"""Library by import name, and the command that installs it."""


@contextlib.contextmanager
def missing_reported() -> Iterator[None]:
    """Imports of a library, of which a failure is said as the user must know it.

    Raises:
        MissingFrameworkError: the library is not installed, or does not work.
    """
    try:
        yield
    except Exception as error:
        missing = missing_framework(error)
        if missing is None:
            raise
        raise missing from error


def missing_framework(error: BaseException) -> MissingFrameworkError | None:
    """The error that a library is missing; None if an exception was raised for another reason.

    A failed import in a user's own code is such another reason.
    """
    if not isinstance(error, Exception) or isinstance(error, MemoryError):
        return None
    importing = _imported_library(error)
    named = error.name or "" if isinstance(error, ImportError) else ""
    name = named.partition(".")[0]
    is_ours = importing is not None or place_in_user_code(error) is None
    if isinstance(error, ModuleNotFoundError) and named in _INSTALLED_WITH and is_ours:
        return MissingFrameworkError(f"{name} is not installed", hint=_INSTALLED_WITH[name])
    if importing is None and name in _INSTALLED_WITH and is_ours:
        importing = name  # installed, but without a name that we import from it
    if importing is None:
        return None
    text = f"{importing} is installed and cannot be imported: {reason(error)}"
    again = _INSTALLED_WITH[importing].replace("install", "install --force-reinstall")
    return MissingFrameworkError(text, hint=f"install it again: {again}")


def _imported_library(error: BaseException) -> str | None:
    """The library that was being imported when an exception was raised, if no user's code did."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = package_of(frame)
        if package in _INSTALLED_WITH and frame.f_code.co_name == "<module>":
            return package
        if is_user_code(package):
            return None
    return None
