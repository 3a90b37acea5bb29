"""`[tool.nirtorch]`: what is found, what wins, what is refused; a stranger's runs no code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA
from typer.main import get_command
from typer.testing import CliRunner, Result

import nirtorch_cli
from nirtorch_cli.batch.collect import fits, gathered, is_name
from nirtorch_cli.cli.app import app
from nirtorch_cli.cli.config import KEYS

MAP = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
import nirtorch_cli
MAP = {}
"""
"""A map whose code leaves a trace."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a subfolder, in which the user stands."""
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    for name in ("digits", "digits_recurrent"):
        shutil.copy(DATA / f"{name}.nir", project / "sub")
    monkeypatch.chdir(project / "sub")
    return project


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def result(*arguments: str) -> dict[str, Any]:
    answer = invoke(*arguments, "--json")
    assert answer.exit_code == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)["result"]
    found.get("sample", {}) and found["sample"].pop("seconds_per_step")
    return found


def say(text: str, file: str = "../pyproject.toml") -> None:
    Path(file).write_text(text, encoding="utf8")


# ----------------------------------------------------------------------------- what is found


def test_the_nearest_with_the_table_is_taken(folder: Path) -> None:
    say("[tool.nirtorch]\ndt = 1.0\n", "../../pyproject.toml")
    assert result("inspect", "digits.nir")["dt"] == 1.0
    say("[tool.nirtorch]\ndt = 2.0\n")
    assert result("inspect", "digits.nir")["dt"] == 2.0
    say('[project]\nname = "other"\n', "pyproject.toml")  # has none: the one above counts
    assert result("inspect", "digits.nir")["dt"] == 2.0
    say("[tool.nirtorch]\ndt = 3.0\n", "pyproject.toml")
    assert result("inspect", "digits.nir")["dt"] == 3.0
    assert result("inspect", "digits.nir", "--config", "../pyproject.toml")["dt"] == 2.0
    assert result("inspect", "digits.nir", "--no-config")["dt"] == 1e-4
    assert result("inspect", "digits.nir", "--dt", "4.0")["dt"] == 4.0


@pytest.mark.parametrize("content", [b"\xff\xfe", b"no toml {", b"tool = 3", b""])
def test_a_file_that_is_not_about_us_is_left_alone(content: bytes) -> None:
    Path("pyproject.toml").write_bytes(content)
    assert result("inspect", "digits.nir")["dt"] == 1e-4


def test_a_line_says_what_was_taken() -> None:
    say('[tool.nirtorch]\ndt = 1e-3\nselect = "NIR8"\nmap = ["auto", "norse"]\n')
    lines = invoke("inspect", "digits.nir").stderr.splitlines()
    assert [line for line in lines if "toml" in line] == ["note: ../pyproject.toml: dt 0.001"]
    assert "toml" not in invoke("inspect", "digits.nir", "--dt", "1").stderr
    assert "toml" not in invoke("inspect", "digits.nir", "-q").stderr
    assert invoke("inspect", "digits.nir", "-q").exit_code == 0
    (line, *_) = invoke("convert", "digits.nir").stderr.splitlines()
    assert line == "note: ../pyproject.toml: dt 0.001; map auto,norse"


def test_commands_that_take_no_options_are_not_touched() -> None:
    say("[tool.nirtorch]\nwrong = 1\n")
    for arguments in (("repair", "digits.nir"), ("maps",), ("schema",), ("check", "--help")):
        assert invoke(*arguments).exit_code == 0


# -------------------------------------------------------------------------------- what wins

GIVEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "map": ('"snntorch:reset=zero,delay=false"', ("--map", "snntorch:reset=zero,delay=false")),
    "map-node": ('["hidden=snntorch"]', ("--map-node", "hidden=snntorch")),
    "skip-unmapped": ("true", ("--skip-unmapped",)),
    "dt": ("2e-5", ("--dt", "2e-5")),
    "integration": ('"exact"', ("--integration", "exact")),
    "reset": ('"subtract"', ("--reset", "subtract")),
    "reset-delay": ("true", ("--reset-delay",)),
    "fire-at": ('"reached"', ("--fire-at", "reached")),
    "integrator-input": ('"current"', ("--integrator-input", "current")),
    "surrogate": ('"sigmoid"', ("--surrogate", "sigmoid")),
    "dtype": ('"float64"', ("--dtype", "float64")),
    "select": ('["NIR8"]', ("--select", "NIR8")),
    "ignore": ('"NIR8"', ("--ignore", "NIR8")),
    "exclude": ('["digits_*"]', ("--exclude", "digits_*")),
    "strict": ("true", ("--strict",)),
    "max-bytes": ("2000000", ("--max-bytes", "2000000")),
}


def test_every_key_is_an_option() -> None:
    assert set(GIVEN) == set(KEYS)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, key in KEYS.items():
        options = {
            option
            for command in commands.values()
            for parameter in command.params
            if parameter.name == key.parameter
            for option in parameter.opts
        }
        assert f"--{name}" in options


@pytest.mark.parametrize("key", sorted(set(GIVEN) - {"select", "ignore", "exclude", "strict"}))
def test_a_key_is_as_if_it_had_been_typed(key: str) -> None:
    value, typed = GIVEN[key]
    expected = result("convert", "digits.nir", *typed)
    assert invoke("convert", "digits.nir", *typed, "-o", "typed.pt").exit_code == 0
    say(f"[tool.nirtorch]\n{key} = {value}\n")
    assert result("convert", "digits.nir") == expected
    assert invoke("convert", "digits.nir", "-o", "given.pt").exit_code == 0
    metas = [nirtorch_cli.load(name).meta for name in ("typed.pt", "given.pt")]
    assert metas[0] == metas[1]
    assert invoke("run", "digits.nir", "-i", "zeros", "--steps", "3", "-q").exit_code == 0


@pytest.mark.parametrize("key", ["select", "ignore", "exclude", "strict", "dtype"])
def test_a_key_of_check(key: str) -> None:
    value, typed = GIVEN[key]
    expected = invoke("check", ".", *typed, "--json")
    plain = invoke("check", ".", "--json")
    say(f"[tool.nirtorch]\n{key} = {value}\n")
    found = invoke("check", ".", "--json")
    assert (found.exit_code, found.stdout) == (expected.exit_code, expected.stdout)
    assert found.stdout != plain.stdout
    assert invoke("check", ".", "--no-config", "--json").stdout == plain.stdout


def test_compare_takes_dt() -> None:
    say("[tool.nirtorch]\ndt = 2e-5\n")
    assert result("compare", "default", "default", "-M", "digits.nir")["dt"] == 2e-5
    assert result("compare", "default,dt=1e-5", "default,dt=1e-5", "-M", "digits.nir")["dt"] == 1e-5
    assert invoke("run", "digits.nir", "-i", "zeros", "-o", "a.npz").exit_code == 0
    answer = invoke("compare", "trace:a.npz", "trace:a.npz")
    assert answer.exit_code == 0, answer.stderr
    answer = invoke("compare", "trace:a.npz", "trace:a.npz", "--dt", "1")
    assert answer.exit_code == 2
    assert "--dt is not used here" in answer.stderr


def test_what_is_converted_already_is_run_as_it_is() -> None:
    assert invoke("convert", "digits.nir", "-o", "a.pt").exit_code == 0
    say('[tool.nirtorch]\ndt = 1e-5\nmap = "norse"\n')
    assert result("run", "a.pt", "--trust", "-i", "zeros")["dt"] == 1e-4


def test_a_file_on_stdin_gets_what_all_get() -> None:
    say('[tool.nirtorch]\ndt = 1.0\n[[tool.nirtorch.per-file]]\nfiles = "*"\ndt = 2.0\n')
    content = Path("digits.nir").read_bytes()
    answer = CliRunner().invoke(app, ["inspect", "-", "--json"], input=content)
    assert json.loads(answer.stdout)["result"]["dt"] == 1.0


