"""The Python module that a `--map` spec names, found where installed modules come first.

In: the part of a spec that names a module or a file. Out: the module. Its folder is importable only
meanwhile, after everything that is installed, because it may hold a file for every module that this
program or its dependencies import. So an installed module of the same name wins, and the folder is
not searched for it.

Importing a module runs its code, which is the purpose.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from nirtorch_cli.findings.errors import MapError, MissingFrameworkError
from nirtorch_cli.findings.suggestions import did_you_mean, did_you_mean_file
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.findings.tracebacks import is_interrupt, reason

ENTRY_POINT_GROUP = "nirtorch.maps"


def installed_packs() -> dict[str, EntryPoint]:
    """The maps that installed distributions offer, by name."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


_OPTIONS = re.compile(r"(?P<where>.+?):(?P<options>[A-Za-z_]\w*=.*)")
"""A spec with options: they begin at the first colon that a name and `=` follow."""

LAYERS = "layers"
"""The attribute of a pack that stands for the framework's own layers."""


def spec_options(spec: str) -> tuple[str, dict[str, str]]:
    """A spec without its options, `where:ATTR`, and these by name.

    >>> spec_options("sinabs:spikes=single,min_v_mem=-1")
    ('sinabs', {'spikes': 'single', 'min_v_mem': '-1'})

    Raises:
        MapError: an option is given twice, or has no value.
    """
    spec = spec.replace(f":{LAYERS},", f":{LAYERS}:", 1)
    match = _OPTIONS.fullmatch(spec)
    if match is None:
        return spec, {}
    found: dict[str, str] = {}
    for part in match["options"].split(","):
        name, equals, value = part.partition("=")
        if not equals or name in found:
            text = f"says {name} twice" if equals else f"the option {quoted(part)} has no value"
            raise problem(spec, "NIR516", text, "options are name=value, with commas between")
        found[name] = value
    return match["where"], found


def split_spec(spec: str) -> tuple[str, str | None]:
    """`where:ATTR:options` into the first two; the colon of a Windows drive is no separator.

    Raises:
        MapError: it does not have a known form.
    """
    spec, _ = spec_options(spec)
    path, colon, attribute = spec.rpartition(":")
    is_drive = len(path) == 1 and attribute[:1] in ("\\", "/")
    if not colon or is_drive:
        path, attribute = spec, ""
    is_relative = path.startswith(".") and not path.endswith(".py")
    if not path or is_relative or (colon and not is_drive and not attribute):
        raise problem(spec, "NIR510", "is not of the form MODULE:ATTR, FILE.py:ATTR or PACK")
    return path, attribute or None


@contextlib.contextmanager
def importable(folders: Iterable[str]) -> Iterator[None]:
    """While open, modules in these folders can be imported, unless one of the name is installed.

    No bytecode is left in them.
    """
    named = list(dict.fromkeys(folders))
    added = [folder for folder in named if folder not in sys.path]
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, bool(named) or sys.dont_write_bytecode
    sys.path.extend(added)
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote
        for folder in added:
            with contextlib.suppress(ValueError):  # taken off by the code that was imported
                sys.path.remove(folder)


def pack_of(spec: str) -> EntryPoint | None:
    """The installed pack that a spec names, by itself or with its layers; else None."""
    path, attribute = split_spec(spec)
    if attribute not in (None, LAYERS) or path.endswith(".py"):
        return None
    return installed_packs().get(path)


def map_folders(specs: Sequence[str]) -> list[str]:
    """The folders that specs name modules of: those of files, and the current one.

    The current one only if a module of it was imported for a spec.
    """
    folders = []
    for spec in specs:
        path, _ = split_spec(spec)
        if pack_of(spec) is not None:
            continue
        if path.endswith(".py"):
            folders.append(str(Path(path).resolve().parent))
            continue
        module = sys.modules.get(path.partition(".")[0])
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        here = current_folder()
        if here and any(os.path.dirname(os.path.abspath(place)) == here for place in places):
            folders.append(here)
    return folders


