"""`check --static`: the findings of a conversion, without one and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from conftest import DATA, SHARED
from typer.testing import CliRunner

from nirtorch_cli.batch.assess import assess
from nirtorch_cli.batch.task import Assessment, Task
from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion.options import Options

OF_A_RUN = ("NIR6", "NIR5")
"""What only a run or a map can tell."""

FILES = sorted((*DATA.glob("*.nir"), *SHARED.glob("nir/*.nir"), *SHARED.glob("hunt/**/*.nir")))
FILES += sorted(SHARED.glob("frameworks/**/*.nir"))[::3]

ASKED: Mapping[str, dict[str, Any]] = {
    "default": {},
    "exact": {"integration": "exact"},
    "dt": {"dt": 1.0},
    "current": {"integrator_input": "current"},
    "reset": {"reset": "subtract"},
    "half": {"dtype": "float16"},
    "as it is": {"repair": False},
    "skip": {"skip_unmapped": True},
}


def found(file: Path, is_static: bool, **asked: Any) -> tuple[set[tuple[Any, ...]], int]:
    """What is said of a file, without what only a run tells, and the exit code."""
    assessment = assess(Task(str(file), request=Options(**asked), is_static=is_static))
    assert isinstance(assessment, Assessment)
    findings = (*assessment.findings, *assessment.obstacles)
    said = {
        (f.code, f.severity, f.node, f.parameter, f.message, f.hint)
        for f in findings
        if not f.code.startswith(OF_A_RUN)
    }
    return said, assessment.exit_code


@pytest.mark.parametrize("file", FILES, ids=lambda file: "-".join(file.parts[-2:]))
def test_a_static_check_says_what_a_conversion_finds(file: Path) -> None:
    static, code = found(file, is_static=True)
    full, full_code = found(file, is_static=False)
    assert static == full
    assert code <= full_code


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("name", ["digits.nir", "digits_recurrent.nir", "damaged.nir"])
def test_options_count(name: str, asked: dict[str, Any]) -> None:
    assert found(DATA / name, is_static=True, **asked) == found(DATA / name, False, **asked)


def test_an_unknown_type(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "a.nir"
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(np.eye(2)), nir.Scale(np.ones(2))))
    with h5py.File(path, "r+") as file:
        del file["node/nodes/scale/type"]
        file["node/nodes/scale/type"] = "Gain"
    said, code = found(path, is_static=True)
    assert code == 1
    assert [(one[0], one[2]) for one in said if one[1] == "error"] == [("NIR005", "scale")]
    assert found(path, is_static=True, skip_unmapped=True)[1] == 0


def test_a_step_that_takes_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(np.ones((1000, 1000), np.float32))))
    assessment = assess(Task(str(path), max_bytes=1_000_000, is_static=True))
    assert isinstance(assessment, Assessment)
    assert [finding.code for finding in assessment.obstacles] == ["NIR014"]


# -------------------------------------------------------------------------------- the command


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["check", *arguments, "--static"])


def test_the_report() -> None:
    answer = invoke(str(DATA / "digits.nir"), str(DATA / "damaged.nir"), "--json")
    assert answer.exit_code == 0
    document = json.loads(answer.stdout)
    assert [(f["verdict"], f["steps"]) for f in document["result"]["files"]] == [
        ("sound", 0),
        ("repaired", 0),
    ]
    strict = invoke(str(DATA / "damaged.nir"), "--strict")
    assert strict.exit_code == 1


def test_what_a_static_check_cannot_do() -> None:
    file = str(DATA / "digits.nir")
    for more in (["--map", "snntorch"], ["--map-node", "output=snntorch"], ["--no-defaults"]):
        answer = invoke(file, *more)
        assert answer.exit_code == 2
        assert "a static check is by the default map" in answer.stderr
    answer = invoke(file, "--steps", "3")
    assert answer.exit_code == 2
    assert "a static check runs no steps" in answer.stderr


def test_the_maps_of_a_project_are_for_conversions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.nirtorch]\nmap = "snntorch"\n')
    assert invoke(str(DATA / "digits.nir")).exit_code == 0
    assert invoke(str(DATA / "digits.nir"), "--map", "norse").exit_code == 2


PROGRAM = """
import nirtorch_cli, sys
(verdict,) = nirtorch_cli.check(sys.argv[1], static=True, jobs=1)
print(verdict.word, [node.node for node in nirtorch_cli.inspect(sys.argv[1]).nodes][0])
nirtorch_cli.repair(sys.argv[1]).write("fixed.nir")
print(len(nirtorch_cli.read("fixed.nir").graph.nodes), "torch" in sys.modules)
try:
    nirtorch_cli.nir_to_torch(sys.argv[1], {})
except ImportError as error:
    print(error)
"""


def test_where_there_is_no_torch(tmp_path: Path) -> None:
    """A CI job that judges files needs no torch, neither the command nor the library."""
    hidden = tmp_path / "hidden" / "torch"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    )
    path = os.pathsep.join([str(hidden.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    for command in (
        ["-m", "nirtorch_cli", "check", str(DATA / "digits.nir"), "--static", "--quiet"],
        ["-c", PROGRAM, str(DATA / "digits.nir")],
    ):
        answer = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            timeout=120,
        )
        assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == ["sound input", "6 False", "No module named 'torch'"]
