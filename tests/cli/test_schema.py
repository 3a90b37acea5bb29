"""Every JSON document fits its published schema, on failure too; a changed document does not.

`conftest.documents_fit_their_schema` holds every document of every test against its schema. Here
are those that no other test makes, and files.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import nir
import numpy as np
import pytest
import safetensors
from conftest import DATA, require_schema, validator_of
from equations import graph_of
from networks import module_of
from typer.testing import CliRunner

import nirtorch_cli
from nirtorch_cli.cli.app import app
from nirtorch_cli.cli.schema import NAMES, OF_COMMANDS, schema_of
from nirtorch_cli.conversion.artefacts.program import program_of
from nirtorch_cli.conversion.options import CHOICES

DIGITS, DAMAGED, RECURRENT = (
    str(DATA / f"{name}.nir") for name in ("digits", "damaged", "digits_recurrent")
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    nirtorch_cli.save(module_of(DIGITS, {}), "digits.pt")
    strange = graph_of(nir.Scale(np.array([np.inf, 1.0])))
    strange.metadata = {"by": "me", "year": 2024, "deep": {"x": np.nan, "many": np.arange(99.0)}}
    nir.write("strange.nir", strange)
    Path("broken.nir").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99)
    np.save("nan.npy", np.full((3, 1, 64), np.nan, dtype="float32"))
    return tmp_path


CASES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "inspect": ("inspect", 0, ("inspect", RECURRENT)),
    "inspect damaged": ("inspect", 0, ("inspect", DAMAGED)),
    "inspect odd numbers": ("inspect", 1, ("inspect", "strange.nir")),
    "inspect a broken file": ("inspect", 3, ("inspect", "broken.nir")),
    "inspect no file": ("inspect", 3, ("inspect", "none.nir")),
    "inspect without a model": ("inspect", 2, ("inspect", "--quiet")),
    "convert": ("convert", 0, ("convert", RECURRENT, "--code")),
    "convert on meta": ("convert", 0, ("convert", DIGITS, "--device", "meta")),
    "convert exactly": ("convert", 0, ("convert", DIGITS, "--integration", "exact")),
    "convert by a pack": ("convert", 0, ("convert", DIGITS, "--map", "snntorch", "-o", "a.pt")),
    "convert a broken file": ("convert", 3, ("convert", "broken.nir")),
    "convert without defaults": ("convert", 1, ("convert", DIGITS, "--no-defaults")),
    "convert with no such map": ("convert", 2, ("convert", DIGITS, "--map", "none:MAP")),
    "run": ("run", 0, ("run", DIGITS, "-i", "uniform", "-r", "hidden:v", "-o", "a.npz")),
    "run a saved module": ("run", 0, ("run", "digits.pt", "--trust", "-i", "zeros")),
    "run on NaN": ("run", 0, ("run", DIGITS, "-i", "nan.npy", "--allow-nan")),
    "run without an input": ("run", 2, ("run", DIGITS)),
    "compare": ("compare", 0, ("compare", "default", "default", "-M", DIGITS)),
    "compare and differ": (
        "compare",
        1,
        ("compare", "default", "default,integration=exact", "-M", DIGITS, "--atol", "inf"),
    ),
    "compare nothing": ("compare", 2, ("compare", "default", "default")),
    "repair": ("repair", 0, ("repair", DAMAGED, "-o", "fixed.nir")),
    "repair a broken file": ("repair", 3, ("repair", "broken.nir")),
    "export": ("export", 0, ("export", "digits.pt", "-o", "again.nir", "--trust")),
    "export without trust": ("export", 2, ("export", "digits.pt", "-o", "again.nir")),
    "the rules": ("check", 0, ("check", "--list-rules")),
    "a rule": ("check", 0, ("check", "--explain", "NIR101")),
    "no such rule": ("check", 2, ("check", "--explain", "NIR000")),
    "maps": ("maps", 0, ("maps",)),
    "a pack": ("maps", 0, ("maps", "show", "norse")),
    "a new map": ("maps", 0, ("maps", "new", "mine.py")),
    "no such pack": ("maps", 2, ("maps", "show", "none")),
    "schemas": ("schema", 0, ("schema",)),
    "a schema": ("schema", 0, ("schema", "check")),
    "no such schema": ("schema", 2, ("schema", "none")),
    "no such command": ("failure", 2, ("none",)),
    "no such option": ("failure", 2, ("--none",)),
}
"""By case: whose document, the exit code, and the command."""


def document(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_document(case: str) -> None:
    name, code, arguments = CASES[case]
    found = document(*arguments)
    assert (found["command"] or "failure", found["exit_code"]) == (name, code)
    assert (found["result"] is not None) == (code in (0, 1) and case != "convert without defaults")
    require_schema(name, found)


def test_every_command_has_a_case() -> None:
    assert {name for name, *_ in CASES.values()} == {*OF_COMMANDS, "failure"}
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {*commands, "maps"} == set(OF_COMMANDS)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_checked_and_converted_files(jobs: str) -> None:
    models = [DIGITS, DAMAGED, "broken.nir", "strange.nir"]
    require_schema("check", document("check", *models, "-j", jobs))
    for again in range(2):
        found = document("convert", *models, "--out-dir", "out", "-j", jobs)
        require_schema("convert", found)
        states = [file["status"] for file in found["result"]["files"]]
        assert states == ["up to date" if again else "converted"] * 2 + ["failed"] * 2
        require_schema("manifest", json.loads(Path("out", "nirtorch.json").read_text()))


@pytest.mark.parametrize("options", [(), ("--map", "snntorch"), ("--integration", "exact")])
def test_what_a_file_says_of_itself(options: tuple[str, ...]) -> None:
    document("convert", RECURRENT, *options, "-o", "a.safetensors")
    with safetensors.safe_open("a.safetensors", "pt") as file:
        require_schema("provenance", json.loads(file.metadata()["nirtorch"]))
    document("convert", RECURRENT, *options, "-o", "a.pt")
    program = program_of(nirtorch_cli.load("a.pt"))
    require_schema("program", json.loads(program.description.to_json()))


def test_choices_are_those_of_options() -> None:
    definitions = schema_of("convert")["$defs"]
    for name in ("integration", "reset", "fire_at"):
        assert definitions[name]["enum"] == [*CHOICES[name], None]
    assert definitions["integrator_input"]["enum"] == [*CHOICES["integrator_input"][1:], None]


def test_numbers_are_numbers() -> None:
    nodes = {node["node"]: node for node in document("inspect", DIGITS)["result"]["nodes"]}
    parameters = nodes["hidden"]["parameters"]
    assert parameters["tau"]["min"] == parameters["tau"]["max"] == pytest.approx(1e-3)
    weight = nodes["affine_hidden"]["parameters"]["weight"]
    assert (weight["shape"], weight["dtype"]) == ([48, 64], "float32")
    assert weight["min"] < 0 < weight["max"]
    assert weight["value"] is None
    strange = document("inspect", "strange.nir")["result"]
    (scale,) = [node for node in strange["nodes"] if node["type"] == "Scale"]
    assert scale["parameters"]["scale"]["value"] == ["inf", 1.0]
    metadata = strange["metadata"]
    assert metadata["year"]["value"] == 2024
    assert metadata["by"] == {
        "shape": None, "dtype": "str", "min": None, "max": None, "value": "me",
    }  # fmt: skip
    assert metadata["deep"]["x"]["value"] == "nan"
    assert metadata["deep"]["many"]["max"] == 98.0


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of the objects in a document."""
    if isinstance(value, dict):
        yield path
        for key, entry in value.items():
            yield from objects(entry, (*path, key))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from objects(entry, (*path, number))


@pytest.mark.parametrize("case", ["inspect", "convert", "run", "compare", "a pack", "a rule"])
def test_what_is_gone_or_new_is_noticed(case: str) -> None:
    """Without any of its required entries, or with one more, no object of a document fits."""
    name, _, arguments = CASES[case]
    found, tried = document(*arguments), 0
    validator = validator_of(name)
    assert validator.is_valid(found)
    by_name = {"parameters", "metadata", "inputs", "outputs", "recorded", "values", "code", "nodes"}
    by_name |= {"versions", "not_compared"}
    for path in objects(found):
        if path and path[-1] in by_name:
            continue  # its entries are called as the file's nodes are
        for key in [*inner(found, path), None]:
            changed = copy.deepcopy(found)
            if key is None:
                inner(changed, path)["added"] = 1
            elif key == "code":
                continue
            else:
                del inner(changed, path)[key]
            assert not validator.is_valid(changed), (path, key)
            tried += 1
        if tried > 60:
            break
    assert tried > 10


def inner(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_stands_alone(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    referred = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert referred == set(schema["$defs"])
    answer = CliRunner().invoke(app, ["schema", name])
    assert json.loads(answer.stdout) == schema
