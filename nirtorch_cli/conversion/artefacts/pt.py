"""Saves converted modules and loads them again.

A module is stored with `torch.save` as a whole: code, weights, meta. That file is a pickle:
loading it runs code that the file names, so load only what you or somebody you trust wrote.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from nirtorch_cli._version import __version__
from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS, DESCRIPTION
from nirtorch_cli.conversion.artefacts.provenance import provenance
from nirtorch_cli.conversion.graph_module import ConvertedModule, first_floating
from nirtorch_cli.conversion.source_graph import tensors_of
from nirtorch_cli.findings.errors import NirtorchError, ReadError, SaveError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean_file
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.findings.tracebacks import is_interrupt, lacks_memory, message, reason
from nirtorch_cli.reading.file_kinds import is_saved_file, kind_of_file
from nirtorch_cli.reading.formats import format_by_suffix

Target = str | os.PathLike[str] | BinaryIO


def save(module: torch.nn.Module, target: Target, *, clobber: bool = True) -> None:
    """Store a converted module, to be read by `load` or `torch.load(..., weights_only=False)`.

    Arguments:
        module: what `nir_to_torch` returned.
        target: a path, or a binary stream that is written to.
        clobber: replace a file that is there already.

    Raises:
        SaveError: a submodule cannot be pickled; names the node.
        OutputError: the target cannot be written, or exists and `clobber` is False.
    """
    if isinstance(target, (str, os.PathLike)):
        with atomic_write(target, clobber=clobber) as file:
            _write(module, file)
            if os.path.isfile(file.name):
                file.flush()
                _describe(module, file.name)
        return
    content = io.BytesIO()  # since torch ends what it began, even where it fails
    _write(module, content)
    _describe(module, content)
    # Python 3.12.1 crashes when it collects a buffer that a kept error still holds.
    with content.getbuffer() as data:
        target.write(data)


class _Watched:
    """A stream that keeps the error of a write, which torch replaces by one of its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.stream.flush()


def _write(module: torch.nn.Module, stream: BinaryIO) -> None:
    """Store a module in a stream; its weights go there from where they lie."""
    watched: Any = _Watched(stream)
    try:
        torch.save(module, watched)
    except BaseException as error:  # pickle lets errors of a user's class through
        if watched.error is not None:
            raise watched.error from None
        if is_interrupt(error) or lacks_memory(error):
            raise
        raise SaveError(_unpicklable(module, error)) from error


def _describe(module: torch.nn.Module, archive: Any) -> None:
    """Add what a module is to the archive that holds it, for whoever must not load a pickle."""
    if not isinstance(module, ConvertedModule):
        return
    names, shapes, example = module.meta["names"], module.meta["shapes"], first_floating(module)
    said: dict[str, Any] = {"provenance": provenance(module)}
    for place, kind in enumerate(("inputs", "outputs")):
        ports = [(names[name], shapes[name][place]) for name in module.meta[kind]]
        said[kind] = [_entry(name, shape, example) for name, shape in ports]
    said["weights"] = [_entry(name, one.shape, one) for name, one in tensors_of(module).items()]
    entry = zipfile.ZipInfo(f"archive/{DESCRIPTION}", date_time=(1980, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(entry, json.dumps(said, sort_keys=True, default=str))


def _entry(name: str, shape: Sequence[int] | None, example: Tensor | None) -> dict[str, Any]:
    dtype = torch.get_default_dtype() if example is None else example.dtype
    known = None if shape is None else list(shape)
    return {"name": name, "shape": known, "dtype": str(dtype).removeprefix("torch.")}


def load(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    map_location: torch.device | str | None = None,
) -> ConvertedModule:
    """Load a module that `save` stored. Runs code that the file names: trust it first.

    Arguments:
        source: a path or a binary stream.
        map_location: the device to put it on; None for the one it was saved from.

    Raises:
        ReadError: it does not exist, is not a saved module, or needs Python code that is not
        installed.
    """
    name = str(getattr(source, "name", "<stream>"))
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
    path = list(sys.path)
    try:
        module = torch.load(source, map_location=map_location, weights_only=False)
    except NirtorchError:
        raise
    except ModuleNotFoundError as error:
        text = f"needs the Python module {error.name!r}, which is not importable here"
        hint = "put it on the import path (PYTHONPATH): the saved classes live there"
        if str(error.name).startswith(f"{__name__.partition('.')[0]}."):
            text = f"was saved by another version of this program, whose {error.name!r} is not here"
            hint = f"this is version {__version__}; convert the .nir file again"
        raise ReadError("NIR021", text, hint=hint, file=name) from error
    except FileNotFoundError as error:
        finding = Finding(
            "NIR001", "error", "no such file", hint=did_you_mean_file(name), file=name
        )
        raise ReadError(finding) from error
    except BaseException as error:  # unpickling may raise any error
        if is_interrupt(error) or lacks_memory(error):
            raise
        text = _why_unreadable(name, error)
        raise ReadError("NIR020", text, file=name) from error
    finally:
        sys.path[:] = path
    if not isinstance(module, torch.fx.GraphModule):
        text = f"holds a {type(module).__name__}, not a converted module"
        raise ReadError("NIR020", text, file=name)
    return cast(ConvertedModule, module)  # or a GraphModule of any class, as it was stored


def _why_unreadable(name: str, error: BaseException) -> str:
    """Why a file could not be loaded, from what it is instead of a saved module."""
    if isinstance(error, OSError) and error.filename == name:
        return f"cannot be read: {error.strerror}"
    form = format_by_suffix(name, [one for one in ARTEFACTS if one.reader or one.used])
    if form is not None and form is not ARTEFACTS[0]:
        return f"is {form.called} by its name, not a saved module (.pt)"
    other = kind_of_file(name)
    if other is not None and not is_saved_file(name):
        return f"{other[0]}, not a saved module"
    return f"is not a saved module, or is damaged: {reason(error)}"


def _unpicklable(module: torch.nn.Module, error: BaseException) -> Finding:
    """Name the submodule that cannot be pickled."""
    why = message(error)
    hint = "define its class and functions at the top level of an importable module"
    names: dict[str, str] = getattr(module, "meta", {}).get("names", {})
    for name, child in module.named_children():
        try:
            pickle.dumps(child)
        except BaseException as child_error:
            if is_interrupt(child_error):
                raise
            node = names.get(name, name)
            kind = getattr(module, "meta", {}).get("origins", {}).get(name, type(child).__name__)
            inner = _unpicklable(child, child_error) if _is_graph(child) else None
            if inner is not None and inner.node is not None:
                return inner.inside(node)
            text = f"its module {kind} cannot be saved: {message(child_error)}"
            return Finding("NIR508", "error", text, node, hint=hint)
    return Finding("NIR508", "error", f"{quoted(type(module).__name__)} cannot be saved: {why}")


def _is_graph(module: Any) -> bool:
    return isinstance(module, torch.fx.GraphModule)
