"""Node maps: from NIR node types to functions that make a torch module of a node.

In: the user's map and the default one. Out: one map, every entry of which was looked at,
and the function that it holds for a node. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import nir

from nirtorch_cli.errors import MapError
from nirtorch_cli.findings import Finding
from nirtorch_cli.reading.unknown_nodes import UnknownNode

Mapper = Callable[[Any], Any]
"""Takes a node; returns a `torch.nn.Module`, or None to skip the node."""

NodeMapping = Mapping[Any, Mapper]
"""By node type of nir, or by the name of a type, which may be one that nir does not have."""


def merged_map(node_map: NodeMapping, default_map: NodeMapping) -> NodeMapping:
    """`node_map` over `default_map`.

    Raises:
        MapError: one is no mapping, a key is no NIR node type, or a value cannot be called.
    """
    for name, mapping in (("node_map", node_map), ("default_map", default_map)):
        if not isinstance(mapping, Mapping):
            text = f"{name} is no mapping but {type(mapping).__name__}"
            raise MapError(Finding("NIR503", "error", text))
        check_entries(mapping, name)
    named = {meant.__name__: meant for meant in _types()}
    return {**default_map, **{named.get(str(key), key): value for key, value in node_map.items()}}


def _types() -> list[type[nir.NIRNode]]:
    """The node types of nir."""
    types = [kind for kind in vars(nir.ir).values() if isinstance(kind, type)]
    return [kind for kind in types if issubclass(kind, nir.NIRNode)]


def check_entries(mapping: Mapping[Any, Any], name: str) -> None:
    """Look at every entry of a map; `name` is what messages call it.

    Raises:
        MapError: lists every key that is no NIR node type and every value that cannot be called.
    """
    findings = []
    for key, value in mapping.items():
        is_type = isinstance(key, type) and issubclass(key, nir.NIRNode)
        if not is_type and not (isinstance(key, str) and key):
            text = f"{name}: the key {key!r} is no NIR node type"
            hint = "use a class such as nir.LIF, or the name of a type"
            findings.append(Finding("NIR504", "error", text, hint=hint))
        elif not callable(value):
            kind = key if isinstance(key, str) else key.__name__
            text = f"{name}: the value for {kind} is {value!r}, which cannot be called"
            hint = "use a function that takes a node and returns a module"
            findings.append(Finding("NIR505", "error", text, hint=hint))
    if findings:
        raise MapError(findings)


def mapper_of(node: nir.NIRNode, node_map: NodeMapping) -> Mapper | None:
    """The function for a node: of its own type, or of the nearest base class in the map.

    For a type that nir does not have, the one under the name of the type.
    """
    if isinstance(node, UnknownNode):
        return node_map.get(node.type_name)
    for kind in type(node).__mro__:
        if kind in node_map:
            return node_map[kind]
    return None
