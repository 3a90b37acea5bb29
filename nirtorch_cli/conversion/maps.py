"""`--map` specs to one node map.

A spec is `package.module:ATTR`, `package.module` (its attribute MAP), `path/to/file.py:ATTR`,
or the name of an installed pack (entry points of the group `nirtorch.maps`). ATTR may be
nested with dots. It is a mapping, or a function that returns one and is handed those of the
conversion's options that its signature names. Of several specs, later ones win.

Loading a spec runs the code that it names, which is the purpose. See `importing` for where
modules are found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from nirtorch_cli.conversion.importing import (
    importable,
    installed_packs,
    map_folders,
    module_of,
    problem,
    split_spec,
    user_code,
)
from nirtorch_cli.conversion.node_map import check_entries
from nirtorch_cli.findings.errors import MapError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted

DEFAULT_ATTRIBUTE = "MAP"


@dataclass(frozen=True)
class MapOptions:
    """What a function that makes a map may ask for, by parameter name."""

    dt: float
    integration: str = "euler"
    reset: str = "value"
    integrator_input: str = "charge"
    surrogate: Any = "atan"
    device: Any = "cpu"
    dtype: Any = None


def load_maps(specs: Sequence[str], options: MapOptions) -> dict[Any, Callable[[Any], Any]]:
    """The maps of all specs as one; later specs win.

    Raises:
        MapError: a spec does not lead to a node map; lists every such spec.
        MissingFrameworkError: an installed pack needs a framework that is not there.
    """
    merged: dict[Any, Callable[[Any], Any]] = {}
    for _, mapping in loaded_maps(specs, options):
        merged.update(mapping)
    return merged


def loaded_maps(
    specs: Sequence[str], options: MapOptions
) -> list[tuple[str, dict[Any, Callable[[Any], Any]]]]:
    """Each spec with its map, whose entries are checked.

    Raises:
        MapError, MissingFrameworkError: as `load_maps`.
    """
    found: list[tuple[str, dict[Any, Callable[[Any], Any]]]] = []
    errors: list[MapError] = []
    for spec in specs:
        try:
            found.append((spec, load_map(spec, options)))
        except MapError as error:
            errors.append(error)
    if errors:
        findings = [finding for error in errors for finding in error.findings]
        raise MapError(findings) from errors[0].__cause__
    return found


def load_map(spec: str, options: MapOptions) -> dict[Any, Callable[[Any], Any]]:
    """The map of one spec as a dict; a user's own mapping class is read once."""
    attribute = _attribute_of(spec)
    with importable(map_folders([spec])), user_code(spec):
        mapping = dict(_as_mapping(spec, attribute, options))
        check_entries(mapping, f"--map {spec}")
    return mapping


def _attribute_of(spec: str) -> Any:
    """What a spec names, whatever that is."""
    path, attribute = split_spec(spec)
    if attribute is None and not path.endswith(".py"):
        pack = installed_packs().get(path)
        if pack is not None:
            with user_code(spec):
                return pack.load()
    return _nested_attribute(spec, module_of(spec), attribute or DEFAULT_ATTRIBUTE)


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
        return value
    if not callable(value):
        text = f"is {type(value).__name__}, neither a mapping nor a function that returns one"
        raise problem(spec, "NIR513", text)
    known = vars(options)
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
    unknown = [n for n, p in named.items() if n not in known and p.default is p.empty]
    if unknown:
        hint = f"it may ask for {', '.join(known)}"
        raise problem(spec, "NIR514", f"the function asks for {listed(unknown)}", hint)
    with user_code(spec):
        made = value(**{name: known[name] for name in named if name in known})
    if not isinstance(made, Mapping):
        text = f"the function returned {type(made).__name__}, not a mapping"
        raise problem(spec, "NIR513", text)
    return made
