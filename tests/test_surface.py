"""The public functions that do what a command does: each gives what the command prints."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from conftest import DATA, ROOT
from typer.testing import CliRunner

import nirtorch_cli
from nirtorch_cli.batch.verdict import summary
from nirtorch_cli.cli.app import app

MODELS = ("damaged", "digits", "digits_conv", "digits_recurrent")


def printed(*arguments: object) -> dict[str, Any]:
    """The document of a command's --json."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return json.loads(result.stdout)


def plain(value: Any) -> Any:
    """A value as it is after a trip through JSON."""
    return json.loads(json.dumps(value))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the models, which is the current one."""
    for name in MODELS:
        shutil.copy(DATA / f"{name}.nir", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_inspect(name: str) -> None:
    path = DATA / f"{name}.nir"
    document = printed("inspect", path)
    expected = {**document["result"], "findings": document["findings"]}
    assert plain(nirtorch_cli.inspect(path).to_json()) == expected
    assert plain(nirtorch_cli.inspect(nirtorch_cli.read(path)).to_json()) == expected


@pytest.mark.parametrize("name", MODELS)
def test_inspect_a_graph(name: str) -> None:
    """A graph says what its file does, but for what only reading it tells."""
    file = nirtorch_cli.read(DATA / f"{name}.nir")
    of_file, of_graph = nirtorch_cli.inspect(file), nirtorch_cli.inspect(file.graph)
    assert (of_graph.file, of_graph.size, of_graph.version) == (None, None, None)
    assert (of_graph.nodes, of_graph.edges) == (of_file.nodes, of_file.edges)
    assert (of_graph.dt, of_graph.dt_reason) == (of_file.dt, of_file.dt_reason)
    told = [finding.of(file.name) for finding in of_graph.findings]
    assert [*file.findings, *told] == of_file.findings


def test_inspect_with_a_dt() -> None:
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([2])),
            "wait": nir.Delay(np.array([2.0, 5.0])),
            "output": nir.Output(np.array([2])),
        },
        [("input", "wait"), ("wait", "output")],
    )
    guessed, given = nirtorch_cli.inspect(graph), nirtorch_cli.inspect(graph, dt=1.0)
    assert [finding.code for finding in guessed.findings] == ["NIR405"]
    assert (given.dt, given.dt_reason, given.findings) == (1.0, "given", [])
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="is not a positive number"):
            nirtorch_cli.inspect(graph, dt=wrong)


@pytest.mark.parametrize("read", [nirtorch_cli.read, nirtorch_cli.inspect, nirtorch_cli.repair])
def test_what_is_read_is_limited(read: Any) -> None:
    with pytest.raises(nirtorch_cli.ReadError, match="raise the limit"):
        read(DATA / "digits.nir", max_bytes=1000)
    with pytest.raises(nirtorch_cli.ReadError, match="no such file"):
        read("none.nir")


def test_read() -> None:
    path = DATA / "damaged.nir"
    content = path.read_bytes()
    files = [nirtorch_cli.read(source) for source in (path, str(path), content)]
    files.append(nirtorch_cli.read(io.BytesIO(content)))
    assert [file.name for file in files] == [str(path), str(path), "<bytes>", "<stream>"]
    assert {type(file.graph) for file in files} == {nir.NIRGraph}
    assert len({tuple(sorted(file.graph.nodes)) for file in files}) == 1


@pytest.mark.parametrize("name", MODELS)
def test_repair(name: str, tmp_path: Path) -> None:
    path, by_command, written = DATA / f"{name}.nir", tmp_path / "command.nir", tmp_path / "own.nir"
    document = printed("repair", path, "-o", by_command)
    result = nirtorch_cli.repair(path)
    result.write(written)
    assert result.content == written.read_bytes()
    assert nirtorch_cli.repair(written).changes == nirtorch_cli.repair(by_command).changes
    assert [finding.to_json() for finding in result.findings] == document["findings"]
    assert [asdict(change) for change in result.changes] == document["result"]["changes"]
    repairs = [finding.to_json() for finding in result.findings if finding.repair]
    assert repairs == document["result"]["repairs"]
    assert bool(repairs) == (name == "damaged")


def test_what_was_repaired_is_never_replaced(models: Path) -> None:
    before = (models / "damaged.nir").read_bytes()
    result = nirtorch_cli.repair("damaged.nir")
    with pytest.raises(nirtorch_cli.OutputError, match="the output is the input"):
        result.write("damaged.nir")
    with pytest.raises(nirtorch_cli.OutputError, match="exists already"):
        result.write("digits.nir", clobber=False)
    assert (models / "damaged.nir").read_bytes() == before


@pytest.mark.parametrize("strict", [False, True])
def test_check(models: Path, strict: bool) -> None:
    document = printed("check", ".", "--ignore", "NIR8", *(["--strict"] if strict else []))
    verdicts = nirtorch_cli.check(".", ignore=["NIR8"], strict=strict)
    assert [verdict.to_json() for verdict in verdicts] == document["result"]["files"]
    assert summary(verdicts) == document["result"]["summary"]
    found = [finding.to_json() for verdict in verdicts for finding in verdict.findings]
    assert found == document["findings"]
    assert [verdict.word for verdict in verdicts] == ["repaired", "sound", "sound", "sound"]
    assert verdicts[0].passed is not strict


def test_check_with_options(models: Path) -> None:
    options = ["--dt", "0.5", "--dtype", "float64", "--steps", "7", "--no-repair"]
    document = printed("check", "digits.nir", "damaged.nir", *options)
    told: list[tuple[int, int]] = []
    verdicts = nirtorch_cli.check(
        [Path("digits.nir"), "damaged.nir"],
        dt=0.5,
        dtype="float64",
        steps=7,
        repair=False,
        on_done=lambda done, count: told.append((done, count)),
    )
    assert [verdict.to_json() for verdict in verdicts] == document["result"]["files"]
    assert [verdict.word for verdict in verdicts] == ["broken", "broken"]
    assert "NIR402" in {finding.code for finding in verdicts[0].findings}
    assert told[0] == (0, 2)
    assert told[-1] == (2, 2)


def test_check_contents(models: Path) -> None:
    """Bytes and streams, which no other process could read by their names."""
    content = Path("digits.nir").read_bytes()
    with open("digits_conv.nir", "rb") as stream:
        verdicts = nirtorch_cli.check([content, "digits.nir", stream, stream], jobs=2)
    assert [verdict.file for verdict in verdicts] == ["<bytes>", "digits.nir", "digits_conv.nir"]
    assert [verdict.word for verdict in verdicts] == ["sound"] * 3
    assert [verdict.word for verdict in nirtorch_cli.check(content[:-99])] == ["broken"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"integration": "rk4"}, ValueError, "'rk4' is none of euler, exact"),
        ({"reset": "no"}, ValueError, "'no' is none of"),
        ({"dt": 0.0}, ValueError, "dt 0.0 is not a positive number"),
        ({"dtype": "int8"}, ValueError, "dtype 'int8' is none of float16,"),
        ({"steps": 0}, ValueError, "steps must be 1 or more, not 0"),
        ({"jobs": 0}, ValueError, "jobs must be 1 or more, not 0"),
        ({"timeout": float("nan")}, ValueError, "timeout must be 0 or more seconds"),
        ({"ignore": ["X"]}, nirtorch_cli.UsageError, "ignore: no rule's code begins with 'X'"),
        ({"maps": ["none:MAP"]}, nirtorch_cli.UsageError, "none:MAP"),
        ({"device": "tpu"}, nirtorch_cli.UsageError, "there is no such device here"),
    ],
)
def test_check_refuses(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        nirtorch_cli.check(DATA / "digits.nir", **options)


def test_check_nothing(tmp_path: Path) -> None:
    assert nirtorch_cli.check([]) == []
    with pytest.raises(nirtorch_cli.UsageError, match="file in the folder"):
        nirtorch_cli.check(tmp_path)


PROGRAM = """
import nir
import torch

