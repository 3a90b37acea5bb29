"""`nirtorch schema`: the JSON Schemas of the documents that the program writes.

In: the files in `schemas`: what stands in `result` of each command's --json, one file each, what is
around it, and what several of them have. Out: for each document one schema (draft 2020-12) that
needs no other file. Always holds: a document without an answer, as of a failure, fits too. Loads
nothing.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Any

import typer

from nirtorch_cli.cli.options import Debug, Json, Quiet
from nirtorch_cli.cli.output import SCHEMA_VERSION, Report, finish
from nirtorch_cli.cli.tables import table
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import quoted

EPILOG = """\b
Examples:
  nirtorch schema
  nirtorch schema inspect > inspect.schema.json
"""

FAILURE = "failure"
"""The document of a failure before any command was understood."""

_NOT_UNDERSTOOD = "A failure before any command was understood"

OF_COMMANDS = (
    *("convert", "run", "compare", "inspect", "repair"),
    *("export", "check", "maps", "schema"),
)
"""The commands whose --json has a schema: all."""

OF_FILES = ("manifest", "program", "provenance")
"""Documents that are no command's answer."""

NAMES = (*OF_COMMANDS, FAILURE, *OF_FILES)


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A document.",
            show_default=False,
            autocompletion=lambda: [*NAMES],
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the JSON documents that nirtorch writes, or print the JSON Schema of one.

    What a schema says of a document holds as long as its schema_version does.
    """
    if name is None:
        rows = [{"name": one, "of": schema_of(one)["title"]} for one in NAMES]
        report = Report(
            "schema",
            lambda: {"schemas": rows},
            show=lambda: table(["name", "of"], [[*row.values()] for row in rows], folds=["of"]),
        )
        finish(report, as_json=as_json, quiet=quiet)
        return
    if name not in NAMES:
        hint = did_you_mean(name, NAMES) or f"there are {', '.join(NAMES)}"
        raise UsageError(f"no document is called {quoted(name)}", hint=hint)
    found = schema_of(name)
    report = Report(
        "schema", lambda: {"schema": found}, show=lambda: print(json.dumps(found, indent=2))
    )
    finish(report, as_json=as_json, quiet=quiet)


def schema_of(name: str) -> dict[str, Any]:
    """The schema of a document, with the definitions that it uses."""
    common = _content("common")["$defs"]
    own: dict[str, Any] = {"title": _NOT_UNDERSTOOD} if name == FAILURE else _content(name)
    definitions: dict[str, Any] = {**common, **own.pop("$defs", {})}
    if name in OF_FILES:
        found = own
    else:
        found = {"title": own.pop("title"), **_content("envelope")}
        found["properties"]["command"] = {"const": "" if name == FAILURE else name}
        if name != FAILURE:
            definitions["result"] = own
            found["properties"]["result"] = {
                "anyOf": [{"$ref": "#/$defs/result"}, {"type": "null"}],
                "description": "null where there is no answer",
            }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:nirtorch:{name}:{SCHEMA_VERSION}",
        **found,
        "$defs": _used(found, definitions),
    }


def _content(name: str) -> dict[str, Any]:
    path = files("nirtorch_cli.cli").joinpath("schemas").joinpath(f"{name}.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
    return content


def _used(schema: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that a schema refers to, and those that these refer to."""
    used: set[str] = set()
    waiting = [json.dumps(schema)]
    while waiting:
        text = waiting.pop()
        for name in definitions:
            if name not in used and f'"#/$defs/{name}"' in text:
                used.add(name)
                waiting.append(json.dumps(definitions[name]))
    return {name: value for name, value in definitions.items() if name in used}