# ------------------------------------------------------------------------------- single files

PER_FILE = """
[tool.nirtorch]
dt = 1e-3
ignore = ["NIR804"]
[[tool.nirtorch.per-file]]
files = ["sub/*.nir"]
dt = 5e-4
[[tool.nirtorch.per-file]]
files = "digits_recurrent.nir"
dt = 2e-4
ignore = []
integration = "exact"
"""


def test_the_last_entry_that_fits_wins() -> None:
    say(PER_FILE)
    shutil.copy("digits.nir", "../digits.nir")
    assert result("inspect", "../digits.nir")["dt"] == 1e-3
    assert result("inspect", "digits.nir")["dt"] == 5e-4
    found = result("convert", "digits_recurrent.nir")
    assert (found["dt"], found["integration"]) == (2e-4, "exact")
    found = result("convert", "digits_recurrent.nir", "--dt", "3e-4")
    assert (found["dt"], found["integration"]) == (3e-4, "exact")


def test_each_file_of_many_gets_its_own() -> None:
    say(PER_FILE)
    answer = invoke("convert", ".", "--out-dir", "out")
    assert answer.exit_code == 0, answer.stderr
    metas = {n: nirtorch_cli.load(f"out/{n}.pt").meta for n in ("digits", "digits_recurrent")}
    assert metas["digits"]["dt"] == 5e-4
    assert metas["digits_recurrent"]["dt"] == 2e-4
    assert metas["digits_recurrent"]["integration"] == "exact"
    assert "per-file options" in answer.stderr
    assert invoke("convert", ".", "--out-dir", "out").stdout.count("up to date") == 2
    say(PER_FILE.replace("2e-4", "1e-4"))
    again = invoke("convert", ".", "--out-dir", "out").stdout.splitlines()
    assert [line.split(": ")[1].split()[0] for line in again] == ["up", "converted"]


def test_each_file_of_a_check_gets_its_own() -> None:
    say(PER_FILE)
    files = json.loads(invoke("check", ".", "--json").stdout)["result"]["files"]
    codes = {Path(f["file"]).name: {x["code"] for x in f["findings"]} for f in files}
    assert "NIR804" not in codes["digits.nir"]
    assert "NIR804" in codes["digits_recurrent.nir"]
    typed = invoke("check", ".", "--json", "--ignore", "NIR8", "--dt", "1e-4")
    files = json.loads(typed.stdout)["result"]["files"]
    assert {x["code"] for f in files for x in f["findings"]}.isdisjoint({"NIR804", "NIR401"})


def test_the_library_takes_options_of_single_files() -> None:
    own = {"./digits_recurrent.nir": {"ignore": ["NIR"], "maps": ["minimal"]}}
    one, two = nirtorch_cli.check(".", options_of=lambda file: own.get(file, {}))
    assert {finding.code for finding in one.findings} == {"NIR804"}
    assert "NIR804" not in {finding.code for finding in two.findings}


# ------------------------------------------------------------------------------- code


@pytest.mark.parametrize(
    "line", ['map = "evil.py:MAP"', 'map = ["norse", "evil"]', 'map-node = ["hidden=evil:MAP"]',
             'map = "evil.py"', 'map = "../evil.py:MAP"', 'map = "os:environ"', 'map = ":"'],
)  # fmt: skip
@pytest.mark.parametrize(
    "arguments",
    [("convert", "digits.nir"), ("run", "digits.nir", "-i", "zeros"), ("check", "digits.nir"),
     ("convert", "digits.nir", "--out-dir", "out"), ("inspect", "digits.nir"),
     ("compare", "default", "default", "-M", "digits.nir"), ("check", "--list-rules")],
)  # fmt: skip
@pytest.mark.parametrize("where", ["table", "per-file"])
def test_a_file_that_was_found_runs_no_code(
    line: str, arguments: tuple[str, ...], where: str, folder: Path
) -> None:
    for place in (".", ".."):
        Path(place, "evil.py").write_text(MAP)
    table = '[[tool.nirtorch.per-file]]\nfiles = "*.nir"\n' if where == "per-file" else ""
    say(f"[tool.nirtorch]\n{table}{line}\n")
    answer = invoke(*arguments)
    assert not any(folder.rglob("ran"))
    if arguments[0] in ("inspect", "compare") or arguments[1] == "--list-rules":
        assert answer.exit_code in (0, 2)
        return
    assert answer.exit_code == 2
    assert "is no installed pack, but code, and this file was found" in answer.stderr
    assert "run it with --config ../pyproject.toml" in answer.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize("arguments", [("convert", "digits.nir"), ("check", "digits.nir")])
