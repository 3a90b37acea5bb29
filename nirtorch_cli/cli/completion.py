"""What a shell can complete: values of options that depend on what is installed, or on the files.

In: the words before the cursor, as click understood them, and the word at it. Out: words that it
may become; the shell takes files where there are none. Always holds: nothing is printed, no error
is shown, and no code of a map is run: a pack is known by its name, the names in a file by its text.
Cost: the names in a folder; for names of nodes, that of reading the model.

bash breaks words at `:` and `=`, hands them over apart and replaces only what follows the last one.
`for_bash` joins such words before, and shortens what is answered after.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import entry_points

import typer

from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS
from nirtorch_cli.conversion.importing import ENTRY_POINT_GROUP
from nirtorch_cli.conversion.options import CHOICES

Found = list[str | tuple[str, str]]
"""Words, some with an explanation."""

_MOST_FILES = 1000
_BREAKS = (":", "=")
_BASH = "_NIRTORCH_COMPLETE"


def _quiet(complete: Callable[[typer.Context, str], Iterable[str | tuple[str, str]]]) -> Callable[
    [typer.Context, str], Found
]:  # fmt: skip
    """The same, but without words where it fails: a prompt is no place for messages."""

    def completed(ctx: typer.Context, incomplete: str) -> Found:
        try:
            return list(complete(ctx, incomplete))
        except Exception:
            return []

    return completed


# ------------------------------------------------------------------------------ files


def files(incomplete: str, suffixes: Sequence[str]) -> Iterator[str]:
    """The files that a word may become, by their suffixes, and the folders.

    The only one that is a folder gives way to what is in it, since a shell ends a word behind it.
    """
    folder, _, start = incomplete.rpartition("/")
    folder += "/" if "/" in incomplete else ""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_FILES:
                break
            if not entry.name.startswith(start) or entry.name.startswith(".") > (start[:1] == "."):
                continue
            if entry.is_dir():
                found.append(f"{folder}{entry.name}/")
            elif entry.name.lower().endswith(tuple(suffixes)):
                found.append(folder + entry.name)
    if len(found) == 1 and found[0].endswith("/") and found[0] != incomplete:
        yield from files(found[0], suffixes)
    else:
        yield from sorted(found)


# ------------------------------------------------------------------------------- maps


def _specs(incomplete: str) -> Iterator[str | tuple[str, str]]:
    """What --map takes: packs, files of maps, and the names in such a file."""
    file, colon, _ = incomplete.partition(".py:")
    if colon:
        for name in _names_in(f"{file}.py"):
            yield f"{file}.py:{name}"
        return
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.name):
        yield point.name, "an installed pack"
    yield "auto", "the pack of the program that wrote MODEL"
    yield from files(incomplete, [".py"])


def _names_in(path: str) -> Iterator[str]:
    """The public names that a Python file binds; it is read, not run."""
    with open(path, encoding="utf8") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.FunctionDef):
            names = [node.name]
        yield from (name for name in names if not name.startswith("_"))


@_quiet
def maps(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --map."""
    return _specs(incomplete)


