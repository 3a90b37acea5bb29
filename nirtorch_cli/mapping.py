"""`--map` specs to one node map.

A spec is `package.module:ATTR`, `package.module` (its attribute MAP), `path/to/file.py:ATTR`,
or the name of an installed pack (entry points of the group `nirtorch.maps`). ATTR may be
nested with dots. It is a mapping, or a function that returns one and is handed those of the
conversion's options that its signature names. Of several specs, later ones win.

Loading a spec runs the code that it names; that is what it is for.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from nirtorch_cli.errors import MapError, MissingFrameworkError
from nirtorch_cli.findings import Finding, listed, quoted
from nirtorch_cli.node_map import check_entries
from nirtorch_cli.tracebacks import is_interrupt, reason

ENTRY_POINT_GROUP = "nirtorch.maps"
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
    """Each spec with its map, every entry of which was looked at.

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
    """The map of one spec, as a dict: a mapping of a user's own class is asked once."""
    attribute = _attribute_of(spec)
    with _user_code(spec):
        mapping = dict(_as_mapping(spec, attribute, options))
        check_entries(mapping, f"--map {spec}")
    return mapping


def installed_packs() -> dict[str, EntryPoint]:
    """The maps that installed distributions offer, by name."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


def _attribute_of(spec: str) -> Any:
    """What a spec names, whatever that is."""
    path, attribute = _split(spec)
    if attribute is None and not path.endswith(".py"):
        pack = installed_packs().get(path)
        if pack is not None:
            with _user_code(spec):
                return pack.load()
    is_file = path.endswith(".py")
    module = _file_module(spec, Path(path)) if is_file else _named_module(spec, path)
    return _nested_attribute(spec, module, attribute or DEFAULT_ATTRIBUTE)


def _split(spec: str) -> tuple[str, str | None]:
    """`where:ATTR` into its halves; the colon of a Windows drive is no separator."""
    path, colon, attribute = spec.rpartition(":")
    is_drive = len(path) == 1 and attribute[:1] in ("\\", "/")
    if not colon or is_drive:
        path, attribute = spec, ""
    is_relative = path.startswith(".") and not path.endswith(".py")
    if not path or is_relative or (colon and not is_drive and not attribute):
        raise _problem(spec, "NIR510", "is not of the form MODULE:ATTR, FILE.py:ATTR or PACK")
    return path, attribute or None


def _named_module(spec: str, name: str) -> ModuleType:
    _make_importable(os.getcwd())
    with _user_code(spec):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name
            if missing is None or not f"{name}.".startswith(f"{missing}."):
                raise  # the module is there, and imports another
            packs = ", ".join(installed_packs()) or "none"
            text = f"no module {missing!r}; searched {os.pathsep.join(p or '.' for p in sys.path)}"
            hint = f"a file is named with its path (maps.py:MAP); installed packs: {packs}"
            raise _problem(spec, "NIR511", text, hint) from error


def _file_module(spec: str, path: Path) -> ModuleType:
    """A module from a file, under the file's own name so that what it defines can be pickled."""
    if not path.is_file():
        raise _problem(spec, "NIR511", f"no file {quoted(str(path))}")
    name, resolved = path.stem, path.resolve()
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(resolved):
        return loaded
    if loaded is not None or not name.isidentifier():
        # Another module has this name already: this one must not take its place.
        digest = hashlib.blake2s(str(resolved).encode("utf8", "replace"), digest_size=4)
        name = f"nirtorch_map_{digest.hexdigest()}"
    _make_importable(str(resolved.parent))
    specification = importlib.util.spec_from_file_location(name, resolved)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        with _user_code(spec):
            specification.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _make_importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _nested_attribute(spec: str, module: ModuleType, attribute: str) -> Any:
    value: Any = module
    for part in attribute.split("."):
        with _user_code(spec):
            try:
                value = getattr(value, part)
            except AttributeError as error:
                there = [name for name in dir(value) if not name.startswith("_")]
                near = difflib.get_close_matches(part, there, n=3, cutoff=0.5)
                same = [name for name in there if name.lower() == part.lower()]
                near = list(dict.fromkeys([*same, *near]))
                owner = quoted(getattr(value, "__name__", type(value).__name__))
                hint = f"did you mean {listed(near)}?" if near else None
                raise _problem(spec, "NIR512", f"{owner} has no {part!r}", hint) from error
    return value


def _as_mapping(spec: str, value: Any, options: MapOptions) -> Mapping[Any, Any]:
    """A mapping as it is; a function called with the options that it names."""
    if isinstance(value, Mapping):
        return value
    if not callable(value):
        text = f"is {type(value).__name__}, neither a mapping nor a function that returns one"
        raise _problem(spec, "NIR513", text)
    known = vars(options)
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError) as error:
        text = "is a built-in function, whose parameters are not known"
        raise _problem(spec, "NIR514", text, "wrap it in a function") from error
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    unknown = [n for n, p in named.items() if n not in known and p.default is p.empty]
    if unknown:
        hint = f"it may ask for {', '.join(known)}"
        raise _problem(spec, "NIR514", f"the function asks for {listed(unknown)}", hint)
    with _user_code(spec):
        made = value(**{name: known[name] for name in named if name in known})
    if not isinstance(made, Mapping):
        text = f"the function returned {type(made).__name__}, not a mapping"
        raise _problem(spec, "NIR513", text)
    return made


def _problem(spec: str, code: str, message: str, hint: str | None = None) -> MapError:
    return MapError(Finding(code, "error", f"--map {spec}: {message}", hint=hint))


@contextlib.contextmanager
def _user_code(spec: str) -> Iterator[None]:
    """Say of what the code behind a spec raises where it did.

    `sys.exit()` in it is an error like any other: it must not end the program as done.
    """
    try:
        yield
    except (MapError, MissingFrameworkError):
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        if isinstance(error, ModuleNotFoundError) and spec in installed_packs():
            text = f"--map {spec}: the pack needs {error.name!r}, which is not installed"
            hint = f"pip install {(error.name or '').partition('.')[0]}"
            raise MissingFrameworkError(Finding("NIR520", "error", text, hint=hint)) from error
        raise _raised(spec, error) from error


def _raised(spec: str, error: BaseException) -> MapError:
    """The user's code raised: say where in it."""
    said = reason(error)
    if isinstance(error, SyntaxError) and error.filename:
        said = f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}"
    else:
        ours = str(Path(__file__).parent) + os.sep
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith((ours, "<frozen", importlib.__path__[0]))
        ]
        if frames:
            said = f"{frames[0].filename}:{frames[0].lineno}: {said}"
    return _problem(spec, "NIR515", f"raised {said}", "--debug shows the traceback")
