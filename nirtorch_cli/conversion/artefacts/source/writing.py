"""A readable module on disk: `model.py`, and its weights beside it, `model.safetensors`.

In: a converted module and a path. Out: both files, the weights first, each whole or not at all;
where something cannot be written as source, neither. The same module gives the same bytes.
Cost: linear; one copy of the weights in memory.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from nirtorch_cli.conversion.artefacts.atomic import PathLike, atomic_write, require_writable
from nirtorch_cli.conversion.artefacts.formats import METADATA, files_of
from nirtorch_cli.conversion.artefacts.provenance import provenance_text
from nirtorch_cli.conversion.artefacts.safetensors import alone, write
from nirtorch_cli.conversion.artefacts.source.document import CODE, HINT, document_of
from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import SaveError, UsageError


def save(module: Any, target: PathLike | BinaryIO, *, clobber: bool = True) -> None:
    """Write a converted module as source, and its weights beside it.

    Arguments:
        module: what `nir_to_torch` returned for a graph.
        target: a path; the weights get the same name with `.safetensors`.

    Raises:
        SaveError: a node cannot be written as plain source; says which and why.
        OutputError: one of the files cannot be written, or exists and `clobber` is False.
        UsageError: the target is no path.
    """
    if not isinstance(target, (str, os.PathLike)):
        raise UsageError("a readable module is two files, and cannot be written to a stream")
    files = files_of(os.fspath(target), "py")
    if not isinstance(module, ConvertedModule):
        text = f"a {type(module).__name__} alone is no converted graph"
        raise SaveError(CODE, text, hint=HINT)
    document = document_of(module)
    for path in files:
        require_writable(path, clobber=clobber)
    tensors = dict(zip(document.tensors, alone(document.tensors.values())))
    metadata = {METADATA: provenance_text(module)}
    source, weights = files
    # Both are whole before the first is replaced.
    with (
        atomic_write(source, clobber=clobber) as page,
        atomic_write(weights, clobber=clobber) as numbers,
    ):
        write(tensors, metadata, numbers)
        page.write(document.text.encode())
