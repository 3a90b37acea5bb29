"""`[tool.nirtorch]` of a pyproject.toml: options that a project gives its commands.

In: the file that --config names, or the nearest pyproject.toml with such a table, from the current
folder upwards; the command line, which wins. Out: the values for click's `default_map`, so that
they are taken as if they had been typed; and for commands that take many files, what single files
get.

    [tool.nirtorch]                       of all files
    dt = 1e-3
    exclude = ["old"]
    [[tool.nirtorch.per-file]]            of some; the last entry that fits a file wins
    files = "models/norse/*.nir"
    map = ["norse"]

Always holds: a file that was found, not named, runs no code: in it `map` can name installed packs
only, since whoever wrote the folder wrote it. A wrong key or value is refused, and the file named.
Cost: a look into each folder above.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nirtorch_cli.batch.collect import fits, is_name
from nirtorch_cli.conversion.options import CHOICES
from nirtorch_cli.findings.errors import MapError, UsageError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, quoted

NAME = "pyproject.toml"
TABLE, PER_FILE, FILES = "nirtorch", "per-file", "files"
META = "nirtorch.per_file"
"""Where click's context keeps what single files get."""


@dataclass(frozen=True)
class Key:
    """A key of the table: the parameter of commands that it is, and what it takes."""

    parameter: str
    takes: str
    fits: Callable[[Any], bool]
    of_files: bool = True


def _is_texts(value: Any) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_dt(value: Any) -> bool:
    return value == "auto" or (_is_number(value) and 0 < value < float("inf"))


