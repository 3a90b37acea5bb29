"""`--map` specs to one node map.

A spec is `package.module:ATTR`, `package.module` (its attribute MAP), `path/to/file.py:ATTR`,
or the name of an installed pack (entry points of the group `nirtorch.maps`), with `:layers` for
the framework's own. ATTR may be nested with dots. It is a mapping, a `Pack`, or a function that
returns a mapping and is handed those of the conversion's options that its signature names. Its
other parameters are options of the spec, `:name=value,name=value`. Of several specs, later ones
win.

Loading a spec runs the code that it names, which is the purpose. See `importing` for where
modules are found.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any

import nir

from nirtorch_cli.conversion.importing import (
    LAYERS,
    importable,
    map_folders,
    module_of,
    pack_of,
    problem,
    spec_options,
    split_spec,
    user_code,
)
from nirtorch_cli.conversion.map_options import MapOptionError, converted_options
from nirtorch_cli.conversion.node_map import check_entries, mapper_of, takes_context
from nirtorch_cli.conversion.packs import Context, Pack, PackMap
from nirtorch_cli.findings.errors import MapError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.findings.tracebacks import message

DEFAULT_ATTRIBUTE = "MAP"

AUTO = "auto"
"""The spec that stands for the pack of the program that wrote the file."""


@dataclass(frozen=True)
class MapOptions:
    """What a function that makes a map may ask for, by parameter name."""

    dt: float
    integration: str = "euler"
    reset: str = "value"
    reset_delay: bool = False
    fire_at: str = "above"
    integrator_input: str = "charge"
    surrogate: Any = "atan"
    device: Any = "cpu"
    dtype: Any = None


NodeMapOf = dict[Any, Callable[..., Any]]


def load_maps(specs: Sequence[str], options: MapOptions) -> NodeMapOf:
    """The maps of all specs as one; later specs win.

    Raises:
        MapError: a spec does not lead to a node map; lists every such spec.
        MissingFrameworkError: an installed pack needs a framework that is not there.
    """
    merged: NodeMapOf = {}
    for _, mapping in loaded_maps(specs, options):
        merged.update(mapping)
    return merged


def loaded_maps(
    specs: Sequence[str],
    options: MapOptions,
    dt_of: Callable[[Pack], float] | None = None,
) -> list[tuple[str, NodeMapOf]]:
    """Each spec with its map, whose entries are checked; that of a pack is a `PackMap`.

    Arguments:
        dt_of: the length of a step by a pack, of which the last one settles it for all maps; None
            for that of the options.

    Raises:
        MapError, MissingFrameworkError: as `load_maps`.
    """
    found: list[tuple[str, NodeMapOf]] = []
    errors: list[MapError] = []
    named: list[tuple[str, Any]] = []
    for spec in specs:
        try:
            named.append((spec, attribute_of(spec)))
        except MapError as error:
            named.append((spec, error))
    packs = [attribute for _, attribute in named if isinstance(attribute, Pack)]
    if packs and dt_of is not None:
        options = replace(options, dt=dt_of(packs[-1]))
    for spec, attribute in named:
        try:
            if isinstance(attribute, MapError):
                raise attribute
            found.append((spec, _map_of(spec, attribute, options)))
        except MapError as error:
            errors.append(error)
    if errors:
        findings = [finding for error in errors for finding in error.findings]
        raise MapError(findings) from errors[0].__cause__
    return found


def load_map(spec: str, options: MapOptions) -> NodeMapOf:
    """The map of one spec as a dict."""
    return _map_of(spec, attribute_of(spec), options)


def _map_of(spec: str, attribute: Any, options: MapOptions) -> NodeMapOf:
    """The map that a spec's attribute is or makes; a user's own mapping class is read once."""
    with importable(map_folders([spec])), user_code(spec):
        mapping: NodeMapOf
        if isinstance(attribute, Pack):
            entries = _entries(spec, attribute)
            try:
                mapping = PackMap(attribute, _made(spec, entries, options, HANDED_TO_PACKS))
            except MapError as error:
                cause = error.__cause__
                is_said = isinstance(cause, MapOptionError)
                if isinstance(cause, (ValueError, OSError)) and not is_said:  # an option's value
                    text = message(cause)
                    raise problem(spec, "NIR516", text) from cause
                raise
        else:
            made = _as_mapping(spec, attribute, options)
            mapping = made if isinstance(made, PackMap) else dict(made)
        check_entries(mapping, f"--map {spec}")
    return mapping


def attribute_of(spec: str) -> Any:
    """What a spec names, whatever that is; of a pack's layers the pack."""
    _, attribute = split_spec(spec)
    pack = pack_of(spec)
    if pack is not None:
        with user_code(spec):
            return pack.load()
    return _nested_attribute(spec, module_of(spec), attribute or DEFAULT_ATTRIBUTE)


def _entries(spec: str, pack: Pack) -> Callable[..., Mapping[Any, Any]]:
    """The function that makes the entries of a pack: its equations, or its framework's layers."""
    if split_spec(spec)[1] != LAYERS:
        return pack.entries
    if pack.layers is None:
        raise problem(spec, "NIR512", f"the pack has no {LAYERS!r}")
    module, _, name = pack.layers.partition(":")
    with user_code(spec, pack.distribution):
        made: Callable[..., Mapping[Any, Any]] = getattr(importlib.import_module(module), name)
        return made


