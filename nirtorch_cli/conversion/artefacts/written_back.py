"""A converted module as a `.nir` file again, with its parameters as they are now.

In: a module. Out: the file. Always holds: edges, names and metadata are those of the file that it
was made from, and so is every array that was not changed since, byte for byte, if nir accepts that
file; else they are in the form that nir wants, as `nirtorch repair` writes it.
"""

from __future__ import annotations

import copy
import io
from typing import Any, BinaryIO

import nir

from nirtorch_cli.conversion.artefacts.atomic import PathLike, write_to
from nirtorch_cli.conversion.artefacts.nir import exported, refusal_by_nir, storable
from nirtorch_cli.conversion.source_graph import to_nir


def save(module: Any, target: PathLike | BinaryIO, *, clobber: bool = True) -> None:
    """Write a converted module as a `.nir` file, with its parameters as they are now.

    Raises:
        SaveError, ConversionError: see `source_graph.to_nir` and `exported`.
        OutputError: the target cannot be written, or exists and `clobber` is False.
    """
    content = written_back(to_nir(module))
    write_to(target, content, clobber=clobber)


def written_back(graph: nir.NIRGraph) -> bytes:
    """A sound graph as a `.nir` file: as it is, or in the form that nir accepts.

    Raises:
        ConversionError: see `exported`.
    """
    content = io.BytesIO()
    try:
        nir.write(content, _as_it_is(graph))
    except (TypeError, ValueError, OSError, RuntimeError, AttributeError):
        return exported(graph)  # nir cannot write it so
    is_accepted = refusal_by_nir(content.getvalue(), type_check=True) is None
    return content.getvalue() if is_accepted else exported(graph)


def _as_it_is(graph: nir.NIRGraph) -> nir.NIRGraph:
    """A copy of a graph with values that `nir.write` can store, and no other change."""
    nodes: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            nodes[name] = _as_it_is(node)
        else:
            nodes[name] = copy.copy(node)
            vars(nodes[name]).update(storable(vars(node)))
    metadata = storable(graph.metadata or {})
    return nir.NIRGraph(nodes, list(graph.edges), metadata, type_check=False)
