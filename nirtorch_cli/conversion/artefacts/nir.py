"""A sound graph to the bytes of a `.nir` file that `nir.read` accepts with its type check on.

In: a graph with every shape filled in. Out: bytes. nir compares the shapes of parameters
where we compare what they mean, so parameters are written with one value for each neuron,
shapes where nir looks for them, and sizes as pairs. No number changes.
Cost: linear in nodes, edges and parameters; nir's type check is quadratic in nodes.
"""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from nirtorch_cli.conversion.artefacts.atomic import PathLike, atomic_write, require_writable
from nirtorch_cli.findings.errors import ConversionError, NirtorchError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.graph.sound import errors_in, required_sound
from nirtorch_cli.primitives.parameters import padding_mode, pair, single
from nirtorch_cli.primitives.shape_rules import input_shape, output_shape
from nirtorch_cli.primitives.table import (
    PRIMITIVES,
    known_primitives,
    parameters_of,
    shape_rule_of,
)
from nirtorch_cli.reading.graphs import read
from nirtorch_cli.reading.outline import Change, difference, outline
from nirtorch_cli.reading.sources import Source, name_of

_LONGEST_REASON = 200


@dataclass(frozen=True)
class RepairedFile:
    """A repaired file.

    content: its bytes. findings: about the original file, repairs included. changes: the
    differences between the two files. file: what messages call the file.
    """

    content: bytes
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    file: str

    def write(self, target: PathLike, *, clobber: bool = True) -> None:
        """Write it to a file: the whole of it or, where that fails, nothing.

        Raises:
            OutputError: it cannot be written, is the file that was repaired, or exists and
                `clobber` is False.
        """
        require_writable(target, clobber=clobber, source=self.file)
        with atomic_write(target, clobber=clobber) as stream:
            stream.write(self.content)


def repair(
    source: Source, *, type_check: bool = True, max_bytes: int | None = None
) -> RepairedFile:
    """Repair a `.nir` file and write it in today's form, as `nirtorch repair` does.

    Only damage with one sensible meaning is repaired. The file itself is not changed.

    Arguments:
        source: a path, the bytes of a file, or a binary stream, which is read to its end.
        type_check: whether nir must accept the result with its type check on.
        max_bytes: refuse a file whose data claim more; see `read`.

    Raises:
        ReadError: see `read`.
        ConversionError: it cannot be repaired; says every reason.

    Example:
        >>> repaired = repair("model.nir")
        >>> [finding.repair for finding in repaired.findings if finding.repair]
        >>> repaired.write("fixed.nir")
    """
    if not isinstance(source, (str, os.PathLike, bytes)):
        name, source = name_of(source), source.read()
    else:
        name = name_of(source)
    try:
        file = read(source, max_bytes=max_bytes)
        examination = required_sound(file.graph, file.findings)
        errors = errors_in(examination.findings)
        if errors:
            raise ConversionError(errors, examination.findings)
        content = exported(examination.graph, type_check=type_check)
    except NirtorchError as error:
        raise error.of(name) from error.__cause__
    before = outline(source, max_bytes=max_bytes)
    changes = difference(before, outline(content, max_bytes=max_bytes))
    findings = tuple(finding.of(name) for finding in examination.findings)
    return RepairedFile(content, findings, tuple(changes), name)


def exported(graph: nir.NIRGraph, *, type_check: bool = True) -> bytes:
    """A graph as a `.nir` file.

    Arguments:
        graph: what `sound.required_sound` gave.
        type_check: whether nir must accept it with its type check on.

    Raises:
        ConversionError: a shape is not known, or nir cannot write it or does not accept it.
    """
    unknown = _nodes_of_unknown_shape(graph, "")
    if unknown:
        text = "its shape is not known, and nir's type check wants it"
        raise ConversionError([Finding("NIR205", "error", text, where) for where in unknown])
    content = io.BytesIO()
    try:
        nir.write(content, portable(graph))
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise _refusal("nir.write cannot write it", error) from error
    if any(isinstance(node, _foreign()) for node in _inner_nodes(graph)):
        return content.getvalue()  # nir cannot accept or refuse a type that it lacks
    reason = refusal_by_nir(content.getvalue(), type_check=type_check)
    if reason is not None:
        hint = "what NIR can say is more than nir's type check knows; --no-type-check writes it"
        text = f"nir {nir.version} does not accept it: {reason}"
        raise ConversionError("NIR802", text, hint=hint if type_check else None)
    return content.getvalue()


