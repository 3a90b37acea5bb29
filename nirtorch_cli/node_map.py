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

Mapper = Callable[[Any], Any]
"""Takes a node; returns a `torch.nn.Module`, or None to skip the node."""

NodeMapping = Mapping[type[nir.NIRNode], Mapper]


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
    return {**default_map, **node_map}


def check_entries(mapping: Mapping[Any, Any], name: str) -> None:
    """Look at every entry of a map; `name` is what messages call it.

    Raises:
        MapError: lists every key that is no NIR node type and every value that cannot be called.
    """
    findings = []
    for key, value in mapping.items():
        if not (isinstance(key, type) and issubclass(key, nir.NIRNode)):
            text = f"{name}: the key {key!r} is no NIR node type"
            findings.append(Finding("NIR504", "error", text, hint="use a class such as nir.LIF"))
        elif not callable(value):
            text = f"{name}: the value for {key.__name__} is {value!r}, which cannot be called"
            hint = "use a function that takes a node and returns a module"
            findings.append(Finding("NIR505", "error", text, hint=hint))
    if findings:
        raise MapError(findings)


def mapper_of(node: nir.NIRNode, node_map: NodeMapping) -> Mapper | None:
    """The function for a node: of its own type, or of the nearest base class in the map."""
    for kind in type(node).__mro__:
        if kind in node_map:
            return node_map[kind]
    return None
