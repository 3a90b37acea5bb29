"""A `.nir` file (HDF5) to a `nir.NIRGraph`. The only caller of h5py.

In: a path, bytes, or a binary stream. Out: a `ModelFile` with the graph, the
file's version and findings for everything that had to be assumed.

Parameters are handed on as the file has them (arrays stay arrays, in the file's
dtype), as `nir.read` does, so that maps written for nir work. Nothing is checked
here beyond what is needed to build the nodes; shapes and structure come later.

A file may come from a stranger. Reading runs no code, follows no link (soft and
external links, external storage and virtual datasets are refused), and counts
what datasets claim before it allocates them. Cost: linear in nodes, edges and bytes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import nir
import numpy as np

from nirtorch_cli.errors import ReadError, ShapeError
from nirtorch_cli.findings import Finding, Severity, listed, quoted

DEFAULT_MAX_BYTES = 4 * 2**30
MAX_NESTING = 100
"""Nested graphs and HDF5 groups deeper than this are refused."""

Source = str | os.PathLike[str] | bytes | BinaryIO


@dataclass(frozen=True)
class NodeFields:
    """What the file must and may hold for one node type.

    `shared` names the parameters of one value per neuron: they have one shape.
    """

    type: type[nir.NIRNode]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


_LI = ("tau", "r", "v_leak")
_CUBA = ("tau_syn", "tau_mem", "r", "v_leak")
_CONV = ("weight", "stride", "padding", "dilation", "groups")
_POOL = ("kernel_size", "stride", "padding")

NODE_FIELDS: dict[str, NodeFields] = {
    "Input": NodeFields(nir.Input, ("shape",)),
    "Output": NodeFields(nir.Output, ("shape",)),
    "Affine": NodeFields(nir.Affine, ("weight", "bias")),
    "Linear": NodeFields(nir.Linear, ("weight",)),
    "Scale": NodeFields(nir.Scale, ("scale",)),
    "Conv1d": NodeFields(nir.Conv1d, _CONV, ("bias", "input_shape")),
    "Conv2d": NodeFields(nir.Conv2d, _CONV, ("bias", "input_shape")),
    "SumPool2d": NodeFields(nir.SumPool2d, _POOL),
    "AvgPool2d": NodeFields(nir.AvgPool2d, _POOL),
    "Flatten": NodeFields(nir.Flatten, ("start_dim", "end_dim"), ("input_type",)),
    "Threshold": NodeFields(nir.Threshold, ("threshold",)),
    "Delay": NodeFields(nir.Delay, ("delay",)),
    "I": NodeFields(nir.I, ("r",), (), ("r",)),
    "IF": NodeFields(nir.IF, ("r", "v_threshold"), ("v_reset",), ("r", "v_threshold", "v_reset")),
    "LI": NodeFields(nir.LI, _LI, (), _LI),
    "LIF": NodeFields(
        nir.LIF, (*_LI, "v_threshold"), ("v_reset",), (*_LI, "v_threshold", "v_reset")
    ),
    "CubaLI": NodeFields(nir.CubaLI, _CUBA, ("w_in",), (*_CUBA, "w_in")),
    "CubaLIF": NodeFields(
        nir.CubaLIF,
        (*_CUBA, "v_threshold"),
        ("v_reset", "w_in"),
        (*_CUBA, "v_threshold", "v_reset", "w_in"),
    ),
}
"""The fields of every NIR node type but NIRGraph, by the type name in the file."""


@dataclass(frozen=True)
class ModelFile:
    """A `.nir` file that was read."""

    graph: nir.NIRGraph
    version: str | None
    name: str
    findings: tuple[Finding, ...] = ()


def read(source: Source, *, max_bytes: int = DEFAULT_MAX_BYTES) -> ModelFile:
    """Read a `.nir` file.

    Arguments:
        source: a path, the bytes of a file, or a binary stream, which is read to its end.
        max_bytes: refuse a file whose datasets claim more than this, all together.

    Raises:
        ReadError: it is not there, no HDF5 file, damaged, no NIR graph, or refused for safety.
        ShapeError: parameters of one neuron node have shapes that do not fit together.
    """
    name = _name_of(source)
    try:
        with _opened(source) as file:
            return _Reader(max_bytes).model(file, name)
    except (ReadError, ShapeError) as error:
        raise error.of(name) from error.__cause__
    except OSError as error:
        raise ReadError(_open_failure(source, name, error)) from error
    except (RuntimeError, KeyError, ValueError, TypeError, UnicodeError) as error:
        # h5py reports damage inside a file with any of these.
        raise ReadError(
            Finding("NIR002", "error", f"damaged HDF5 file: {_one_line(error)}", file=name)
        ) from error


def _name_of(source: Source) -> str:
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "<stream>"))


def _opened(source: Source) -> h5py.File:
    if isinstance(source, (str, os.PathLike)):
        if Path(source).is_dir():
            raise IsADirectoryError("it is a directory")
        return h5py.File(source, "r")
    content = source if isinstance(source, bytes) else source.read()
    if not content:
        raise OSError("it is empty")
    return h5py.File(io.BytesIO(content), "r")


def _open_failure(source: Source, name: str, error: OSError) -> Finding:
    """Say why a file did not open, in words of the file and not of libhdf5."""
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    text = _one_line(error)
    if isinstance(error, IsADirectoryError) or (path is not None and path.is_dir()):
        message, hint = "is a directory", "name a .nir file"
    elif path is not None and not path.exists():
        message, hint = "no such file", None
    elif isinstance(error, PermissionError):
        message, hint = "permission denied", None
    elif (path is not None and path.stat().st_size == 0) or text == "it is empty":
        message, hint = "is empty", "a .nir file is an HDF5 file; was it written completely?"
    elif "signature not found" in text:
        message, hint = "is not an HDF5 file", "a .nir file is an HDF5 file written by nir.write"
    elif "truncated" in text:
        message, hint = "is a truncated HDF5 file", "copy or write it again"
    else:
        message, hint = f"cannot be opened as HDF5: {text}", None
    return Finding("NIR001", "error", message, hint=hint, file=name)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@dataclass
class _Reader:
    """Reads one file; counts what it has claimed so far and keeps what it noticed."""

    max_bytes: int
    claimed: int = 0
    findings: list[Finding] = field(default_factory=list)

    def model(self, file: h5py.File, name: str) -> ModelFile:
        root = file.id
        links = self.links(root, "")
        if "node" not in links:
            raise ReadError(
                Finding(
                    "NIR003",
                    "error",
                    "has no group 'node'",
                    hint="it is an HDF5 file, but holds no NIR graph",
                )
            )
        version = self.version(root) if "version" in links else None
        graph = self.node(links["node"](), (), ())
        if not isinstance(graph, nir.NIRGraph):
            # nir.write stores a single node too; a graph around it needs no assumption.
            graph = nir.NIRGraph.from_list(graph, type_check=False)
        return ModelFile(graph, version, name, tuple(f.of(name) for f in self.findings))

    def version(self, root: h5py.h5g.GroupID) -> str | None:
        value = self.value(h5py.h5o.open(root, b"version"), None, "version")
        return str(value) if isinstance(value, str) else None

    def links(self, group: h5py.h5g.GroupID, node: str) -> dict[str, Callable[[], Any]]:
        """The members of a group, by name, to be opened by a call; refuses soft and external."""
        members: dict[str, Callable[[], Any]] = {}
        for raw in group:
            if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                raise ReadError(
                    Finding(
                        "NIR010",
                        "error",
                        f"{quoted(_text(raw))} is a link that leaves its place in the file",
                        node=node or None,
                        hint="links are refused: a file from a stranger could point anywhere",
                    )
                )
            members[_text(raw)] = partial(h5py.h5o.open, group, raw)
        return members

    def node(
        self, group: Any, path: tuple[str, ...], seen: tuple[tuple[int, int], ...]
    ) -> nir.NIRNode:
        """One node; `seen` are the HDF5 groups above it, since hard links can form a ring."""
        where = "/".join(path)
        if not isinstance(group, h5py.h5g.GroupID):
            raise ReadError(Finding("NIR004", "error", "is not an HDF5 group", node=where))
        identity = h5py.h5o.get_info(group)
        here = (identity.fileno, identity.addr)
        if here in seen or len(path) > MAX_NESTING:
            raise ReadError(
                Finding("NIR011", "error", f"graphs nested over {MAX_NESTING} deep", node=path[0])
            )
        links = self.links(group, where)
        kind = self.text(links, "type", where)
        if kind == "NIRGraph":
            return self.graph(links, path, (*seen, here))
        if kind not in NODE_FIELDS:
            raise ReadError(
                Finding(
                    "NIR005",
                    "error",
                    f"unknown node type {quoted(kind)}",
                    node=where or None,
                    hint=f"nir {nir.version} knows {', '.join(NODE_FIELDS)} and NIRGraph",
                )
            )
        return self.primitive(kind, links, where)

    def graph(
        self,
        links: dict[str, Callable[[], Any]],
        path: tuple[str, ...],
        seen: tuple[tuple[int, int], ...],
    ) -> nir.NIRGraph:
        where = "/".join(path) or None
        for name in ("nodes", "edges"):
            if name not in links:
                raise ReadError(
                    Finding("NIR006", "error", f"a NIRGraph without {quoted(name)}", node=where)
                )
        members = links["nodes"]()
        if not isinstance(members, h5py.h5g.GroupID):
            raise ReadError(Finding("NIR004", "error", "'nodes' is not a group", node=where))
        nodes = {
            name: self.node(opened(), (*path, name), seen)
            for name, opened in self.links(members, where or "").items()
        }
        edges = self.edges(self.value(links["edges"](), where, "edges"), where)
        metadata = self.metadata(links, where)
        self.unknown(set(links) - {"nodes", "edges", "metadata", "type"}, where)
        return nir.NIRGraph(nodes, edges, metadata, type_check=False)

    def edges(self, value: Any, where: str | None) -> list[tuple[str, str]]:
        table = np.asarray(value)
        if table.size == 0:
            return []
        if table.ndim != 2 or table.shape[1] != 2:
            raise ReadError(
                Finding(
                    "NIR007",
                    "error",
                    f"'edges' has the shape {table.shape}, not (number of edges, 2)",
                    node=where,
                )
            )
        return [(_text(source), _text(target)) for source, target in table.tolist()]

    def primitive(self, kind: str, links: dict[str, Callable[[], Any]], where: str) -> nir.NIRNode:
        fields = NODE_FIELDS[kind]
        missing = [name for name in fields.required if name not in links]
        if missing:
            raise ReadError(
                Finding("NIR006", "error", f"{kind} without {listed(missing)}", node=where or None)
            )
        known = [name for name in (*fields.required, *fields.optional) if name in links]
        values = {name: self.value(links[name](), where, name) for name in known}
        self.unknown(set(links) - set(known) - {"type", "metadata"}, where)
        if "v_reset" in fields.optional and "v_reset" not in values:
            values["v_reset"] = np.zeros_like(values["v_threshold"])
            # nir does the same: an "info", since all files before NIR 1.0 lack it.
            self.assume("NIR012", where, "v_reset", "is not in the file; taken as 0", "info")
        if fields.shared:
            values.update(
                self.of_one_shape({n: values[n] for n in fields.shared if n in values}, where)
            )
        return self.built(fields, values, self.metadata(links, where), where)

    def built(
        self, fields: NodeFields, values: dict[str, Any], metadata: dict[str, Any], where: str
    ) -> nir.NIRNode:
        if fields.type in (nir.Input, nir.Output):
            shape = np.atleast_1d(np.asarray(values.pop("shape"), dtype=np.int64))
            values["input_type" if fields.type is nir.Input else "output_type"] = shape
        if fields.type in (nir.Conv1d, nir.Conv2d):
            values.setdefault("bias", None)
            values.setdefault("input_shape", None)
        if fields.type is nir.Flatten:
            values.setdefault("input_type", None)
            values["start_dim"] = int(values["start_dim"])
            values["end_dim"] = int(values["end_dim"])
        try:
            return fields.type(**values, metadata=metadata)
        except (AssertionError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise ShapeError(
                Finding(
                    "NIR201",
                    "error",
                    f"{fields.type.__name__} with parameters that do not fit together: "
                    f"{_one_line(error)}",
                    node=where or None,
                )
            ) from error

    def of_one_shape(self, values: dict[str, Any], where: str) -> dict[str, np.ndarray]:
        """Neuron parameters, broadcast to their common shape.

        NIR wants the same shape for all; some exporters write one value for a whole layer.
        """
        arrays = {name: np.asarray(value) for name, value in values.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if len(set(shapes.values())) == 1:
            return arrays
        try:
            common = np.broadcast_shapes(*shapes.values())
        except ValueError as error:
            raise ShapeError(
                Finding(
                    "NIR201",
                    "error",
                    "neuron parameters whose shapes do not fit together: "
                    + ", ".join(f"{name} {shape}" for name, shape in shapes.items()),
                    node=where or None,
                    hint="each must have one value for every neuron, or one for all",
                )
            ) from error
        for name, shape in shapes.items():
            if shape != common:
                self.assume("NIR013", where, name, f"has the shape {shape}; taken for {common}")
        return {name: np.broadcast_to(array, common).copy() for name, array in arrays.items()}

    def metadata(self, links: dict[str, Callable[[], Any]], where: str | None) -> dict[str, Any]:
        if "metadata" not in links:
            return {}
        return self.dictionary(links["metadata"](), where, 0)

    def dictionary(self, group: Any, where: str | None, depth: int) -> dict[str, Any]:
        if not isinstance(group, h5py.h5g.GroupID) or depth > MAX_NESTING:
            raise ReadError(
                Finding("NIR004", "error", "'metadata' is no plain group of values", node=where)
            )
        entries: dict[str, Any] = {}
        for name, opened in self.links(group, where or "").items():
            member = opened()
            if isinstance(member, h5py.h5g.GroupID):
                entries[name] = self.dictionary(member, where, depth + 1)
            else:
                entries[name] = self.value(member, where, f"metadata/{name}")
        return entries

    def text(self, links: dict[str, Callable[[], Any]], name: str, where: str) -> str:
        if name not in links:
            raise ReadError(
                Finding("NIR006", "error", f"a node without {quoted(name)}", node=where or None)
            )
        value = self.value(links[name](), where, name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = _text(value.item())
        if not isinstance(value, str):
            raise ReadError(
                Finding("NIR005", "error", f"{quoted(name)} is no text", node=where or None)
            )
        return value

    def value(self, dataset: Any, where: str | None, name: str) -> Any:
        """A dataset's content: text as str, a scalar as a NumPy scalar, else an array."""
        self.allow(dataset, where, name)
        content = h5py.Dataset(dataset)[()]
        return _text(content) if isinstance(content, (bytes, str)) else content

    def allow(self, dataset: Any, where: str | None, name: str) -> None:
        """Refuse what lies outside the file or claims more than the limit, unread."""
        if not isinstance(dataset, h5py.h5d.DatasetID):
            raise ReadError(Finding("NIR004", "error", "is not a dataset", where, name))
        creation = dataset.get_create_plist()
        if creation.get_layout() == h5py.h5d.VIRTUAL or creation.get_external_count():
            raise ReadError(
                Finding(
                    "NIR010",
                    "error",
                    "keeps its data in another file",
                    where,
                    name,
                    "virtual datasets and external storage are refused",
                )
            )
        count = int(np.prod(dataset.shape, dtype=object)) if dataset.shape else 1
        self.claimed += count * dataset.dtype.itemsize
        if self.claimed > self.max_bytes:
            raise ReadError(
                Finding(
                    "NIR014",
                    "error",
                    f"the file's data claim more than {self.max_bytes} bytes",
                    where,
                    name,
                    "if you trust it, raise --max-bytes",
                )
            )

    def unknown(self, names: set[str], where: str | None) -> None:
        for name in sorted(names):
            self.assume("NIR015", where, name, "is not a field of this node type; not used")

    def assume(
        self,
        code: str,
        where: str | None,
        parameter: str,
        message: str,
        severity: Severity = "warning",
    ) -> None:
        self.findings.append(Finding(code, severity, message, where or None, parameter))


def _text(value: Any) -> str:
    return value.decode("utf8", "surrogateescape") if isinstance(value, bytes) else str(value)
