"""A `.nir` file (HDF5) to a `nir.NIRGraph`.

In: a path, bytes, or a binary stream. Out: a `ModelFile` with the graph, the
file's version and findings for everything that had to be assumed.

Parameters are handed on as the file has them (arrays stay arrays, in the file's
precision), as `nir.read` does, so that maps written for nir work. Nothing is checked
here beyond what is needed to build the nodes; shapes and structure come later.

A file may come from a stranger; see `hdf5` for what is refused, so that reading runs no
code and allocates no more than it is allowed to. Cost: linear in nodes, edges and bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from nirtorch_cli.errors import ReadError, ShapeError
from nirtorch_cli.findings import Finding, Severity, listed, quoted
from nirtorch_cli.hdf5 import Member, Source, Store, name_of, opened, text_of
from nirtorch_cli.limits import DEFAULT_MAX_BYTES, MAX_NESTING

_REFUSALS = ("NIR010", "NIR011", "NIR014")
"""Findings on a file that is not to be read any further."""


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

_COUNTS = (
    *("shape", "input_shape", "input_type", "kernel_size", "stride", "padding", "dilation"),
    *("groups", "start_dim", "end_dim"),
)
"""Parameters that are whole numbers, whatever type the file gives them."""

_STEPS = ("kernel_size", "stride", "dilation", "groups")
"""Those of them that nothing can be done with if they are 0."""

_TOO_LARGE = 2**40
"""No size or step; torch counts in 64 bits, and products of such numbers must fit."""


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
        ShapeError: parameters of one node have shapes that do not fit together.
    """
    name = name_of(source)
    try:
        with opened(source, max_bytes) as store:
            return _Reader(store).model(name)
    except (ReadError, ShapeError) as error:
        raise error.of(name) from error.__cause__


