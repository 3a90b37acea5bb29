"""Golden files: generated code, JSON and help, each by the function that makes it.

Used by tests/test_golden.py, which compares, and scripts/rewrite_golden, which rewrites.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from conftest import DATA, ROOT
from typer.testing import CliRunner

GOLDEN = ROOT / "tests" / "golden"


def _command(*arguments: str) -> str:
    from nirtorch_cli.cli.app import app

    result = CliRunner().invoke(app, list(arguments), prog_name="nirtorch")
    assert result.exit_code == 0, result.output
    return result.stdout


def _code(name: str) -> str:
    from networks import module_of

    return module_of(DATA / f"{name}.nir", {}).code.strip("\n ") + "\n"


def _json(command: str, name: str) -> str:
    """A JSON document without what differs between machines."""
    text = _command(command, str(DATA / f"{name}.nir"), "--json", "--quiet")
    document = json.loads(text)
    document["result"].pop("versions", None)
    sample = document["result"].get("sample")
    if sample:
        # Times, and what depends on how the processor rounds.
        del sample["seconds_per_step"], sample["outputs"], sample["activity"]
    return re.sub(re.escape(str(DATA) + "/"), "", json.dumps(document, indent=2)) + "\n"


FILES: dict[str, Callable[[], str]] = {
    "digits.code.txt": lambda: _code("digits"),
    "digits_conv.code.txt": lambda: _code("digits_conv"),
    "digits_recurrent.code.txt": lambda: _code("digits_recurrent"),
    "convert_digits.json": lambda: _json("convert", "digits"),
    "inspect_digits_recurrent.json": lambda: _json("inspect", "digits_recurrent"),
    "check_damaged.json": lambda: _json("check", "damaged"),
    "repair_damaged.json": lambda: _json("repair", "damaged"),
    "help.txt": lambda: _command("--help"),
    "help_check.txt": lambda: _command("check", "--help"),
    "help_compare.txt": lambda: _command("compare", "--help"),
    "help_convert.txt": lambda: _command("convert", "--help"),
    "help_export.txt": lambda: _command("export", "--help"),
    "help_inspect.txt": lambda: _command("inspect", "--help"),
    "help_maps.txt": lambda: _command("maps", "--help"),
    "help_maps_show.txt": lambda: _command("maps", "show", "--help"),
    "help_repair.txt": lambda: _command("repair", "--help"),
    "help_run.txt": lambda: _command("run", "--help"),
    "help_schema.txt": lambda: _command("schema", "--help"),
    "schema_inspect.json": lambda: _command("schema", "inspect"),
}


def path_of(name: str) -> Path:
    return GOLDEN / name
