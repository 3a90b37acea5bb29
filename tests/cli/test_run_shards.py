"""`nirtorch run` by several processes: the result of one, whatever happens to them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pages
import pytest
import torch.distributed
from conftest import DATA, ROOT
from processes import is_alive, wait_until
from typer.testing import CliRunner

from nirtorch_cli.cli import app as application
from nirtorch_cli.findings.errors import ExitCode

DIGITS = str(DATA / "digits.nir")
RECURRENT = str(DATA / "digits_recurrent.nir")

FAULTY = '''
import os, pathlib, signal, time
import nir, torch
from nirtorch_cli import default_map


class Faulty(torch.nn.Module):
    """Counts its calls; at one of them the process named is killed, raises or is slow."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x):
        self.calls += 1
        if [os.environ.get("RANK"), str(self.calls)] == os.environ.get("AT", "").split(","):
            pathlib.Path("pid").write_text(str(os.getpid()))
            if os.environ["DO"] == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if os.environ["DO"] == "raise":
                raise ValueError("it broke")
        if os.environ.get("DO") == "wait" and self.calls == 15:
            pathlib.Path("waiting" + os.environ["RANK"]).touch()
            time.sleep(60)
        return self.inner(x)


MAP = {nir.Affine: lambda node: Faulty(default_map()[nir.Affine](node))}
'''
"""Each is called once a step, 10 times for a shard."""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an input of 30 rows and a map; one thread a process, as torchrun says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    paths = [str(ROOT), str(ROOT / "mappings"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    random = np.random.default_rng(3)
    np.save("in.npy", (random.random((10, 30, 8)) < 0.3).astype(np.float32))
    Path("faulty.py").write_text(FAULTY)
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that do not outlive the test."""
    found: list[subprocess.Popen[str]] = []
    yield found
    for process in found:
        with process:
            process.kill()


def single(*arguments: str) -> None:
    command = [sys.executable, "-m", "nirtorch_cli", "run", *arguments, "-q"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def torchrun(count: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launcher(count), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )


def launcher(count: int) -> list[str]:
    options = ["--standalone", "--nproc-per-node", str(count)]
    module = ["-m", "nirtorch_cli", "--", "run"]  # else torchrun takes --start for one of its own
    return [sys.executable, "-m", "torch.distributed.run", *options, *module]


def ours(text: str) -> list[str]:
    """The lines of stderr that are not torchrun's."""
    return [line for line in text.splitlines() if line.startswith(("error:", "warning:", "note:"))]


def same_files(one: str, other: str) -> bool:
    return Path(one).read_bytes() == Path(other).read_bytes()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_it_is_what_one_process_gives(count: int) -> None:
    """To the bit: outputs, a recording, a state, and all that is said, in every format."""
    more = ["--record", "hidden.lif:v", "--record", "hidden.lif:count", "--shard", "4"]
    arguments = [RECURRENT, "-i", "in.npy", *more]
    single(*arguments, "-o", "one.npz", "--state-out", "one-state.npz")
    alone = CliRunner().invoke(application.app, ["run", *arguments, "-q", "--json"])
    done = torchrun(
        count, *arguments, "-o", "many.npz", "--state-out", "many-state.npz", "-q", "--json"
    )
    assert (done.returncode, ours(done.stderr)) == (0, [])
    expected, found = (json.loads(text)["result"] for text in (alone.stdout, done.stdout))
    for result in (expected, found):
        del result["seconds"], result["written"]
    assert found == expected
    assert found["shards"] == 8
    assert same_files("one.npz", "many.npz")
    assert same_files("one-state.npz", "many-state.npz")
    assert not Path("many.npz.parts").exists()


@pytest.mark.parametrize("form", ["h5", "csv"])
def test_other_formats_generators_and_a_state(form: str) -> None:
    """Generated inputs, rows that no shard has an equal number of, and a state to start from."""
    single(RECURRENT, "-i", "uniform", "--batch", "7", "--shard", "3", "--state-out", "s.npz")
    arguments = [RECURRENT, "-i", "poisson:rate=3000", "--batch", "7", "--shard", "3"]
    arguments += ["--start", "100", "--state-in", "s.npz", "--raster"]
    single(*arguments, "-o", f"one.{form}")
    done = torchrun(2, *arguments, "-o", f"many.{form}")
    assert done.returncode == 0, done.stderr
    assert same_files(f"one.{form}", f"many.{form}")
    assert ours(done.stderr)[-1] == "note: 3 shards by 2 processes"
    assert "batch row 0 of 7" in done.stdout
    assert done.stdout.count("output  output") == 1


def test_a_model_with_several_inputs_and_outputs() -> None:
    scale = nir.Scale(np.full(2, 0.5))
    nodes = {
        "a": nir.Input(np.array([2])),
        "b": nir.Input(np.array([2])),
        "scale": scale,
        "x": nir.Output(np.array([2])),
        "y": nir.Output(np.array([2])),
    }
    nir.write("two.nir", nir.NIRGraph(nodes, [("a", "scale"), ("scale", "x"), ("b", "y")]))
    arguments = ["two.nir", "--dt", "1e-3", "-i", "a=uniform", "-i", "b=poisson:rate=300"]
    arguments += ["--batch", "5", "--shard", "2"]
    single(*arguments, "-o", "one.npz")
    assert torchrun(2, *arguments, "-o", "many.npz").returncode == 0
    assert same_files("one.npz", "many.npz")


def test_fewer_rows_than_processes() -> None:
    arguments = [DIGITS, "-i", "uniform", "--batch", "2", "--shard", "1"]
    single(*arguments, "-o", "one.npz")
    done = torchrun(3, *arguments, "-o", "many.npz")
    assert done.returncode == 0
    assert same_files("one.npz", "many.npz")
    note = "note: 2 shards by 3 processes, fewer shards than processes: --shard makes more"
    assert ours(done.stderr)[-1] == note


SHARDS = [RECURRENT, "-i", "in.npy", "--map", "faulty.py:MAP", "--shard", "5", "-o", "out.npz"]
"""Six shards of five rows."""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_ends_the_run_and_the_next_goes_on(rank: str) -> None:
    """It dies in its second shard; the other's first is kept, and its own, and nothing is lost."""
    single(*SHARDS[:-1], "one.npz")
    begun = time.monotonic()
    done = torchrun(2, *SHARDS, DO="die", AT=f"{rank},15")
    assert time.monotonic() - begun < 60
    assert done.returncode != 0
    assert done.stdout == ""
    assert not Path("out.npz").exists()
    finished = sorted(path.name for path in Path("out.npz.parts").glob("*.json"))
    assert finished[:2] == ["0000.json", "0001.json"]
    assert len(finished) - 1 in (2, 3), "run.json, and at most the shard that the other was at"
    assert not is_alive(int(Path("pid").read_text()))
    again = torchrun(3, *SHARDS)
    assert again.returncode == 0, again.stderr
    before = f"{len(finished) - 1} of them finished before"
    assert ours(again.stderr)[-1] == f"note: 6 shards by 3 processes, {before}"
    assert same_files("out.npz", "one.npz")
    assert not Path("out.npz.parts").exists()


def test_a_process_that_fails_says_why_once() -> None:
    done = torchrun(2, *SHARDS, "-q", DO="raise", AT="1,15")
    assert done.returncode != 0
    broke = [line for line in ours(done.stderr) if "it broke" in line]
    assert len(broke) == 1
    assert broke[0].startswith(
        "error: digits_recurrent.nir: node 'affine_hidden': its module Faulty"
    )
    others = [line for line in ours(done.stderr) if line not in broke]
    assert all("another process of this run ended" in line for line in others)
    assert "nirtorch_cli/cli/app.py" not in done.stderr


def test_shards_of_another_run_are_in_the_way() -> None:
    assert torchrun(2, *SHARDS, DO="die", AT="1,15").returncode != 0
    kept = sorted(os.listdir("out.npz.parts"))
    done = torchrun(2, *SHARDS, "--steps", "9", "-q")
    assert done.returncode != 0
    (line,) = ours(done.stderr)
    text = "'out.npz.parts' has finished shards of another run; it differs in '--steps'"
    assert line == f"error: {text}; --force discards them"
    assert sorted(os.listdir("out.npz.parts")) == kept
    np.save("in.npy", np.load("in.npy") * 2)
    changed = torchrun(2, *SHARDS, "-q")
    assert "it differs in '--input'; --force discards them" in changed.stderr
    single(*SHARDS[:-1], "one.npz")
    assert torchrun(2, *SHARDS, "--force", "-q").returncode == 0
    assert same_files("out.npz", "one.npz")


def by_hand(
    count: int, *arguments: str, late: int | None = None, **environment: str
) -> list[subprocess.Popen[str]]:
    """Processes without torchrun, which would end them all if one fails; one starts 3 s late."""
    shared = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared.update({"MASTER_PORT": str(free_port()), **environment})
    command: Sequence[str] = [sys.executable, "-m", "nirtorch_cli", "run", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    found = {}
    for rank in sorted(range(count), key=lambda rank: rank == late):
        if rank == late:
            time.sleep(3)
        found[rank] = subprocess.Popen(command, env={**shared, "RANK": str(rank)}, **pipes)
    return [found[rank] for rank in range(count)]


def test_without_torchrun_the_others_notice(started: list[subprocess.Popen[str]]) -> None:
    """They end with an error, and do not wait for the one that was killed."""
    started += by_hand(3, *SHARDS, "-q", DO="die", AT="1,15")
    ends = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [1, -signal.SIGKILL, 1]
    assert [out for out, _ in ends] == ["", "", ""]
    (line,) = ends[0][1].splitlines()
    assert line.startswith("error: another process of this run ended or does not answer: ")
    assert line.endswith("; the same command goes on with the shards that are finished")
    assert ends[1:] == [("", ""), ("", "")]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is a signal to a process group")
def test_ctrl_c_keeps_what_is_finished(started: list[subprocess.Popen[str]]) -> None:
    started += by_hand(2, *SHARDS, "-q", DO="wait")
    wait_until(lambda: Path("waiting0").exists() and Path("waiting1").exists())
    time.sleep(0.5)  # until they sleep: anywhere else Python may lose a signal
    for process in started:
        process.send_signal(signal.SIGINT)
    (_, said), (_, silent) = (process.communicate(timeout=30) for process in started)
    assert [process.returncode for process in started] == [ExitCode.INTERRUPTED] * 2
    kept = "2 of 6 shards finished and kept in out.npz.parts; the same command goes on"
    assert (said, silent) == (f"error: interrupted: {kept}\n", "")
    assert not Path("out.npz").exists()


def test_an_output_that_cannot_be_written_keeps_the_shards() -> None:
    """As when the disk fills up at the very end."""
    Path("folder").mkdir()
    shutil.copy("in.npy", "folder/in.npy")
    code = "\n".join(
        [
            "from nirtorch_cli.running.signals import outputs",
            "from nirtorch_cli.findings.errors import OutputError",
            "def full(*a, **o): raise OutputError('the disk is full', file='out.npz')",
            "outputs.write_signals = full",
            "from nirtorch_cli.cli import main",
            "main()",
        ]
    )
    Path("full.py").write_text(code)
    options = ["--standalone", "--nproc-per-node", "2", "full.py", "run", *SHARDS, "-q"]
    command = [sys.executable, "-m", "torch.distributed.run", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "error: out.npz: the disk is full" in ours(done.stderr)
    single(*SHARDS[:-1], "one.npz")
    again = torchrun(2, *SHARDS)
    assert again.returncode == 0
    assert ours(again.stderr)[-1] == "note: 6 shards by 2 processes, 6 of them finished before"
    assert same_files("out.npz", "one.npz")


def test_torchrun_restarts_what_died() -> None:
    """Each time with fewer shards, until there is none at which process 1 is killed."""
    single(*SHARDS[:-1], "one.npz")
    command = launcher(2)
    command.insert(command.index("--standalone"), "--max-restarts=4")
    environment = {**os.environ, "DO": "die", "AT": "1,15"}
    done = subprocess.run(
        [*command, *SHARDS], env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert "finished before" in ours(done.stderr)[-1]
    assert same_files("out.npz", "one.npz")


@pytest.mark.parametrize("late", [0, 1])
def test_a_start_takes_nothing_from_the_one_before(
    late: int, started: list[subprocess.Popen[str]]
) -> None:
    """torchrun's store outlives a restart, and has the addresses of processes that ended."""
    single(*SHARDS[:-1], "one.npz")
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    shared = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    killed = by_hand(2, *SHARDS, "-q", DO="die", AT="1,15", **shared)
    started += killed
    assert [process.wait(60) for process in killed] == [1, -signal.SIGKILL]
    again = by_hand(2, *SHARDS, "-q", late=late, **shared)
    started += again
    said = [process.communicate(timeout=60) for process in again]
    assert [process.returncode for process in again] == [0, 0], said
    assert same_files("out.npz", "one.npz")


# --------------------------------------------------------------- the scripts of the page

PAGE = pages.text_of("nirtorch_cli/running/README.md")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def on_this_machine(text: str, first: str) -> str:
    """A script of the page for two nodes, with both of them here and a process each."""
    changes = {"=8": "=1", first: f"localhost:{free_port()}", "big.h5": "in.npy"}
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    shutil.copy(RECURRENT, "model.nir")
    single("model.nir", "-i", "in.npy", "-o", "one.h5")
    return text


@pytest.mark.skipif(os.name == "nt", reason="Slurm's script is for a POSIX shell")
def test_the_script_for_slurm(tmp_path: Path) -> None:
    """With an `srun` that starts what it is given on two nodes, both of them this machine."""
    (script,) = (block.text for block in pages.blocks(PAGE, "sh") if "#SBATCH" in block.text)
    script = on_this_machine(script, "$first:29400").replace("cpus-per-task=1", "cpus-per-task=8")
    programs = tmp_path / "bin"
    programs.mkdir()
    scontrol, srun = "printf 'here\\nthere\\n'", '"$@" & "$@"; code=$?; wait $! && exit $code'
    for name, code in {"scontrol": scontrol, "srun": srun}.items():
        (programs / name).write_text(f"#!/bin/bash\n{code}\n")
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    job = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        env={**os.environ, **job, "PATH": path},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "by 2 processes" in ours(done.stderr)[-1]
    assert same_files("out.h5", "one.h5")


def test_the_job_for_kubernetes(started: list[subprocess.Popen[str]]) -> None:
    """The command of its container, in two pods, both of them this machine."""
    (job,) = (block.text for block in pages.blocks(PAGE, "yaml") if "kind: Job" in block.text)
    assert re.search(r"completions: (\d+)", job)[1] == re.search(r"--nnodes=(\d+)", job)[1] == "2"
    job = on_this_machine(job, "spikes-0.spikes:29400")
    words = re.search(r"command: \[(.*?)\]", job, re.DOTALL)[1].split(",")
    program, *arguments = [word.strip().strip('"') for word in words]
    assert program == "torchrun"
    command = [sys.executable, "-m", "torch.distributed.run", *arguments]
    for _ in range(2):
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=180)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert same_files("out.h5", "one.h5")


# -------------------------------------------------------------- what several cannot do


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([DIGITS, "-i", "uniform"], "several processes need a file for -o, beside which they"),
        ([DIGITS, "-i", "uniform", "-o", "-", "--format", "npz"], "several processes need a file"),
        ([DIGITS, "-i", "uniform", "-o", os.devnull, "--format", "npz"], "several processes need"),
        ([DIGITS, "-i", "-", "-o", "o.npz"], "stdin goes to one process, and there are several"),
        (["-", "-i", "uniform", "-o", "o.npz"], "stdin goes to one process, and there are"),
    ],
)
def test_what_several_processes_cannot_do(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    answer = CliRunner().invoke(application.app, ["run", *arguments])
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: {said}")


def test_force_is_for_several() -> None:
    answer = CliRunner().invoke(application.app, ["run", DIGITS, "-i", "uniform", "--force"])
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stderr.startswith("error: --force is not used here: a process that was started")


def test_a_shard_size_alone_changes_only_rounding() -> None:
    """A process that was started alone runs the same shards, and keeps none of them."""
    single(DIGITS, "-i", "uniform", "--batch", "9", "-o", "one.npz", "--dtype", "float64")
    single(DIGITS, "-i", "uniform", "--batch", "9", "-o", "many.npz", "--dtype", "float64",
           "--shard", "2")  # fmt: skip
    assert sorted(path.name for path in Path().glob("*.npz*")) == ["many.npz", "one.npz"]
    with np.load("one.npz") as one, np.load("many.npz") as many:
        np.testing.assert_allclose(many["output"], one["output"], atol=1e-12)
