"""A `.nir` file (HDF5) to a `nir.NIRGraph`.

In: a path, bytes, or a binary stream. Out: a `ModelFile` with the graph, the
file's version and findings for everything that had to be assumed.

Parameters are passed on as they are in the file (arrays stay arrays, in the file's precision), as
`nir.read` does, so that maps written for nir work. Only what is needed to build the nodes is
checked here; shapes and structure are checked later. Files of every version since 0.1 are read, and
older ones if they say enough.

A file may come from a stranger: reading runs no code and allocates no more than is allowed; `hdf5`
says what is refused. Cost: linear in nodes, edges and bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.errors import ReadError, ShapeError
from nirtorch_cli.findings.finding import Finding, Severity
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.table import OLD_NAMES, SHAPES, primitive_named
from nirtorch_cli.reading.hdf5 import Member, Store, opened
from nirtorch_cli.reading.limits import (
    DEFAULT_MAX_BYTES,
    EDGE_BYTES,
    ENTRY_BYTES,
    MAX_NAME,
    MAX_NESTING,
    MAX_PATH,
    NODE_BYTES,
)
from nirtorch_cli.reading.node_builder import NodeBuilder
from nirtorch_cli.reading.sources import Source, name_of, shown, text_of
from nirtorch_cli.reading.unknown_nodes import UnknownNode, type_meant

_REFUSALS = ("NIR010", "NIR011", "NIR014", "NIR017")
"""Codes of findings that stop the reading of a file."""

_MOST_ALIKE = 8
"""More findings of one code on one node than this are reported as one."""

_MOST_NODES = 100
"""At most this many nodes that cannot be read are reported."""


@dataclass(frozen=True)
class ModelFile:
    """A `.nir` file that was read.

    max_bytes: how much memory it may take. sha256: of its bytes, in hexadecimal.
    """

    graph: nir.NIRGraph
    version: str | None
    name: str
    findings: tuple[Finding, ...] = ()
    max_bytes: int = DEFAULT_MAX_BYTES
    sha256: str | None = None


def read(source: Source, *, max_bytes: int | None = None, maps: bool = False) -> ModelFile:
    """Read a `.nir` file.

    Arguments:
        source: a path, the bytes of a file, or a binary stream, which is read to its end.
        max_bytes: refuse a file whose data and objects together claim more than this; None for 1
        GiB, or eight times the size of the file if that is more.
        maps: leave large data that are not packed in the file, from where they are loaded when they
        are used. For as long as they are, nobody must change the file in place.

    Raises:
        ReadError: it does not exist, is not an HDF5 file, is damaged, holds no NIR graph, or is
        refused for safety. ShapeError: parameters of one node have shapes that do not fit together.
    """
    name = name_of(source)
    noticed: list[Finding] = []
    try:
        with opened(source, max_bytes, maps=maps) as store:
            return _Reader(store, noticed).model(name)
    except (ReadError, ShapeError) as error:
        error.context = (*folded(noticed), *error.findings)
        raise error.of(name) from error.__cause__


@dataclass
class _Reader:
    """Reads one file and collects findings."""

    store: Store
    findings: list[Finding]
    without_slash: dict[tuple[tuple[str, ...], str], str] = field(default_factory=dict)

    def model(self, name: str) -> ModelFile:
        members = self.store.members(self.store.root, None, "/")
        version = self.version(members["version"]) if "version" in members else None
        graph = self.node(*self.root(members))
        if isinstance(graph, UnknownNode):
            raise ReadError(graph.finding())
        if not isinstance(graph, nir.NIRGraph):
            # nir.write stores a single node too; a graph around it needs no assumption.
            graph = nir.NIRGraph.from_list(graph, type_check=False)
        findings = tuple(finding.of(name) for finding in folded(self.findings))
        digest = self.store.sha256()
        return ModelFile(graph, version, name, findings, self.store.max_bytes, digest)

    def version(self, member: Member) -> str | None:
        value = self.store.value(member, None, "version")
        if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "SO":
            value = text_of(value.item())
        if not isinstance(value, str):
            self.assume("NIR018", None, "version", "is not text", hint="not used")
            return None
        return shown(value, MAX_NAME)

    def root(
        self, members: dict[str, Member]
    ) -> tuple[dict[str, Member], tuple[str, ...], str | None]:
        """The members of the graph's group, wherever in the file it is."""
        if "node" in members:
            return self.store.members(members["node"], None, "node"), (), None
        rest = {name: member for name, member in members.items() if name != "version"}
        if {"nodes", "edges"} <= rest.keys():
            text = "the graph is at the root of the file, not in a group 'node'"
            self.assume("NIR018", None, None, text, hint="read all the same")
            return rest, (), "NIRGraph"
        groups = {name: member for name, member in rest.items() if self.store.is_group(member)}
        if len(groups) == 1:
            name, member = groups.popitem()
            inside = self.store.members(member, None, name)
            if "type" in inside or {"nodes", "edges"} <= inside.keys():
                text = f"the graph is in a group {quoted(shown(name))}, not 'node'"
                self.assume("NIR018", None, None, text, hint="read all the same")
                return inside, (), None
        hint = "it is an HDF5 file, but does not hold a NIR graph"
        raise ReadError("NIR003", "has no group 'node'", None, hint=hint)

    def node(
        self, members: dict[str, Member], path: tuple[str, ...], kind: str | None = None
    ) -> nir.NIRNode:
        """A node from the members of its group; `kind` is its type, if that is known already."""
        where = "/".join(path) or None
        if where is not None and len(where) > MAX_PATH:
            text = f"names of {len(where):,} characters, with those of the graphs around"
            raise ReadError("NIR017", text, shown(where), hint=f"{MAX_PATH:,} are the most")
        if kind is None and "type" not in members and "nodes" in members:
            self.assume("NIR018", where, "type", "is not in the file", hint="read as a NIRGraph")
            kind = "NIRGraph"
        if kind is None and "type" not in members:
            text = "has no type, as an interrupted nir.write leaves a node"
            hint = "write the file again; nir 1.0.8 fails where a parameter is a single number"
            raise ReadError("NIR024", text, where, hint=hint)
        kind = kind or self.text(members, "type", where)
        meant = type_meant(kind)
        if meant is None:
            return self.unknown_node(kind, members, where)
        if meant != kind:
            self.assume("NIR018", where, "type", f"is {quoted(kind)}", hint=f"read as {meant}")
        if meant == "NIRGraph":
            return self.graph(members, path)
        return self.primitive(meant, members, where)

    def unknown_node(self, kind: str, members: dict[str, Member], where: str | None) -> nir.NIRNode:
        """A node of a type that only a map can know; a rule reports it."""
        parameters = {}
        for name in sorted(members.keys() - {"type", "metadata"}):
            if not self.store.is_group(members[name]):
                value = self.optional(members[name], where, name)
                if value is not None:
                    parameters[name] = value
        return UnknownNode(kind, parameters, self.metadata(members, where))

    def graph(self, members: dict[str, Member], path: tuple[str, ...]) -> nir.NIRGraph:
        where = "/".join(path) or None
        if len(path) > MAX_NESTING:
            raise ReadError("NIR011", f"graphs nested over {MAX_NESTING} deep", path[0])
        if "nodes" not in members:
            raise ReadError("NIR006", "a NIRGraph without 'nodes'", where)
        nodes = self.nodes(
            self.store.members(members["nodes"], where, "nodes", NODE_BYTES, "nodes"), path
        )
        edges = self.edges(members.get("edges"), nodes, where)
        edges = [(self.dotted(path, source), self.dotted(path, target)) for source, target in edges]
        metadata = self.metadata(members, where)
        self.unknown(members.keys() - {"nodes", "edges", "metadata", "type"}, where)
        return nir.NIRGraph(nodes, edges, metadata, type_check=False)

    def nodes(self, members: dict[str, Member], path: tuple[str, ...]) -> dict[str, nir.NIRNode]:
        """The nodes of a graph; reports every node that cannot be read, not only the first."""
        nodes: dict[str, nir.NIRNode] = {}
        problems: list[ReadError | ShapeError] = []
        waiting = list(members.items())[::-1]
        while waiting:
            name, member = waiting.pop()
            where = "/".join((*path, name))
            try:
                inside = self.store.members(member, where, name)
                if self.is_part_of_a_name(inside) and name.count("/") < MAX_NESTING:
                    self.store.claim(len(inside) * NODE_BYTES, where, None, "nodes")
                    waiting += [(f"{name}/{part}", inner) for part, inner in inside.items()][::-1]
                    continue
                known = self.renamed(name, path, {*members, *nodes})
                nodes[known] = self.node(inside, (*path, known))
            except (ReadError, ShapeError) as error:
                if any(finding.code in _REFUSALS for finding in error.findings):
                    raise
                problems.append(error)
                if len(problems) == _MOST_NODES:
                    break
        if problems:
            unknown = {name: node for name, node in nodes.items() if isinstance(node, UnknownNode)}
            findings = [node.finding("/".join((*path, name))) for name, node in unknown.items()]
            findings += [finding for error in problems for finding in error.findings]
            worst = next((e for e in problems if isinstance(e, ReadError)), problems[0])
            raise type(worst)(findings) from worst.__cause__
        return nodes

    def is_part_of_a_name(self, members: dict[str, Member]) -> bool:
        """Whether a group stands for the part before a slash in the names of the nodes in it."""
        if not members or not members.keys().isdisjoint(("type", "nodes", "edges")):
            return False
        return all(self.store.is_group(member) for member in members.values())

    def renamed(self, name: str, path: tuple[str, ...], taken: set[str]) -> str:
        """A node's name without slashes, which HDF5 treats as borders of groups."""
        if "/" not in name:
            return name
        known = name.replace("/", ".")
        while known in taken:
            known += "_"
        self.without_slash[path, name] = known
        where = "/".join((*path, known))
        text = f"the name {quoted(name)} has a slash, which HDF5 turned into groups"
        done, repair = f"read as {quoted(known)}", "slash-in-name"
        finding = Finding("NIR019", "warning", text, where, None, done, None, repair)
        self.findings.append(finding)
        return known

    def dotted(self, path: tuple[str, ...], name: str) -> str:
        return self.without_slash.get((path, name), name)

    def edges(
        self, member: Member | None, nodes: Iterable[str], where: str | None
    ) -> list[tuple[str, str]]:
        value = None if member is None else self.store.value(member, where, "edges")
        if value is None:
            self.assume("NIR012", where, "edges", "are not in the file; taken as empty", "warning")
            return []
        table = np.asarray(value)
        if table.size == 0:
            return []
        if table.ndim != 2 or table.shape[1] != 2:
            text = f"has the shape {table.shape}, not (number of edges, 2)"
            raise ReadError("NIR007", text, where, "edges")
        if table.dtype.kind != "O":  # the size of texts was counted before they were read
            self.store.claim(len(table) * EDGE_BYTES, where, "edges", f"{len(table):,} edges")
        if table.dtype.kind in "iu":
            return self.numbered(table, nodes, where)
        if table.dtype.kind not in "SO":
            text = f"holds {table.dtype}, not the names of nodes"
            raise ReadError("NIR007", text, where, "edges")
        names = {text: text_of(text) for row in table.tolist() for text in row}
        longest = max(names.values(), key=len)
        if len(longest) > MAX_NAME:
            text = f"a name of {len(longest):,} characters, {quoted(shown(longest))}"
            raise ReadError("NIR017", text, where, "edges", f"{MAX_NAME:,} are the most")
        return [(names[source], names[target]) for source, target in table.tolist()]

    def numbered(
        self, table: Array, nodes: Iterable[str], where: str | None
    ) -> list[tuple[str, str]]:
        """Edges from before 0.1: nodes had no names but were numbered."""
        if set(map(str, np.unique(table).tolist())) - set(nodes):
            text = f"holds {table.dtype}, not the names of nodes"
            raise ReadError("NIR007", text, where, "edges")
        self.assume("NIR018", where, "edges", "has numbers", hint="read as names of nodes")
        return [(str(source), str(target)) for source, target in table.tolist()]

    def primitive(self, kind: str, members: dict[str, Member], where: str | None) -> nir.NIRNode:
        fields = primitive_named(kind)
        assert fields is not None
        for old, new in OLD_NAMES.items():
            if old in members and new in fields.fields and new not in members:
                self.assume("NIR018", where, old, "is an old name", hint=f"read as {new}")
                members[new] = members.pop(old)
        missing = [name for name in fields.required if name not in members]
        if missing:
            raise ReadError("NIR006", f"{kind} without {listed(missing)}", where)
        values = {
            name: self.value(members[name], where, name)
            for name in fields.fields
            if name in members
        }
        self.unknown(members.keys() - values.keys() - {"type", "metadata"}, where)
        builder = NodeBuilder(
            kind,
            where,
            self.findings.append,
            lambda size, name: self.store.claim(size, where, name),
        )
        return builder.build(values, self.metadata(members, where))

    def value(self, member: Member, where: str | None, name: str) -> Any:
        """A field; some files store a shape in a group of its own."""
        if name in SHAPES and self.store.is_group(member):
            inside = self.store.members(member, where, name)
            if len(inside) != 1:
                raise ReadError("NIR004", "is not a dataset", where, name)
            self.assume("NIR018", where, name, "is a group", hint="read the dataset in it")
            member = next(iter(inside.values()))
        return self.store.value(member, where, name)

    def metadata(self, members: dict[str, Member], where: str | None) -> dict[str, Any]:
        if "metadata" not in members:
            return {}
        if not self.store.is_group(members["metadata"]):
            self.assume("NIR016", where, "metadata", "is not a group; skipped")
            return {}
        return self.dictionary(members["metadata"], where, ("metadata",))

    def dictionary(
        self, member: Member, where: str | None, path: tuple[str, ...]
    ) -> dict[str, Any]:
        name = "/".join(path)
        if len(path) > MAX_NESTING:
            raise ReadError("NIR011", f"nested over {MAX_NESTING} deep", where, path[0])
        if len(name) > MAX_PATH:
            text = f"names of {len(name):,} characters"
            raise ReadError("NIR017", text, where, "metadata", f"{MAX_PATH:,} are the most")
        entries: dict[str, Any] = {}
        inside = self.store.members(member, where, name, ENTRY_BYTES, "entries of metadata")
        for key, inner in inside.items():
            if self.store.is_group(inner):
                entries[key] = self.dictionary(inner, where, (*path, key))
                continue
            value = self.optional(inner, where, f"{name}/{key}")
            if value is None:
                # Nothing that a module computes depends on metadata.
                self.assume("NIR016", where, f"{name}/{key}", "cannot be read; skipped")
            else:
                entries[key] = value
        return entries

    def optional(self, member: Member, where: str | None, name: str) -> Any:
        """A dataset that is not needed for the rest; None if it holds no numbers or text."""
        try:
            return self.store.value(member, where, name)
        except ReadError as error:
            if error.findings[0].code not in ("NIR004", "NIR016"):
                raise
            return None

    def text(self, members: dict[str, Member], name: str, where: str | None) -> str:
        if name not in members:
            raise ReadError("NIR006", f"a node without {quoted(name)}", where)
        value = self.store.value(members[name], where, name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
            self.assume("NIR018", where, name, "is an array of one text", hint="read as the text")
        if not isinstance(value, (str, bytes)):
            raise ReadError("NIR005", "is not text", where, name)
        if len(value) > MAX_NAME:
            text = f"a text of {len(value):,} characters, {quoted(shown(text_of(value)))}"
            raise ReadError("NIR017", text, where, name, f"{MAX_NAME:,} are the most")
        return text_of(value)

    def unknown(self, names: set[str], where: str | None) -> None:
        if not names:
            return
        found = [
            Finding("NIR015", "warning", "is not a field of this node type; not used", where, name)
            for name in sorted(names)[: _MOST_ALIKE + 1]
        ]
        if len(names) > _MOST_ALIKE:
            text = f"{len(names):,} fields that this node type does not have; not used"
            found = [Finding("NIR015", "warning", text, where, None)]
        self.findings += found

    def assume(
        self,
        code: str,
        where: str | None,
        parameter: str | None,
        message: str,
        severity: Severity | None = None,
        hint: str | None = None,
    ) -> None:
        usual: Severity = "info" if code == "NIR018" else "warning"
        self.findings.append(Finding(code, severity or usual, message, where, parameter, hint))


def folded(findings: list[Finding]) -> list[Finding]:
    """One finding instead of many of one code on one node, at the index of the first."""
    groups: dict[tuple[str, str | None], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.node), []).append(finding)
    result = []
    for group in groups.values():
        if len(group) > _MOST_ALIKE:
            others = listed([shown(str(finding.parameter)) for finding in group[1:]], 3)
            text = f"{group[0].message}; also {others}"
            group = [replace(group[0], message=text)]
        result += group
    return result