def current_folder() -> str | None:
    """The current folder; None if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


def module_of(spec: str) -> ModuleType:
    """The module of a spec that names a module or a file.

    Raises:
        MapError: it does not exist, or raised.
    """
    path, _ = split_spec(spec)
    pack = pack_of(spec)
    if pack is not None:
        return importlib.import_module(pack.module)
    return _file_module(spec, Path(path)) if path.endswith(".py") else _named_module(spec, path)


def _named_module(spec: str, name: str) -> ModuleType:
    here = current_folder()
    packs = installed_packs()
    with user_code(spec):
        for folders in ((), (here,) if here else ()):
            try:
                with importable(folders):
                    return importlib.import_module(name)
            except ModuleNotFoundError as error:
                missing = error.name
                if missing is None or not f"{name}.".startswith(f"{missing}."):
                    raise  # the module is there, and imports another
                cause = error
        text = f"no module {cause.name!r} here or installed"
        hint = f"a file is named with its path (maps.py:MAP); installed packs: {', '.join(packs)}"
        hint = did_you_mean(name, [*packs, *_modules_in(here)]) or hint
        raise problem(spec, "NIR511", text, hint) from cause


def _modules_in(folder: str | None) -> list[str]:
    """The modules and packages of a folder, by name."""
    if folder is None:
        return []
    try:
        found = sorted(Path(folder).iterdir())
    except OSError:
        return []
    return [p.stem for p in found if p.suffix == ".py" or (p / "__init__.py").is_file()]


def _file_module(spec: str, path: Path) -> ModuleType:
    """A module from a file, under the file's own name so that what it defines can be pickled."""
    if not path.is_file():
        hint = did_you_mean_file(str(path))
        raise problem(spec, "NIR511", f"no file {quoted(str(path))}", hint)
    name, resolved = path.stem, path.resolve()
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(resolved):
        return loaded
    if loaded is not None or not name.isidentifier() or _is_installed(name, resolved):
        # Another module has this name already, and must not be replaced.
        digest = hashlib.blake2s(str(resolved).encode("utf8", "replace"), digest_size=4)
        name = f"nirtorch_map_{digest.hexdigest()}"
    specification = importlib.util.spec_from_file_location(name, resolved)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        with importable([str(resolved.parent)]), user_code(spec):
            specification.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _is_installed(name: str, path: Path) -> bool:
    """Whether an import of this name would find another module than the one in this file."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    return found is not None and found.origin != str(path)


def problem(spec: str, code: str, message: str, hint: str | None = None) -> MapError:
    """The error for a spec."""
    return MapError(code, f"--map {spec}: {message}", hint=hint)


@contextlib.contextmanager
def user_code(spec: str, distribution: str | None = None) -> Iterator[None]:
    """Report where the code of a spec raised.

    `sys.exit()` in it is an error too: it must not end the program with exit code 0.

    Arguments:
        distribution: what to install where a pack misses a module; None for the module's name.
    """
    try:
        yield
    except (MapError, MissingFrameworkError):
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        if isinstance(error, ModuleNotFoundError) and pack_of(spec) is not None:
            text = f"--map {spec}: the pack needs {error.name!r}, which is not installed"
            needed = distribution or (error.name or "").partition(".")[0]
            raise MissingFrameworkError(text, hint=f"pip install {needed}") from error
        raise _raised(spec, error) from error


def _raised(spec: str, error: BaseException) -> MapError:
    """The user's code raised: say where in it."""
    said = reason(error)
    if isinstance(error, SyntaxError) and error.filename:
        said = f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}"
    else:
        ours = str(Path(__file__).parents[1]) + os.sep
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith((ours, "<frozen", importlib.__path__[0]))
        ]
        if frames:
            said = f"{frames[0].filename}:{frames[0].lineno}: {said}"
    return problem(spec, "NIR515", f"raised {said}", "--debug shows the traceback")