@_quiet
def packs(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes the name of a pack."""
    return iter(sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP)))


# -------------------------------------------------------------------------- of a model


def _nodes(ctx: typer.Context) -> list[tuple[str, str]]:
    """The path and the type of each node of the model that was named before."""
    from nirtorch_cli.graph.inspection import inspect

    # click leaves arguments in `args` where the option behind them has no value yet.
    words = [ctx.params.get("model"), *(ctx.params.get("models") or ()), *ctx.args]
    named = next((word for word in words if word and os.path.isfile(word)), None)
    return [] if named is None else [(node.node, node.type) for node in inspect(named).nodes]


@_quiet
def records(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --record: nodes, and what each has beside its output."""
    from nirtorch_cli.primitives.table import is_spiking, states_of

    variables: dict[str, None] = {}
    for path, kind in _nodes(ctx):
        own = (*states_of(kind), *(["spikes"] if is_spiking(kind) else []))
        variables.update(dict.fromkeys(own))
        yield path, kind
        yield from ((f"{path}:{name}", kind) for name in own)
    yield from ((f"*:{name}", "of all nodes that have it") for name in variables)


@_quiet
def neurons(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --neurons."""
    yield from ((f"{path}=", kind) for path, kind in _nodes(ctx))


@_quiet
def map_nodes(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --map-node: nodes, then what --map takes."""
    node, equals, spec = incomplete.partition("=")
    if equals:
        yield from _behind(f"{node}=", _specs(spec))
    else:
        yield from ((f"{path}=", kind) for path, kind in _nodes(ctx))


@_quiet
def inputs(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --input: generators, files, and the model's Inputs if it has several."""
    from nirtorch_cli.running.signals.formats import SIGNALS

    suffixes = [suffix for one in SIGNALS if one.reader for suffix in one.suffixes]
    names = [f"{path}=" for path, kind in _quietly_nodes(ctx) if kind == "Input" if "/" not in path]
    before = next((name for name in names if incomplete.startswith(name)), "")
    yield from _behind(before, _generators())
    yield from _behind(before, files(incomplete[len(before) :], suffixes))
    if not before and len(names) > 1:
        yield from names


def _quietly_nodes(ctx: typer.Context) -> list[tuple[str, str]]:
    with contextlib.suppress(Exception):
        return _nodes(ctx)
    return []


def _generators() -> Iterator[str | tuple[str, str]]:
    from nirtorch_cli.running.signals.generators import PARAMETERS

    for name, parameters in PARAMETERS.items():
        needed = [parameter for parameter, default in parameters.items() if default is None]
        yield f"{name}:{needed[0]}=" if needed else name, "a generator"


def _behind(start: str, words: Iterable[str | tuple[str, str]]) -> Iterator[str | tuple[str, str]]:
    for word in words:
        yield start + word if isinstance(word, str) else (start + word[0], word[1])


# ------------------------------------------------------------------------------ others


@_quiet
def sides(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes A and B of compare."""
    head, comma, _ = incomplete.rpartition(",")
    if comma and not head.startswith(("file:", "trace:")):
        yield from (f"{head},{option}" for option in _options_of_sides())
        return
    kind, colon, _ = incomplete.partition(":")
    found: dict[str, Iterable[str | tuple[str, str]]] = {
        "map": _specs(incomplete[len("map:") :]),
        "file": files(incomplete[len("file:") :], _saved_suffixes()),
        "trace": files(incomplete[len("trace:") :], [".npz", ".nir", ".h5", ".hdf5"]),
    }
    if colon:
        yield from _behind(f"{kind}:", found.get(kind, ()))
    else:
        yield "default", "the reference modules"
        yield from ("map:", "file:", "trace:")


def _options_of_sides() -> Iterator[str]:
    yield "dt="
    for name, values in CHOICES.items():
        if name != "surrogate":
            yield from (f"{name}={str(value).lower()}" for value in values)


def _saved_suffixes() -> list[str]:
    return [suffix for one in ARTEFACTS if one.reader for suffix in one.suffixes]


@_quiet
def codes(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes a code of a rule, several with commas between."""
    from nirtorch_cli.findings.rules import load_rules

    before = incomplete.rpartition(",")[0]
    words = [(rule.code, rule.summary) for rule in load_rules().values()]
    yield from _behind(f"{before}," if before else "", words)


@_quiet
def artefacts(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --to."""
    return ((one.name, one.called) for one in ARTEFACTS if one.writer is not None)


@_quiet
def configs(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --config."""
    return iter(files(incomplete, [".toml"]))


@_quiet
def devices(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes --device."""
    return iter(("cpu", "cuda", "cuda:0", "meta", "mps"))


@_quiet
def auto(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    """Completes a number that can be `auto`."""
    return iter(("auto",))


# -------------------------------------------------------------------------------- bash


@contextlib.contextmanager
def for_bash() -> Iterator[None]:
    """While open, what bash broke is one word, and what is printed goes on behind the last break.

    Nothing for another shell.
    """
    if os.environ.get(_BASH) != "complete_bash":
        yield
        return
    words, start = joined(os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", ""))
    os.environ["COMP_WORDS"] = shlex.join(words)
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            yield
    finally:
        for line in answer.getvalue().splitlines():
            print(line.removeprefix(start))


def joined(text: str, index: str) -> tuple[list[str], str]:
    """The words of a line up to the cursor, and what bash keeps of the last one.

    >>> joined("nirtorch compare map : nor", "4")
    (['nirtorch', 'compare', 'map:nor'], 'map:')
    """
    try:
        parts = shlex.split(text)
    except ValueError:  # a quote that is not closed
        parts = text.split()
    last = int(index) if index.isdigit() else len(parts)
    parts = [*parts, ""][: last + 1] if last >= len(parts) else parts[: last + 1]
    words: list[str] = []
    is_open = False
    for part in parts:
        is_break = bool(part) and set(part) <= set(_BREAKS)
        if words and (is_break or (is_open and part)):
            words[-1] += part
        else:
            words.append(part)
            is_break = False
        is_open = is_break
    word = words[-1] if words else ""
    if len(parts) == len(words) or parts[-1] == word:
        return words, ""
    cut = max(word.rfind(character) for character in _BREAKS) + 1
    start = word.partition("=")[0] + "=" if word.startswith("--") and "=" in word else ""
    return words, word[len(start) : cut]