@dataclass
class _Reader:
    """Reads one file; keeps what it noticed."""

    store: Store
    findings: list[Finding] = field(default_factory=list)

    def model(self, name: str) -> ModelFile:
        members = self.store.members(self.store.root, None, "/")
        if "node" not in members:
            hint = "it is an HDF5 file, but holds no NIR graph"
            raise _read_error("NIR003", "has no group 'node'", None, hint=hint)
        version = self.version(members["version"]) if "version" in members else None
        graph = self.node(members["node"], ())
        if not isinstance(graph, nir.NIRGraph):
            # nir.write stores a single node too; a graph around it needs no assumption.
            graph = nir.NIRGraph.from_list(graph, type_check=False)
        return ModelFile(graph, version, name, tuple(f.of(name) for f in self.findings))

    def version(self, member: Member) -> str | None:
        value = self.store.value(member, None, "version")
        return value if isinstance(value, str) else None

    def node(self, member: Member, path: tuple[str, ...]) -> nir.NIRNode:
        where = "/".join(path) or None
        members = self.store.members(member, where, path[-1] if path else "node")
        kind = self.text(members, "type", where)
        if kind == "NIRGraph":
            return self.graph(members, path)
        if kind not in NODE_FIELDS:
            hint = f"nir {nir.version} knows {', '.join(NODE_FIELDS)} and NIRGraph"
            raise _read_error("NIR005", f"unknown node type {quoted(kind)}", where, hint=hint)
        return self.primitive(kind, members, where)

    def graph(self, members: dict[str, Member], path: tuple[str, ...]) -> nir.NIRGraph:
        where = "/".join(path) or None
        if len(path) > MAX_NESTING:
            raise _read_error("NIR011", f"graphs nested over {MAX_NESTING} deep", path[0])
        for name in ("nodes", "edges"):
            if name not in members:
                raise _read_error("NIR006", f"a NIRGraph without {quoted(name)}", where)
        nodes = self.nodes(self.store.members(members["nodes"], where, "nodes"), path)
        edges = self.edges(self.store.value(members["edges"], where, "edges"), where)
        metadata = self.metadata(members, where)
        self.unknown(set(members) - {"nodes", "edges", "metadata", "type"}, where)
        return nir.NIRGraph(nodes, edges, metadata, type_check=False)

    def nodes(self, members: dict[str, Member], path: tuple[str, ...]) -> dict[str, nir.NIRNode]:
        """The nodes of a graph; says of every one why it cannot be read, not of the first."""
        nodes: dict[str, nir.NIRNode] = {}
        problems: list[ReadError | ShapeError] = []
        for name, member in members.items():
            try:
                nodes[name] = self.node(member, (*path, name))
            except (ReadError, ShapeError) as error:
                if any(finding.code in _REFUSALS for finding in error.findings):
                    raise
                problems.append(error)
        if problems:
            findings = [finding for error in problems for finding in error.findings]
            worst = next((e for e in problems if isinstance(e, ReadError)), problems[0])
            raise type(worst)(findings) from worst.__cause__
        return nodes

    def edges(self, value: Any, where: str | None) -> list[tuple[str, str]]:
        table = np.asarray(value)
        if table.size == 0:
            return []
        if table.ndim != 2 or table.shape[1] != 2:
            text = f"has the shape {table.shape}, not (number of edges, 2)"
            raise _read_error("NIR007", text, where, "edges")
        if table.dtype.kind not in "SO":
            text = f"holds {table.dtype}, not the names of nodes"
            raise _read_error("NIR007", text, where, "edges")
        return [(text_of(source), text_of(target)) for source, target in table.tolist()]

    def primitive(self, kind: str, members: dict[str, Member], where: str | None) -> nir.NIRNode:
        fields = NODE_FIELDS[kind]
        missing = [name for name in fields.required if name not in members]
        if missing:
            raise _read_error("NIR006", f"{kind} without {listed(missing)}", where)
        known = [name for name in (*fields.required, *fields.optional) if name in members]
        values = {name: self.parameter(members[name], where, name) for name in known}
        self.unknown(set(members) - set(known) - {"type", "metadata"}, where)
        if "v_reset" in fields.optional and "v_reset" not in values:
            values["v_reset"] = np.zeros_like(values["v_threshold"])
            # nir does the same: an "info", since all files before NIR 1.0 lack it.
            self.assume("NIR012", where, "v_reset", "is not in the file; taken as 0", "info")
        if fields.shared:
            shared = {name: values[name] for name in fields.shared if name in values}
            values.update(self.of_one_shape(shared, where))
        return self.built(fields, values, self.metadata(members, where), where)

    def parameter(self, member: Member, where: str | None, name: str) -> Any:
        """A parameter: numbers, whole where they count something, or a padding in words."""
        value = self.store.value(member, where, name)
        if name == "padding" and np.asarray(value).dtype.kind in "USO":
            return value
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise _read_error("NIR008", "holds text, not numbers", where, name)
        if name in _COUNTS and not np.all(np.isfinite(array) & (array == np.floor(array))):
            text = f"holds {array.reshape(-1)[0]:g}, which is no whole number"
            raise _read_error("NIR008", text, where, name)
        if name in _COUNTS and np.any(np.abs(array.astype(np.float64)) >= _TOO_LARGE):
            raise _read_error("NIR008", f"holds {array.max():g}, which is too large", where, name)
        if name in _STEPS and np.any(array < 1):
            raise _shape_error(f"holds {array.min():g}, and must be 1 or more", where, name)
        if name in ("shape", "input_shape"):
            shape = self.shape(array, where, name)
            return shape if name == "shape" else value
        return value

    def shape(self, array: np.ndarray, where: str | None, name: str) -> np.ndarray:
        """A shape: its sizes, each at least 0, and not more numbers than may be allocated."""
        sizes = [int(size) for size in array.reshape(-1).tolist()]
        if array.ndim > 1 or any(size < 0 for size in sizes):
            raise _read_error("NIR008", f"is {array.tolist()}, which is no shape", where, name)
        self.store.claim(math.prod(sizes) * np.dtype(np.float32).itemsize, where, name)
        return np.array(sizes, dtype=np.int64)

    def built(
        self,
        fields: NodeFields,
        values: dict[str, Any],
        metadata: dict[str, Any],
        where: str | None,
    ) -> nir.NIRNode:
        kind = fields.type
        if kind in (nir.Input, nir.Output):
            values["input_type" if kind is nir.Input else "output_type"] = values.pop("shape")
        if kind in (nir.Conv1d, nir.Conv2d):
            values.setdefault("bias", None)
            values.setdefault("input_shape", None)
            axes = 3 if kind is nir.Conv1d else 4
            if np.ndim(values["weight"]) != axes:
                text = f"has the shape {np.shape(values['weight'])}, not {axes} axes"
                raise _shape_error(text, where, "weight")
        if kind is nir.Flatten:
            values.setdefault("input_type", None)
            for name in ("start_dim", "end_dim"):
                if np.size(values[name]) != 1:
                    raise _shape_error(f"is {values[name].tolist()}, not one number", where, name)
                values[name] = int(np.asarray(values[name]).item())
        try:
            with np.errstate(all="ignore"):
                return kind(**values, metadata=metadata)
        except (ArithmeticError, AssertionError, ValueError, TypeError, LookupError) as error:
            reason = " ".join(str(error).split())
            text = f"{kind.__name__} with parameters that do not fit together: {reason}"
            raise _shape_error(text, where) from error

    def of_one_shape(self, values: dict[str, Any], where: str | None) -> dict[str, np.ndarray]:
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
            text = "neuron parameters whose shapes do not fit together: "
            text += ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            hint = "each must have one value for every neuron, or one for all"
            raise _shape_error(text, where, hint=hint) from error
        for name, shape in shapes.items():
            if shape != common:
                self.assume("NIR013", where, name, f"has the shape {shape}; taken for {common}")
                self.store.claim(math.prod(common) * arrays[name].itemsize, where, name)
        return {name: np.broadcast_to(array, common).copy() for name, array in arrays.items()}

    def metadata(self, members: dict[str, Member], where: str | None) -> dict[str, Any]:
        if "metadata" not in members:
            return {}
        return self.dictionary(members["metadata"], where, ("metadata",))

    def dictionary(
        self, member: Member, where: str | None, path: tuple[str, ...]
    ) -> dict[str, Any]:
        name = "/".join(path)
        if len(path) > MAX_NESTING:
            raise _read_error("NIR011", f"nested over {MAX_NESTING} deep", where, path[0])
        entries: dict[str, Any] = {}
        for key, inner in self.store.members(member, where, name).items():
            if self.store.is_group(inner):
                entries[key] = self.dictionary(inner, where, (*path, key))
                continue
            try:
                entries[key] = self.store.value(inner, where, f"{name}/{key}")
            except ReadError as error:
                if error.findings[0].code != "NIR016":
                    raise
                # Nothing that a module computes depends on metadata.
                self.assume("NIR016", where, f"{name}/{key}", "cannot be read; left out")
        return entries

    def text(self, members: dict[str, Member], name: str, where: str | None) -> str:
        if name not in members:
            raise _read_error("NIR006", f"a node without {quoted(name)}", where)
        value = self.store.value(members[name], where, name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if not isinstance(value, (str, bytes)):
            raise _read_error("NIR005", "is no text", where, name)
        return text_of(value)

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
        self.findings.append(Finding(code, severity, message, where, parameter))


def _read_error(
    code: str, message: str, where: str | None, name: str | None = None, hint: str | None = None
) -> ReadError:
    return ReadError(Finding(code, "error", message, where, name, hint))


def _shape_error(
    message: str, where: str | None, name: str | None = None, hint: str | None = None
) -> ShapeError:
    return ShapeError(Finding("NIR201", "error", message, where, name, hint))
