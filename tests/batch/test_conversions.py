"""Many files to a folder: what is up to date, broken or interrupted, and the manifest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nirtorch_cli import load
from nirtorch_cli.batch.many import MANIFEST
from nirtorch_cli.cli.app import app
from nirtorch_cli.findings.errors import ExitCode

MAP = """
import nir, torch

class Doubled(torch.nn.Module):
    def forward(self, x):
        return {factor} * x

MAP = {{nir.Scale: lambda node: Doubled()}}
"""


def model(path: Path, value: float = 1.0, size: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nir.write(path, nir.NIRGraph.from_list(nir.Scale(np.full(size, value))))
    return path


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with models of which one lies deeper, and one is broken."""
    monkeypatch.chdir(tmp_path)
    model(Path("models/a.nir"), 2.0)
    model(Path("models/sub/b.nir"), 3.0)


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    answer = CliRunner().invoke(app, ["convert", *arguments, "--json", "--quiet"])
    return answer.exit_code, json.loads(answer.stdout)


def statuses(*arguments: str, code: int = 0) -> dict[str, str]:
    """By artefact, what became of it."""
    found, document = run(*arguments, "--out-dir", "out")
    assert found == code, document
    return {Path(one["output"]).as_posix(): one["status"] for one in document["result"]["files"]}


def manifest() -> dict[str, dict[str, Any]]:
    document = json.loads(Path("out", MANIFEST).read_text())
    assert document["schema_version"] == 1
    return {entry["output"]: entry for entry in document["files"]}


BOTH = {"out/a.pt": "converted", "out/sub/b.pt": "converted"}
NEITHER = dict.fromkeys(BOTH, "up to date")


def test_files_keep_their_places() -> None:
    assert statuses("models") == BOTH
    x = torch.ones(1, 3)
    assert torch.equal(load("out/a.pt")(x)[0], 2 * x)
    assert torch.equal(load("out/sub/b.pt")(x)[0], 3 * x)
    entries = manifest()
    assert set(entries) == {"a.pt", "sub/b.pt"}
    assert entries["sub/b.pt"]["file"] == os.path.join("models", "sub", "b.nir")
    assert all(len(entry["sha256"]) == 64 for entry in entries.values())


def test_what_is_up_to_date_is_not_done_again() -> None:
    assert statuses("models") == BOTH
    before = Path("out/a.pt").stat().st_mtime_ns
    assert statuses("models") == NEITHER
    assert Path("out/a.pt").stat().st_mtime_ns == before
    assert statuses("models", "--force") == BOTH


def test_what_changed_is_done_again() -> None:
    statuses("models")
    model(Path("models/a.nir"), 5.0)
    assert statuses("models") == {**NEITHER, "out/a.pt": "converted"}
    assert load("out/a.pt")(torch.ones(1, 3))[0][0, 0] == 5
    Path("out/sub/b.pt").unlink()
    assert statuses("models") == {**NEITHER, "out/sub/b.pt": "converted"}
    Path("out/a.pt").write_bytes(b"damaged")
    assert statuses("models") == {**NEITHER, "out/a.pt": "converted"}
    assert statuses("models", "--dtype", "float64") == BOTH
    Path("out", MANIFEST).write_text("{")
    assert statuses("models") == BOTH


def test_a_map_that_changed_is_another_request() -> None:
    Path("mymap.py").write_text(MAP.format(factor=2))
    assert statuses("models", "--map", "mymap.py:MAP") == BOTH
    assert statuses("models", "--map", "mymap.py:MAP") == NEITHER
    Path("mymap.py").write_text(MAP.format(factor=7))
    assert statuses("models", "--map", "mymap.py:MAP") == BOTH
    assert statuses("models", "--map-node", "sc*=mymap.py:MAP") == BOTH


def test_a_broken_file_stops_no_other() -> None:
    Path("models/broken.nir").write_bytes(b"no HDF5")
    odd = nir.NIRGraph({"input": nir.Input(np.array([3]))}, [], type_check=False)
    nir.write("models/odd.nir", odd)
    found = statuses("models", code=ExitCode.UNSOUND)
    assert found == {**BOTH, "out/broken.pt": "failed", "out/odd.pt": "failed"}
    assert not Path("out/broken.pt").exists()
    assert manifest()["broken.pt"]["findings"][0]["code"] == "NIR001"
    Path("models/odd.nir").unlink()
    found = statuses("models", code=ExitCode.UNREADABLE)
    assert found == {**NEITHER, "out/broken.pt": "failed"}
    answer = CliRunner().invoke(app, ["convert", "models", "--out-dir", "out", "--quiet"])
    assert answer.stdout.splitlines() == [f"{os.path.join('models', 'broken.nir')}: failed"]