def test_a_file_that_is_named_may(arguments: tuple[str, ...], folder: Path) -> None:
    """Its map is looked for where the file is, not where the user stands."""
    Path("../evil.py").write_text(MAP)
    say('[tool.nirtorch]\nmap = "evil.py:MAP"\n')
    answer = invoke(*arguments, "--config", "../pyproject.toml")
    assert answer.exit_code == 0, answer.stderr
    assert [path.parent for path in folder.rglob("ran")] == [folder]


def test_what_is_typed_needs_no_leave() -> None:
    say('[tool.nirtorch]\nmap = "evil.py:MAP"\n')
    assert invoke("convert", "digits.nir", "--map", "minimal").exit_code == 0
    assert invoke("convert", "digits.nir", "--no-config").exit_code == 0


# ------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.nirtorch]\ndtt = 1", "[tool.nirtorch] has no key 'dtt'; did you mean 'dt'"),
        ("[tool.nirtorch]\nmaps = 1", "has no key 'maps'; did you mean 'map'"),
        ("[tool.nirtorch]\nzzz = 1", "has no key 'zzz'; it takes map, map-node, skip"),
        ("[tool.nirtorch]\nreset_delay = true", "did you mean 'reset-delay', "),
        ("[tool.nirtorch]\ndt = -1", "dt is -1; it takes 'auto' or a positive number"),
        ("[tool.nirtorch]\ndt = nan", "dt is nan; it takes 'auto' or a positive number"),
        ("[tool.nirtorch]\ndt = true", "dt is True; it takes"),
        ('[tool.nirtorch]\ndt = "1"', "dt is '1'; it takes"),
        ("[tool.nirtorch]\nmap = 3", "map is 3; it takes a text or a list of texts"),
        ("[tool.nirtorch]\nignore = [1]", "ignore is [1]; it takes a text or a list"),
        ("[tool.nirtorch]\nstrict = 1", "strict is 1; it takes true or false"),
        ('[tool.nirtorch]\nreset = "no"', "reset is 'no'; it takes one of 'value', 'subtract'"),
        ("[tool.nirtorch]\nmax-bytes = 0", "max-bytes is 0; it takes a whole number of bytes"),
        ("[tool.nirtorch]\nmax-bytes = 1.5", "max-bytes is 1.5; it takes a whole number"),
        ("[tool.nirtorch]\nper-file = 1", "[tool.nirtorch.per-file] is not a list of tables"),
        ("[[tool.nirtorch.per-file]]\ndt = 1", "an entry has no files"),
        ('[[tool.nirtorch.per-file]]\nfiles = "a"\nstrict = true', "has no key 'strict'"),
        ('[[tool.nirtorch.per-file]]\nfiles = 1', "files is 1; it takes a text or a list"),
        ('[[tool.nirtorch.per-file]]\nfile = "a"', "has no key 'file'; did you mean 'files'"),
        ("[tool.nirtorch\ndt = 1", "is not TOML: "),
        ("[tool.nirtorch]\ndt = 1\ndt = 2", "is not TOML: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    say(text)
    answer = invoke("inspect", "digits.nir")
    assert answer.exit_code == 2
    lines = answer.stderr.splitlines()
    assert all(line.startswith("error: ../pyproject.toml: ") for line in lines)
    assert said in answer.stderr
    assert answer.stdout == ""
    assert invoke("inspect", "digits.nir", "--no-config").exit_code == 0


def test_all_that_is_wrong_is_said_at_once() -> None:
    say("[tool.nirtorch]\na = 1\ndt = 0\n[[tool.nirtorch.per-file]]\nb = 1\n")
    assert len(invoke("check", ".").stderr.splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--config", "none.toml"), "--config 'none.toml': No such file or directory"),
        (("--config", "."), "--config '.': Is a directory"),
        (("--config", "digits.nir"), "--config 'digits.nir': it is not UTF-8"),
        (("--config", "empty.toml"), "--config 'empty.toml': has no [tool.nirtorch]"),
        (("--config", "empty.toml", "--no-config"), "--config and --no-config exclude each"),
    ],
)
def test_a_file_that_is_named_must_be_one(options: tuple[str, ...], said: str) -> None:
    Path("empty.toml").touch()
    answer = invoke("inspect", "digits.nir", *options)
    assert answer.exit_code == 2
    assert said in answer.stderr


