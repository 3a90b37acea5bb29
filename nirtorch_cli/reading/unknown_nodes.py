"""Nodes of types that nir does not have, kept as they are so that the rest can be shown.

In: the name of a type. Out: the known type, if the name is only spelled differently; otherwise an
`UnknownNode`, which a map can map by the name of its type. Cost: constant.
"""

from __future__ import annotations

import difflib
from typing import Any

import nir

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.primitives.table import known_types
from nirtorch_cli.reading.sources import shown


class UnknownNode(nir.NIRNode):  # type: ignore[misc]  # nir has no types
    """A node of a type that nir does not have.

    type_name: the type as named in the file. parameters: the fields that could be read, by name.
    Its shapes are not known.
    """

    def __init__(
        self, type_name: str, parameters: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        self.type_name, self.parameters = type_name, parameters
        self.metadata = metadata or {}
        self.input_type = {"input": None}
        self.output_type = {"output": None}

    def finding(self, where: str | None = None) -> Finding:
        """NIR005: the finding if no map has its type."""
        near = types_alike(self.type_name)
        meant = f"did you mean {listed(near)}? else " if near else ""
        entry = f"{{{shown(self.type_name)!r}: function}}"
        hint = f"{meant}give it a module with --map, by name: MAP = {entry}"
        text = f"unknown node type {quoted(shown(self.type_name))}, which nir {nir.version} lacks"
        return Finding("NIR005", "error", text, where, hint=hint)


def type_name(node: nir.NIRNode) -> str:
    """The name of a node's type in a file."""
    return node.type_name if isinstance(node, UnknownNode) else type(node).__name__


def type_meant(kind: str) -> str | None:
    """The known type of which a name is only another spelling, such as `CuBaLIF`."""
    return _by_plain_name().get(_plain(kind))


def types_alike(kind: str) -> list[str]:
    """The known types whose names are most similar to an unknown one."""
    plain = _by_plain_name()
    return [plain[name] for name in difflib.get_close_matches(_plain(kind), plain, n=2, cutoff=0.6)]


def _by_plain_name() -> dict[str, str]:
    return {_plain(name): name for name in (*known_types(), "NIRGraph")}


def _plain(kind: str) -> str:
    return "".join(letter for letter in kind.lower() if letter.isalnum())
