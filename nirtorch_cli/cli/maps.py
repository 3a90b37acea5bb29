"""`nirtorch maps`: the installed packs, what one of them is, and a skeleton for a map."""

from __future__ import annotations

import inspect
import os
from dataclasses import asdict
from importlib.metadata import EntryPoint
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nirtorch_cli.cli import completion
from nirtorch_cli.cli.options import Debug, Json, Quiet
from nirtorch_cli.cli.output import Report, finish
from nirtorch_cli.cli.tables import table
from nirtorch_cli.conversion.artefacts.atomic import atomic_write, require_writable
from nirtorch_cli.findings.errors import OutputError, UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import listed, printable, quoted

if TYPE_CHECKING:
    from nirtorch_cli.conversion.map_options import MapOption

EPILOG = """\b
Examples:
  nirtorch maps
  nirtorch maps show snntorch
  nirtorch maps new mymaps.py
"""

maps_app = typer.Typer(rich_markup_mode=None)


@maps_app.callback(invoke_without_command=True, epilog=EPILOG)
def maps(
    context: typer.Context, as_json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """List the installed packs: maps that --map takes by name."""
    if context.invoked_subcommand is not None:
        return
    packs = [_described(name, point) for name, point in _installed().items()]
    report = Report("maps", lambda: {"packs": packs}, show=lambda: _show_list(packs))
    finish(report, as_json=as_json, quiet=quiet)


def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="An installed pack.", autocompletion=completion.packs),
    ],
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show a pack: equations, options, and the node types that it maps."""
    installed = _installed()
    if name not in installed:
        hint = did_you_mean(name, installed) or f"there are {listed([*installed])}"
        raise UsageError(f"no pack is called {quoted(name)}", hint=hint)
    pack = _described(name, installed[name])
    report = Report("maps", lambda: {"pack": pack}, show=lambda: _show_pack(pack))
    finish(report, as_json=as_json, quiet=quiet)


def new(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Python file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a skeleton of a map, which convert accepts as it is."""
    if not file.endswith(".py"):
        raise UsageError(f"{quoted(file)} is not the name of a Python file", hint="end it in .py")
    if os.path.exists(file) and not force:
        raise OutputError("NIR702", "exists already", file=file, hint="--force replaces it")
    require_writable(file, clobber=force, source=None)
    skeleton = files("nirtorch_mappings").joinpath("skeleton.py").read_text(encoding="utf8")
    with atomic_write(file, clobber=force) as target:
        target.write(skeleton.replace("FILE", file).encode("utf8"))
    notes = [f"nirtorch convert MODEL --map {printable(file)}"]
    show = None if quiet else lambda: print(f"wrote {printable(file)}")
    finish(
        Report("maps", lambda: {"saved": file}, notes=notes, show=show),
        as_json=as_json,
        quiet=quiet,
    )


def _installed() -> dict[str, EntryPoint]:
    from nirtorch_cli.conversion.importing import installed_packs

    return installed_packs()


def _described(name: str, point: EntryPoint) -> dict[str, Any]:
    """A pack as plain values."""
    from nirtorch_cli.conversion.importing import user_code
    from nirtorch_cli.conversion.map_options import options_of
    from nirtorch_cli.conversion.maps import HANDED_TO_PACKS, MapOptions
    from nirtorch_cli.conversion.packs import Pack

    with user_code(name):
        found = point.load()
    distribution = point.dist
    described: dict[str, Any] = {
        "name": name,
        "framework": None,
        "verified": None,
        "from": None if distribution is None else f"{distribution.name} {distribution.version}",
        "options": [],
        "layers": False,
        "dt": None,
        "nodes": {},
        "equations": inspect.getdoc(found) or "",
    }
    options: list[MapOption] = []
    if isinstance(found, Pack):
        options = options_of(found.entries, HANDED_TO_PACKS)
        described |= {
            "framework": found.framework,
            "verified": found.verified,
            "layers": found.layers is not None,
            "dt": found.dt,
            "nodes": dict(found.nodes),
            "equations": inspect.cleandoc(found.equations),
        }
    elif callable(found):
        options = options_of(found, MapOptions.__dataclass_fields__)
    return described | {"options": [asdict(option) for option in options]}


def _show_list(packs: list[dict[str, Any]]) -> None:
    table(
        ["pack", "framework", "verified with", "options", "from"],
        [
            [
                pack["name"] + (", :layers" if pack["layers"] else ""),
                pack["framework"] or "",
                pack["verified"] or "",
                ", ".join(option["name"] for option in pack["options"]),
                pack["from"] or "",
            ]
            for pack in packs
        ],
        folds=["options"],
    )


def _show_pack(pack: dict[str, Any]) -> None:
    from nirtorch_cli.conversion.map_options import written

    spec = f"--map {pack['name']}"
    print(f"{spec}   {pack['framework'] or ''} {pack['verified'] or ''}".rstrip())
    if pack["layers"]:
        print(f"{spec}:layers   the framework's own layers, if it is installed")
    print(f"\n{pack['equations']}")
    if pack["options"]:
        print(f"\nOptions, as in {spec}:{pack['options'][0]['name']}=...\n")
        options = pack["options"]
        rows = [[one["name"], one["values"], written(one["default"])] for one in options]
        table(["option", "values", "default"], rows, folds=["values"])
    if pack["nodes"]:
        print()
        table(["NIR", "mapped"], [[*pair] for pair in pack["nodes"].items()], folds=["mapped"])
        print("\nOther neurons are refused; all other types are mapped by the defaults.")
    if pack["dt"] is not None:
        print(f"\nWithout --dt: as the file's numbers tell, else {pack['dt']:g}.")