def test_exclude_is_for_many() -> None:
    answer = invoke("convert", "digits.nir", "--exclude", "x")
    assert (answer.exit_code, "--exclude is for --out-dir" in answer.stderr) == (2, True)
    say('[tool.nirtorch]\nexclude = ["digits.nir"]\n')
    assert invoke("convert", "digits.nir").exit_code == 0
    answer = invoke("check", ".", "--exclude", "*.nir")
    assert answer.exit_code == 2
    assert "no .nir file in the folder '.'; 2 files excluded" in answer.stderr


# ------------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("old", ["old/a.nir", "new/old/c.nir"]),
        ("old/", ["old/a.nir", "new/old/c.nir"]),
        ("*.nir", ["a.nir", "b[1].nir", "old/a.nir", "new/b.nir", "new/old/c.nir"]),
        ("a.nir", ["a.nir", "old/a.nir"]),
        ("./a.nir", ["a.nir"]),
        ("old/*.nir", ["old/a.nir"]),
        ("new/*", ["new/b.nir", "new/old/c.nir"]),
        ("new/old", ["new/old/c.nir"]),
        ("**/c.nir", ["new/old/c.nir"]),
        ("new/**/b.nir", ["new/b.nir"]),
        ("n?w/b.nir", ["new/b.nir"]),
        ("OLD", []),
    ],
)
def test_patterns(pattern: str, names: list[str]) -> None:
    files = ["a.nir", "b[1].nir", "old/a.nir", "new/b.nir", "new/old/c.nir"]
    assert [file for file in files if fits(file, pattern)] == names
    assert [file for file in files if fits(os.path.abspath(file), pattern)] == names
    moved = pattern if is_name(pattern) else f"x/{pattern}"
    assert [file for file in files if fits(f"x/{file}", moved)] == names
    if not is_name(pattern):
        assert [file for file in files if fits(file, f"{os.getcwd()}/{pattern}")] == names


def test_patterns_of_a_folder_with_odd_names(folder: Path) -> None:
    odd = folder / "[x]*"
    odd.mkdir()
    shutil.copy("digits.nir", odd / "old.nir")
    shutil.copy("digits.nir", odd / "new.nir")
    os.chdir(odd)
    say('[tool.nirtorch]\nexclude = ["./old.nir", "sub/*"]\n', "pyproject.toml")
    files = json.loads(invoke("check", ".", "--json").stdout)["result"]["files"]
    assert [file["file"] for file in files] == ["./new.nir"]


def test_what_is_named_itself_is_never_excluded() -> None:
    assert gathered(["digits.nir"], ["*"]) == ["digits.nir"]
    assert gathered(["*.nir", "digits.nir"], ["digits.nir"]) == [
        "digits_recurrent.nir", "digits.nir",
    ]  # fmt: skip


@pytest.fixture
def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    lost = tmp_path / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)
    lost.rmdir()
    yield
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that a process stands in")
@pytest.mark.usefixtures("gone")
def test_a_current_folder_that_is_gone() -> None:
    assert invoke("inspect", str(DATA / "digits.nir")).exit_code == 0