def _foreign() -> tuple[type[nir.NIRNode], ...]:
    """The registered types, which nir does not have."""
    return tuple(entry.type for entry in known_primitives() if entry.name not in PRIMITIVES)


def _inner_nodes(graph: nir.NIRGraph) -> Iterator[nir.NIRNode]:
    for node in graph.nodes.values():
        yield node
        if isinstance(node, nir.NIRGraph):
            yield from _inner_nodes(node)


def refusal_by_nir(source: str | bytes, *, type_check: bool) -> str | None:
    """Why nir cannot read a file, in a line, or None if it can.

    Arguments:
        source: a path or a file's bytes. Look at a stranger's file with `reading` first.
    """
    stream = source if isinstance(source, str) else io.BytesIO(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nir.read(stream, type_check=type_check)
    except Exception as error:  # nir lets errors of numpy and h5py and its own asserts through
        return _one_line(error)
    return None


def portable(graph: nir.NIRGraph) -> nir.NIRGraph:
    """A copy of a graph with shapes, in the form that nir's type check wants."""
    nodes = {name: _portable_node(node) for name, node in graph.nodes.items()}
    metadata = storable(graph.metadata or {})
    return nir.NIRGraph(nodes, list(graph.edges), metadata, type_check=False)


def _portable_node(node: nir.NIRNode) -> nir.NIRNode:
    if isinstance(node, nir.NIRGraph):
        return portable(node)
    written = copy.copy(node)
    written.metadata = storable(node.metadata or {})
    shape, rule = input_shape(node), shape_rule_of(node)
    if rule == "elementwise":
        for name in parameters_of(node):
            value = np.asarray(getattr(node, name))
            setattr(written, name, storable(np.broadcast_to(value, shape or ()).copy()))
    elif rule == "convolution":
        _settle_convolution(written)
    elif rule == "pooling":
        for name in ("kernel_size", "stride", "padding"):
            setattr(written, name, np.array(pair(getattr(node, name))))
    elif rule == "flatten":
        rank = len(shape or ())
        start, end = single(node.start_dim), single(node.end_dim)
        written.start_dim = start + rank if start < 0 else start
        # nir understands -1 and nothing below it.
        written.end_dim = end + rank if end < -1 else end
    return written


def _settle_convolution(node: Any) -> None:
    sizes = single if node.weight.ndim == 3 else lambda value: np.array(pair(value))
    for name in ("stride", "dilation"):
        setattr(node, name, sizes(getattr(node, name)))
    mode = padding_mode(node.padding)
    node.padding = sizes(node.padding) if mode is None else mode
    node.groups = single(node.groups)
    if node.bias is None:  # which nir.write cannot say
        node.bias = np.zeros(node.weight.shape[0], dtype=node.weight.dtype)


def storable(value: Any) -> Any:
    """A value in a form that `nir.write` can store: no array without axes, no array of objects."""
    if isinstance(value, dict):
        return {name: storable(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject or value.dtype.kind == "U":
            return np.char.encode(value.astype(str), "utf8")
        return value if value.ndim else value[()]
    return value


def _nodes_of_unknown_shape(graph: nir.NIRGraph, path: str) -> list[str]:
    found = []
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            found += _nodes_of_unknown_shape(node, f"{path}{name}/")
        elif input_shape(node) is None or output_shape(node) is None:
            found.append(path + name)
    return found


def _refusal(message: str, error: Exception) -> ConversionError:
    return ConversionError("NIR801", f"{message}: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
