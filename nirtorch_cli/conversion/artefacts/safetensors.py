"""The weights of a converted module as a `.safetensors` file, and back into a module.

In: a module. Out: every parameter and buffer under its name in the state dict, and in the file's
metadata, under `nirtorch`, what made the module, as JSON. The format holds nothing but numbers, so
loading it runs no code. The same module gives the same bytes.

Needs the extra `safetensors`. Cost: linear in the weights, which are written from where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from safetensors.torch import save_file
from torch import Tensor

from nirtorch_cli.conversion.artefacts.atomic import PathLike, atomic_write
from nirtorch_cli.conversion.artefacts.formats import METADATA
from nirtorch_cli.conversion.artefacts.provenance import provenance_text
from nirtorch_cli.findings.errors import ReadError, SaveError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean_file
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.findings.tracebacks import message


def save(module: Any, target: PathLike | BinaryIO, *, clobber: bool = True) -> None:
    """Store the weights of a converted module.

    Arguments:
        module: what `nir_to_torch` returned.
        target: a path, or a binary stream that is written to.
        clobber: replace a file that is there already.

    Raises:
        SaveError: the module keeps something in its state dict that is no tensor.
        OutputError: the target cannot be written, or exists and `clobber` is False.
    """
    tensors, metadata = weights(module), {METADATA: provenance_text(module)}
    if isinstance(target, (str, os.PathLike)):
        with atomic_write(target, clobber=clobber) as file:
            write(tensors, metadata, file)
    else:
        target.write(bytes_of(tensors, metadata))


def write(tensors: dict[str, Tensor], metadata: dict[str, str], file: BinaryIO) -> None:
    """Write tensors, which share no memory, to a file that is open and empty.

    The library replaces the file by one of its own, which only its owner may read.

    Raises:
        OSError: it cannot be written.
    """
    if os.name == "nt" or not os.path.isfile(file.name):  # where it cannot do that; a device
        file.write(bytes_of(tensors, metadata))
        return
    try:
        save_file(tensors, file.name, metadata)
    except SafetensorError as error:
        raise OSError(message(error).rpartition("I/O error: ")[2]) from error
    with open(file.name, "r+b") as written:
        os.chmod(file.name, os.fstat(file.fileno()).st_mode)
        os.fsync(written.fileno())


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """The tensors of a module by their names in the state dict, on the CPU, sharing no memory.

    Raises:
        SaveError: the state dict holds something else too.
    """
    held = module.state_dict()
    others = [name for name, value in held.items() if not isinstance(value, Tensor)]
    if others:
        text = f"the state dict has entries that are no tensors: {listed(others)}"
        raise SaveError(Finding("NIR508", "error", text, hint="save it as .pt"))
    return dict(zip(held, alone(held.values())))


def alone(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Tensors on the CPU, contiguous, and copied where they would share memory with one before."""
    found, taken = [], set()
    for tensor in tensors:
        here = tensor.detach().cpu().contiguous()
        storage = here.untyped_storage()
        is_shared = storage.data_ptr() in taken or storage.nbytes() != here.nbytes
        found.append(here.clone() if is_shared else here)
        taken.add(storage.data_ptr())
    return found


def load_weights(module: torch.nn.Module, source: PathLike) -> None:
    """Load the weights of a `.safetensors` file into a module of the same network.

    Every parameter and buffer is replaced in place, in the module's own type and on its device; or,
    if an error is raised, none is. Runs no code of the file.

    Raises:
        ReadError: the file cannot be read, or its tensors are not those of the module.

    Example:
        >>> module = nir_to_torch("model.nir", {})
        >>> load_weights(module, "tuned.safetensors")
    """
    name = os.fspath(source)
    try:
        with open(source, "rb") as file:
            found = tensors_of(file.read())
    except FileNotFoundError as error:
        raise ReadError(
            "NIR001", "no such file", hint=did_you_mean_file(name), file=name
        ) from error
    except (OSError, SafetensorError) as error:
        text = f"is no .safetensors file, or is damaged: {message(error)}"
        raise ReadError("NIR025", text, file=name) from error
    problem = _problem(module.state_dict(), found)
    if problem is not None:
        raise ReadError("NIR025", problem, hint="it is of another network", file=name)
    module.load_state_dict(found)


def _problem(wanted: Mapping[str, Any], found: Mapping[str, Tensor]) -> str | None:
    """Why tensors are not those of a module; None if they are."""
    missing = [name for name in wanted if name not in found]
    if missing:
        return f"has no {listed(missing, most=3)}"
    more = [name for name in found if name not in wanted]
    if more:
        return f"has {listed(more, most=3)}, which the module has not"
    for name, value in wanted.items():
        if value.shape != found[name].shape:
            shapes = tuple(found[name].shape), tuple(value.shape)
            return f"{quoted(name)} has the shape {shapes[0]}, in the module {shapes[1]}"
    return None