def test_other_formats() -> None:
    assert set(statuses("models", "--to", "safetensors")) == {
        "out/a.safetensors",
        "out/sub/b.safetensors",
    }
    assert set(statuses("models/a.nir", "--to", "nir")) == {"out/a.nir"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["models/a.nir", "models/sub/b.nir"], "2 models, and no folder for the results"),
        (["models/a.nir", "--jobs", "2"], "--jobs is for --out-dir"),
        (["models/a.nir", "--force"], "--force is for --out-dir"),
        (["models", "--out-dir", "out", "-o", "x.pt", "--code"], "-o, --code: for one model"),
        (["-", "--out-dir", "out"], "- (stdin) has no name"),
        (["models", "--out-dir", "out", "--to", "ptt"], "no format of modules"),
        (["models", "other/a.nir", "--out-dir", "out"], "would both become"),
        (["models", "--out-dir", "models", "--to", "nir"], "is the file itself"),
        (["nothing/*.nir", "--out-dir", "out"], "no .nir file for the pattern"),
    ],
)
def test_requests_that_are_refused(arguments: list[str], text: str) -> None:
    model(Path("other/a.nir"))
    answer = CliRunner().invoke(app, ["convert", *arguments])
    assert answer.exit_code == ExitCode.USAGE, answer.output
    assert text in answer.stderr
    assert not Path("out", MANIFEST).exists()
    assert len(list(Path("models").rglob("*"))) == 3


SLOW_MAP = """
import time, nir, torch

def slow(node):
    time.sleep(0.1)
    return torch.nn.Identity()

MAP = {nir.Scale: slow}
"""


def started(count: int) -> subprocess.Popen[str]:
    """A run over many slow files, after the first of them; more than a busy machine gets done."""
    Path("slow.py").write_text(SLOW_MAP)
    for number in range(count):
        model(Path(f"many/{number:02}.nir"), number)
    command = [sys.executable, "-m", "nirtorch_cli", "convert", "many", "--out-dir", "out"]
    process = subprocess.Popen(
        [*command, "--map", "slow.py", "-j", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not Path("out/02.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_keeps_what_was_done_and_the_next_run_goes_on() -> None:
    process = started(60)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, stderr
    assert "Traceback" not in stderr
    assert "many/59.nir: interrupted" in stdout
    assert "not reached: interrupted" in stderr
    done = [name for name, entry in manifest().items() if entry["status"] == "converted"]
    assert 2 <= len(done) < 60
    again = statuses("many", "--map", "slow.py")
    assert [again[f"out/{name}"] for name in done] == ["up to date"] * len(done)
    assert set(again.values()) == {"converted", "up to date"}


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_killed_run_leaves_whole_artefacts_and_the_next_goes_on() -> None:
    process = started(8)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    there = sorted(Path("out").glob("*.pt"))
    while time.monotonic() < deadline and there != (there := sorted(Path("out").glob("*.pt"))):
        time.sleep(0.5)  # its process may finish the file that it has
    for file in there:
        load(file)
    again = statuses("many", "--map", "slow.py")
    assert len(again) == 8
    assert set(again.values()) <= {"converted", "up to date"}
    assert set(statuses("many", "--map", "slow.py").values()) == {"up to date"}


def test_a_process_that_dies_fails_its_file_only() -> None:
    Path("deadly.py").write_text(
        "import os, nir, torch\n"
        "def mapper(node):\n"
        "    if node.scale[0] == 2: os._exit(7)\n"
        "    return torch.nn.Identity()\n"
        "MAP = {nir.Scale: mapper}\n"
    )
    found = statuses("models", "--map", "deadly.py", code=ExitCode.UNSOUND)
    assert found == {**BOTH, "out/a.pt": "failed"}
    assert "exit code 7" in manifest()["a.pt"]["findings"][0]["message"]