import nirtorch_cli

file = nirtorch_cli.read("model.nir", max_bytes=2**30)
graph: nir.NIRGraph = file.graph
problems: list[nirtorch_cli.Finding] = list(file.findings)
inspection = nirtorch_cli.inspect(graph, dt=1e-3)
delayed: list[tuple[str, str]] = [(e.source, e.target) for e in inspection.edges if e.delayed]
shown: dict[str, object] = inspection.to_json()
broken: list[str] = []
for verdict in nirtorch_cli.check(["models", b""], dtype=torch.float64, jobs=2, ignore=["NIR8"]):
    if verdict.word == "broken":
        broken.append(verdict.file)
passed: bool = all(verdict.passed for verdict in nirtorch_cli.check("model.nir"))
repaired = nirtorch_cli.repair("model.nir", type_check=False)
content: bytes = repaired.content
signs: list[str] = [change.sign + change.text for change in repaired.changes]
repaired.write("fixed.nir", clobber=False)
try:
    module: torch.fx.GraphModule = nirtorch_cli.nir_to_torch("fixed.nir", {})
except nirtorch_cli.NirtorchError as error:
    problems += error.findings
"""


def test_a_program_passes_mypy(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf8")
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\n[mypy-h5py.*,nir.*]\nignore_missing_imports = True\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "program.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    process = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stdout + process.stderr
    program.write_text(PROGRAM + "\nwrong: int = nirtorch_cli.inspect(graph)\n", encoding="utf8")
    process = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert "Incompatible types in assignment" in process.stdout


def test_the_hook_of_pre_commit_is_a_command() -> None:
    """pre-commit appends the names of changed files that match to the entry."""
    lines = (ROOT / ".pre-commit-hooks.yaml").read_text().splitlines()
    hook = dict(line.strip(" -").split(": ", 1) for line in lines if ": " in line[:20])
    assert re.search(hook["files"], "models/a.nir")
    assert not re.search(hook["files"], "models/a.nir.txt")
    program, *words = hook["entry"].split()
    assert program == "nirtorch"
    answer = CliRunner().invoke(app, [*words, str(DATA / "digits.nir"), "--quiet"])
    assert answer.exit_code == 0, answer.output