def _is_size(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value > 0


def _choice(name: str) -> Key:
    options = CHOICES[name]
    return Key(name, f"one of {listed([*options])}", lambda value: value in options)


def _texts(parameter: str, of_files: bool = True) -> Key:
    return Key(parameter, "a text or a list of texts", _is_texts, of_files)


def _flag(parameter: str, of_files: bool = True) -> Key:
    return Key(parameter, "true or false", lambda value: isinstance(value, bool), of_files)


KEYS: Mapping[str, Key] = {
    "map": _texts("maps"),
    "map-node": _texts("map_nodes"),
    "skip-unmapped": _flag("skip_unmapped"),
    "dt": Key("dt", "'auto' or a positive number", _is_dt),
    "integration": _choice("integration"),
    "reset": _choice("reset"),
    "reset-delay": _flag("reset_delay"),
    "fire-at": _choice("fire_at"),
    "integrator-input": _choice("integrator_input"),
    "surrogate": _choice("surrogate"),
    "dtype": _choice("dtype"),
    "select": _texts("select"),
    "ignore": _texts("ignore"),
    "exclude": _texts("exclude", of_files=False),
    "strict": _flag("strict", of_files=False),
    "max-bytes": Key("max_bytes", "a whole number of bytes", _is_size, of_files=False),
}
"""The keys: the long options of commands, by their names without dashes in front."""

OF_MAPS = ("maps", "map_nodes")

Values = Mapping[str, Any]
"""Values by the name of a command's parameter."""


@dataclass(frozen=True)
class Config:
    """What a file says.

    path: of the file. is_named: whether the user named it. values: for all files. per_file: the
    patterns and the values of each entry.
    """

    path: str
    is_named: bool
    values: Values
    per_file: tuple[tuple[tuple[str, ...], Values], ...] = ()

    @property
    def folder(self) -> str:
        """The folder that its patterns and paths start from."""
        return os.path.dirname(os.path.abspath(self.path))

    def of_file(self, file: str) -> dict[str, Any]:
        """What its entries for single files say of one."""
        found: dict[str, Any] = {}
        for patterns, values in self.per_file:
            if any(fits(file, pattern, self.folder) for pattern in patterns):
                found.update(values)
        return found

    def shown(self, values: Values) -> str:
        """Values as the file has them, for a line on stderr."""
        names = {key.parameter: name for name, key in KEYS.items()}
        parts = []
        for parameter, value in values.items():
            texts = [str(one) for one in value] if isinstance(value, list) else [str(value)]
            parts.append(f"{names[parameter]} {','.join(texts)}")
        return "; ".join(parts)


def config_of(named: str | None, is_off: bool) -> Config | None:
    """The file that a command goes by; None if there is none.

    Arguments:
        named: what --config names.
        is_off: whether --no-config is given.

    Raises:
        UsageError: both are given; the file is not there, or wrong.
    """
    if named is not None:
        if is_off:
            raise UsageError("--config and --no-config exclude each other")
        return _read(named, is_named=True)
    return None if is_off else _found()


def _found() -> Config | None:
    """The nearest file with the table, in the current folder or above."""
    try:
        folder = os.getcwd()
    except OSError:  # it was deleted
        return None
    start = folder
    while True:
        path = os.path.join(folder, NAME)
        found = _read(path, is_named=False, start=start) if os.path.isfile(path) else None
        if found is not None:
            return found
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _read(path: str, *, is_named: bool, start: str = "") -> Config | None:
    """What a file says; None if it was not named, and has no such table."""
    shown = path if is_named else os.path.relpath(path, start)
    try:
        with open(path, encoding="utf8") as file:
            text = file.read()
    except (OSError, UnicodeError, ValueError) as error:
        if not is_named:
            return None  # not ours to complain of
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--config {quoted(path)}: {reason}") from error
    if not is_named and TABLE not in text:
        return None
    table = _table(text, shown)
    if table is None:
        if is_named:
            raise UsageError(f"--config {quoted(path)}: has no [tool.{TABLE}]")
        return None
    return _checked(table, shown, path, is_named)


def _table(text: str, shown: str) -> Any:
    """The table of a file; None if it has none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"is not TOML: {error}", file=shown, hint="--no-config") from error
    tool = found.get("tool", {})
    return tool.get(TABLE) if isinstance(tool, dict) else None


def _checked(table: Any, shown: str, path: str, is_named: bool) -> Config:
    """A table that was read, with every key and value checked.

    Raises:
        UsageError: all that is wrong.
    """
    problems: list[Finding] = []

    def problem(where: str, text: str, hint: str | None = None) -> None:
        problems.append(Finding("NIR700", "error", f"[{where}] {text}", file=shown, hint=hint))

    def values_of(given: Any, where: str, known: Mapping[str, Key]) -> dict[str, Any]:
        found = {}
        for name, value in given.items():
            key = known.get(name)
            if key is None:
                hint = did_you_mean(name, known) or f"it takes {', '.join(known)}"
                problem(where, f"has no key {quoted(name)}", hint)
            elif not key.fits(value):
                problem(where, f"{name} is {value!r}", f"it takes {key.takes}")
            else:
                found[key.parameter] = _value(key, value)
        return found

    where = f"tool.{TABLE}"
    table = dict(table) if isinstance(table, dict) else {}
    entries = table.pop(PER_FILE, [])
    values = values_of(table, where, {**KEYS, PER_FILE: _texts(PER_FILE)})
    where, of_files = f"tool.{TABLE}.{PER_FILE}", {n: k for n, k in KEYS.items() if k.of_files}
    per_file = []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problem(where, "is not a list of tables", f"write [[{where}]]")
        entries = []
    for entry in entries:
        found = values_of(entry, where, {FILES: _texts(FILES), **of_files})
        patterns = found.pop(FILES, None)
        if patterns:
            per_file.append((tuple(patterns), found))
        elif FILES not in entry:
            problem(where, f"an entry has no {FILES}", f'{FILES} = "models/norse/*.nir"')
    if problems:
        raise UsageError(problems)
    return Config(path if is_named else shown, is_named, values, tuple(per_file))


def _value(key: Key, value: Any) -> Any:
    """A value as its option takes it."""
    if key.fits is _is_texts:
        return [value] if isinstance(value, str) else value
    return str(value) if key.fits is _is_dt else value


# ------------------------------------------------------------------------ for one command


def for_command(config: Config, known: Collection[str], model: str | None) -> dict[str, Any]:
    """What a command gets: the values for all files and, if it takes one, those for that file.

    Arguments:
        known: the command's parameters that were not typed.
        model: the file; None if what single ones get is asked for later, see `per_file`.

    Raises:
        UsageError: a map is not an installed pack, and the file was not named.
    """
    found = {**config.values, **({} if model is None else config.of_file(model))}
    return _usable(config, {name: value for name, value in found.items() if name in known})


def per_file(config: Config, known: Collection[str]) -> Callable[[str], dict[str, Any]]:
    """What single files get of a command that takes many.

    Raises:
        UsageError: see `for_command`; here already, whatever files there are.
    """
    entries = []
    for patterns, values in config.per_file:
        own = _usable(config, {name: value for name, value in values.items() if name in known})
        if "dt" in own:
            own["dt"] = None if own["dt"] == "auto" else float(own["dt"])
        entries.append((patterns, own))
    return replace(config, per_file=tuple(entries)).of_file


def _usable(config: Config, values: dict[str, Any]) -> dict[str, Any]:
    """Values whose maps may be imported, and whose paths start from the file's folder."""
    found = dict(values)
    for name in (name for name in OF_MAPS if name in found):
        specs = [_parts(name, text) for text in found[name]]
        if not config.is_named:
            _require_packs(config, [spec for _, spec in specs])
        found[name] = [node + _from(config.folder, spec) for node, spec in specs]
    if "exclude" in found:
        here = glob.escape(config.folder)
        patterns = found["exclude"]
        found["exclude"] = [p if is_name(p) else os.path.join(here, p) for p in patterns]
    return found


def _parts(name: str, text: str) -> tuple[str, str]:
    """`NODE=` and the spec of an option."""
    node, equals, spec = text.partition("=") if name == "map_nodes" else ("", "", text)
    return node + equals, spec


def _require_packs(config: Config, specs: Sequence[str]) -> None:
    from nirtorch_cli.conversion.importing import pack_of

    for spec in specs:
        try:
            is_pack = spec == "auto" or pack_of(spec) is not None
        except MapError:
            is_pack = False
        if not is_pack:
            text = f"map {quoted(spec)} is no installed pack, but code, and this file was found"
            hint = f"run it with --config {config.path}, or give --map; --no-config leaves it out"
            raise UsageError(text, file=config.path, hint=hint)


def _from(folder: str, spec: str) -> str:
    """A spec whose file, if it names one, is in the folder of the configuration."""
    file, suffix, rest = spec.partition(".py")
    is_file = bool(suffix) and rest[:1] in ("", ":") and not os.path.isabs(file)
    return os.path.join(folder, spec) if is_file else spec


def said(config: Config, values: Values, has_per_file: bool) -> Iterator[str]:
    """What was taken of a file, for a line on stderr; nothing if nothing was."""
    parts = [config.shown(values)] if values else []
    if has_per_file:
        parts.append(f"{PER_FILE} options")
    if parts:
        yield f"{config.path}: {'; '.join(parts)}"
