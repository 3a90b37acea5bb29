"""Node maps: from NIR node types to functions that make a torch module of a node.

In: the user's map and the default one. Out: one map, whose entries were checked, and its function
for a node. Does not load torch.
"""

from __future__ import annotations

import fnmatch
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nir

from nirtorch_cli.findings.errors import MapError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.tracebacks import reason
from nirtorch_cli.primitives.table import known_primitives
from nirtorch_cli.reading.unknown_nodes import UnknownNode

Mapper = Callable[..., Any]
"""Takes a node, and its `packs.Context` if it has a second parameter; returns a `torch.nn.Module`,
or None to skip the node."""

NodeMapping = Mapping[Any, Mapper]
"""By node type of nir; by the name of a type, which may be one that nir does not have; or by the
path of a node, or a pattern of paths."""


def merged_map(node_map: NodeMapping, default_map: NodeMapping) -> NodeMapping:
    """`node_map` over `default_map`.

    Raises:
        MapError: one is not a mapping, a key is not a NIR node type, or a value cannot be called.
    """
    for name, mapping in (("node_map", node_map), ("default_map", default_map)):
        if not isinstance(mapping, Mapping):
            text = f"{name} is not a mapping but {type(mapping).__name__}"
            raise MapError("NIR503", text)
        check_entries(mapping, name)
    known = {entry.name: entry.type for entry in known_primitives()}
    named = {**{meant.__name__: meant for meant in _types()}, **known}
    return {**default_map, **{named.get(str(key), key): value for key, value in node_map.items()}}


def _types() -> list[type[nir.NIRNode]]:
    """The node types of nir."""
    types = [kind for kind in vars(nir.ir).values() if isinstance(kind, type)]
    return [kind for kind in types if issubclass(kind, nir.NIRNode)]


def check_entries(mapping: Mapping[Any, Any], name: str) -> None:
    """Check every entry of a map; `name` is its name in messages.

    Raises:
        MapError: lists every key that is not a NIR node type and every value that cannot be called.
    """
    findings = []
    for key, value in mapping.items():
        is_type = isinstance(key, type) and issubclass(key, nir.NIRNode)
        if not is_type and not (isinstance(key, str) and key):
            text = f"{name}: the key {shown(key)} is not a NIR node type"
            hint = "use a class such as nir.LIF, the name of a type, or that of a node"
            findings.append(Finding("NIR504", "error", text, hint=hint))
        elif not callable(value):
            kind = key if isinstance(key, str) else key.__name__
            text = f"{name}: the value for {kind} is {shown(value)}, which cannot be called"
            hint = "use a function that takes a node and returns a module"
            findings.append(Finding("NIR505", "error", text, hint=hint))
    if findings:
        raise MapError(findings)


def patterns_of(node_map: NodeMapping) -> list[str]:
    """The keys of a merged map that may name nodes."""
    return [key for key in node_map if isinstance(key, str)]


def key_of(
    node: nir.NIRNode, node_map: NodeMapping, path: str = "", patterns: Sequence[str] = ()
) -> Any:
    """The key of a map that is for a node; None if there is none.

    It is the node's path, else the last pattern that fits it, else the node's type or the nearest
    base class that the map has.

    Arguments:
        path: of the node. patterns: `patterns_of` the map; none to go by the type alone.
    """
    if patterns:
        fitting = [key for key in patterns if fnmatch.fnmatchcase(path, key)]
        if fitting:
            return path if path in fitting else fitting[-1]
    if isinstance(node, UnknownNode):
        return node.type_name if node.type_name in node_map else None
    return next((kind for kind in type(node).__mro__ if kind in node_map), None)


def mapper_of(
    node: nir.NIRNode, node_map: NodeMapping, path: str = "", patterns: Sequence[str] = ()
) -> Mapper | None:
    """The function for a node, under its `key_of`."""
    key = key_of(node, node_map, path, patterns)
    return None if key is None else node_map[key]


def takes_context(mapper: Mapper) -> bool:
    """Whether a mapper asks for the surroundings of its node.

    That is by a parameter called context, or by a second one that must be given.
    """
    try:
        parameters = [*inspect.signature(mapper).parameters.values()]
    except (TypeError, ValueError):  # a built-in
        return False
    required = [
        one
        for one in parameters
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) > 1 or any(one.name == "context" for one in parameters)


def mapper_name(mapper: Mapper) -> str:
    """A mapper's name in messages: where it was defined, and its module."""
    while isinstance(mapper, functools.partial):
        mapper = mapper.func
    has_name = isinstance(mapper, (types.FunctionType, types.BuiltinFunctionType, type))
    named: Any = mapper if has_name else type(mapper)
    return f"{named.__module__}.{named.__qualname__}"


def shown(value: Any) -> str:
    """A value's repr, or why there is none."""
    try:
        return repr(value)
    except BaseException as error:  # a user's __repr__ may raise any error
        return f"a {type(value).__name__} whose repr raised {reason(error)}"