def _nested_attribute(spec: str, module: ModuleType, attribute: str) -> Any:
    value: Any = module
    for part in attribute.split("."):
        with user_code(spec):
            try:
                value = getattr(value, part)
            except AttributeError as error:
                there = [name for name in dir(value) if not name.startswith("_")]
                owner = quoted(getattr(value, "__name__", type(value).__name__))
                hint = did_you_mean(part, there)
                raise problem(spec, "NIR512", f"{owner} has no {part!r}", hint) from error
    return value


def _as_mapping(spec: str, value: Any, options: MapOptions) -> Mapping[Any, Any]:
    """The value itself if it is a mapping; else what it returns for the options it names."""
    if isinstance(value, Mapping):
        if spec_options(spec)[1]:
            raise problem(spec, "NIR516", "is a mapping, which has no options")
        return value
    if not callable(value):
        text = f"is {type(value).__name__}, neither a mapping nor a function that returns one"
        raise problem(spec, "NIR513", text)
    return _made(spec, value, options)


HANDED_TO_PACKS = ("dt", "surrogate", "device", "dtype")
"""What a pack may ask for; how a neuron is reset and fires is what it says itself."""


def _made(
    spec: str, value: Callable[..., Any], options: MapOptions, handed: Sequence[str] | None = None
) -> Mapping[Any, Any]:
    """What a function returns for the options it names, and for those of its spec.

    Arguments:
        handed: the options that it may name; None for all.
    """
    known = {n: v for n, v in vars(options).items() if handed is None or n in handed}
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError) as error:
        text = "is a built-in function, whose parameters are not known"
        raise problem(spec, "NIR514", text, "wrap it in a function") from error
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    try:
        given = converted_options(value, spec_options(spec)[1], known)
    except MapOptionError as error:
        raise problem(spec, "NIR516", str(error), error.hint) from error
    unknown = [n for n, p in named.items() if n not in (*known, *given) and p.default is p.empty]
    if unknown:
        hint = f"it may ask for {', '.join(known)}; others are given as {spec}:{unknown[0]}=..."
        raise problem(spec, "NIR514", f"the function asks for {listed(unknown)}", hint)
    with user_code(spec):
        made = value(**{name: known[name] for name in named if name in known}, **given)
    if not isinstance(made, Mapping):
        text = f"the function returned {type(made).__name__}, not a mapping"
        raise problem(spec, "NIR513", text)
    return made


def split_node_spec(text: str) -> tuple[str, str]:
    """The parts of `PATTERN=SPEC`.

    Raises:
        MapError: it does not have this form.
    """
    pattern, equals, spec = text.partition("=")
    if not pattern or not equals or not spec:
        said = f"--map-node {text}: is not of the form NODE=SPEC"
        raise MapError("NIR510", said, hint="NODE is the path of a node, or a pattern")
    return pattern, spec


def node_mappers(
    texts: Sequence[str], graph: nir.NIRGraph, options: MapOptions
) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Pattern, spec and mapper of each `--map-node`.

    Its spec names a mapper, `mymaps:li`, or a map, whose entry for the node's type is then used.

    Raises:
        MapError: a spec leads to neither, or no node has the name.
    """
    paths = list(_paths(graph, ""))
    for text in texts:
        pattern, spec = split_node_spec(text)
        if not any(fnmatch.fnmatchcase(path, pattern) for path in paths):
            hint = did_you_mean(pattern, paths) or f"the nodes are {listed(sorted(paths), most=5)}"
            said = f"--map-node {text}: no node {quoted(pattern)}"
            raise MapError("NIR510", said, hint=hint)
        attribute = attribute_of(spec)
        if isinstance(attribute, (Mapping, Pack)) or _is_factory(attribute):
            yield pattern, spec, EntryOf(_map_of(spec, attribute, options), spec)
        elif callable(attribute):
            yield pattern, spec, attribute
        else:
            kind = type(attribute).__name__
            raise problem(spec, "NIR513", f"is {kind}, neither a mapper nor a map")


def _is_factory(attribute: Any) -> bool:
    """Whether a function makes a map: it asks for nothing but options of the conversion."""
    if not callable(attribute) or inspect.isclass(attribute):
        return False
    try:
        parameters = inspect.signature(attribute).parameters
    except (TypeError, ValueError):
        return False
    return {*parameters} <= {field.name for field in fields(MapOptions)}


def _paths(graph: nir.NIRGraph, prefix: str) -> Iterator[str]:
    for name, node in graph.nodes.items():
        yield prefix + name
        if isinstance(node, nir.NIRGraph):
            yield from _paths(node, f"{prefix}{name}/")


@dataclass(frozen=True)
class EntryOf:
    """A mapper for single nodes: a map's entry for their type."""

    mapping: NodeMapOf
    spec: str

    def __call__(self, node: nir.NIRNode, context: Context) -> Any:
        mapper = mapper_of(node, self.mapping)
        if mapper is None:
            raise ValueError(f"the map {self.spec} has no entry for {type(node).__name__}")
        return mapper(node, context) if takes_context(mapper) else mapper(node)
