"""`nirtorch check`: verdicts, what files can do to it, its options and its exit codes."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from conftest import DATA, Start
from processes import is_alive, wait_until
from typer.testing import CliRunner, Result

from nirtorch_cli.batch.assess import assess
from nirtorch_cli.batch.collect import gathered
from nirtorch_cli.batch.examine import examined, usable_cpus
from nirtorch_cli.batch.portability import portability
from nirtorch_cli.batch.round_trip import proved
from nirtorch_cli.batch.task import Assessment, Refusal, Task
from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion.model import convert_model
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import ExitCode, UsageError
from nirtorch_cli.reading.graphs import read

PAIR = np.ones(2)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model("model.nir")
    return tmp_path


def write_model(name: str, does: str = "", **parameters: Any) -> None:
    """A model of a Linear and a LIF; `does` says what MAP's module for it does."""
    given = {"tau": PAIR, "r": PAIR, "v_leak": 0 * PAIR, "v_threshold": PAIR, **parameters}
    neuron = nir.LIF(**given, metadata={"does": does} if does else {})
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    nir.write(name, nir.NIRGraph.from_list(nir.Linear(2 * np.eye(2)), neuron))


def write_astray(name: str) -> None:
    """A model with an edge that leads nowhere, which nothing can repair."""
    neuron = nir.LIF(tau=PAIR, r=PAIR, v_leak=0 * PAIR, v_threshold=PAIR)
    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(2)), neuron)
    graph.edges.append(("lif", "nobody"))
    nir.write(name, graph)


def write_stale(name: str) -> None:
    """A model whose Output has a batch axis, which is repaired."""
    neuron = nir.LIF(tau=PAIR, r=PAIR, v_leak=0 * PAIR, v_threshold=PAIR)
    nodes = {"in": nir.Input(np.array([2])), "lif": neuron, "out": nir.Output(np.array([1, 2]))}
    nir.write(name, nir.NIRGraph(nodes, [("in", "lif"), ("lif", "out")], type_check=False))


def invoke(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(app, ["check", *arguments], **options)


def checked(*arguments: str, **options: Any) -> dict[str, Any]:
    """The JSON document of a check."""
    answer = invoke(*arguments, "--json", **options)
    document: dict[str, Any] = json.loads(answer.stdout)
    assert document["exit_code"] == answer.exit_code
    return document


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {file["file"]: file["verdict"] for file in document["result"]["files"]}


def codes(document: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


# ------------------------------------------------------------------ which files are meant


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.nir", "a.nir", "sub/c.nir", "sub/deep/D.NIR", "note.txt", "x[1].nir"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["b.nir", "a.nir"], ["b.nir", "a.nir"]),
        (["a.nir", "./a.nir", "sub/../a.nir"], ["a.nir"]),
        (["note.txt", "not/there.nir"], ["note.txt", "not/there.nir"]),
        (["*.nir"], ["a.nir", "b.nir", "x[1].nir"]),
        (["**/*.nir"], ["a.nir", "b.nir", "sub/c.nir", "x[1].nir"]),
        (["x[1].nir"], ["x[1].nir"]),
        (["sub"], ["sub/c.nir", "sub/deep/D.NIR"]),
        (["s*"], ["sub/c.nir", "sub/deep/D.NIR"]),
        (["sub", "."], ["sub/c.nir", "sub/deep/D.NIR", "./a.nir", "./b.nir", "./x[1].nir"]),
        (["-", "a.nir", "-"], ["-", "a.nir"]),  # in Python a file of that name
    ],
)
def test_arguments(tree: Path, arguments: list[str], files: list[str]) -> None:
    assert gathered(arguments) == [file.replace("/", os.sep) for file in files]


def test_arguments_that_lead_to_nothing(tree: Path) -> None:
    with pytest.raises(UsageError) as caught:
        gathered(["empty", "a.nir", "*.onnx", "no/**/*.nir"])
    assert str(caught.value).splitlines() == [
        "no .nir file in the folder 'empty'",
        "no .nir file for the pattern '*.onnx'",
        "no .nir file for the pattern 'no/**/*.nir'",
    ]
    answer = invoke("empty", "a.nir")
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stderr == "error: no .nir file in the folder 'empty'\n"


# ------------------------------------------------------------------------- one of each


@pytest.fixture
def one_of_each(workplace: Path) -> Path:
    write_astray("astray.nir")
    write_stale("stale.nir")
    write_model("leak.nir", tau=PAIR * 0.6e-4)
    Path("text.nir").write_text("hello")
    return workplace


def test_verdicts_and_order_and_exit_code(one_of_each: Path) -> None:
    document = checked("model.nir", "stale.nir", "nothing.nir", "astray.nir", "text.nir")
    assert list(verdicts(document).items()) == [
        ("model.nir", "sound"),
        ("stale.nir", "repaired"),
        ("nothing.nir", "broken"),
        ("astray.nir", "broken"),
        ("text.nir", "broken"),
    ]
    files = document["result"]["files"]
    assert [file["exit_code"] for file in files] == [0, 0, 3, 1, 3]
    assert [file["passed"] for file in files] == [True, True, False, False, False]
    assert document["exit_code"] == ExitCode.UNREADABLE
    assert document["result"]["summary"] == {
        "files": 5,
        "sound": 1,
        "repaired": 1,
        "broken": 3,
        "failed": 3,
    }
    by_file = {f["file"]: f["code"] for f in document["findings"] if f["severity"] == "error"}
    assert by_file == {"nothing.nir": "NIR001", "astray.nir": "NIR101", "text.nir": "NIR001"}


def test_all_formats_and_any_number_of_jobs_agree(one_of_each: Path) -> None:
    arguments = ["model.nir", "stale.nir", "leak.nir", "astray.nir", "--timeout", "0"]
    one, two = (invoke(*arguments, "--json", "-j", jobs) for jobs in "12")
    assert one.stdout == two.stdout
    assert one.stderr == two.stderr
    assert len(one.stderr.splitlines()) > 2
    for report in ("junit", "sarif", "github"):
        other = invoke(*arguments, "--format", report)
        assert other.exit_code == one.exit_code == ExitCode.UNSOUND, report
        assert "astray.nir" in other.stdout
        assert other.stderr == ("" if report == "github" else one.stderr)


def test_text_of_a_check(one_of_each: Path) -> None:
    answer = invoke("model.nir", "stale.nir", "astray.nir")
    assert answer.exit_code == ExitCode.UNSOUND
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "stale.nir: repaired",
        "astray.nir: broken",
        "3 files: 1 sound, 1 repaired, 1 broken",
    ]
    assert lines[1].startswith("  NIR202 warning  node 'out', shape: declares the shape (1, 2)")
    assert lines[1].endswith("[stale-shape]")
    assert invoke("model.nir", "-q").stdout == ""
    assert invoke("model.nir").stdout == "1 file: 1 sound\n"


def test_strict_and_select_and_ignore(one_of_each: Path) -> None:
    both = ["stale.nir", "leak.nir"]
    plain = checked(*both)
    assert verdicts(plain) == {"stale.nir": "repaired", "leak.nir": "sound"}
    assert {"NIR202", "NIR401"} <= set(codes(plain))
    assert plain["exit_code"] == ExitCode.DONE
    strict = checked(*both, "--strict")
    assert verdicts(strict) == verdicts(plain)
    assert [file["exit_code"] for file in strict["result"]["files"]] == [1, 1]
    chosen = checked(*both, "--strict", "--ignore", "NIR2,NIR8", "--ignore", "NIR3,NIR406,NIR617")
    assert verdicts(chosen) == verdicts(plain)  # repaired it was, whoever wants to hear of it
    assert [file["exit_code"] for file in chosen["result"]["files"]] == [0, 1]
    assert codes(chosen) == ["NIR401"]
    chosen = checked(*both, "astray.nir", "--select", "NIR401")
    assert codes(chosen) == ["NIR401", "NIR101"]  # what stops the examination cannot be ignored
    assert chosen["exit_code"] == ExitCode.UNSOUND


def test_no_repair(one_of_each: Path) -> None:
    document = checked("stale.nir", "--no-repair")
    assert verdicts(document) == {"stale.nir": "broken"}
    assert document["exit_code"] == ExitCode.UNSOUND


def test_options_of_the_conversion(workplace: Path) -> None:
    assert codes(checked("model.nir", "--dt", "3")) == ["NIR402"]
    assert codes(checked("model.nir", "--dt", "3", "--ignore", "NIR402")) == []
    assert codes(checked("model.nir", "--dt", "3", "--integration", "exact")) == []
    unmapped = checked("model.nir", "--no-defaults")
    assert set(codes(unmapped)) == {"NIR501"}
    assert unmapped["exit_code"] == ExitCode.UNSOUND
    skipped = checked("model.nir", "--no-defaults", "--skip-unmapped")
    assert set(codes(skipped)) == {"NIR509"}
    assert codes(checked("model.nir", "--max-bytes", "10")) == ["NIR014"]
    other = ["--dtype", "float16", "--steps", "1", "--seed", "3", "--reset", "subtract"]
    assert checked("model.nir", *other)["exit_code"] == ExitCode.DONE


# -------------------------------------------------------------------- what maps may do

MAPS = """
import os, signal, time, nir, torch

class Module(torch.nn.Module):
    def __init__(self, does):
        super().__init__()
        self.does, self.heard = does, 0.0
        if does == "lambda":
            self.unpicklable = lambda: None

    def forward(self, x, state=None):
        if self.does == "raises":
            raise RuntimeError("not\\ntoday")
        if self.does == "exits":
            raise SystemExit(0)
        if self.does == "nan":
            return x / 0 - x / 0, state
        if self.does == "bad_state":
            return x, {"v": [x / 0]}
        if self.does == "random":
            return x + torch.rand_like(x), state
        if self.does in ("keeps", "forgets"):
            self.heard = self.heard + 1
            return x * self.heard, state
        if self.does == "prints":
            print("x" * 1_000_000)
        return x, state

    def __getstate__(self):
        return {**self.__dict__, "heard": 9 if self.does == "forgets" else self.heard}

    def __setstate__(self, state):
        if state["does"] == "unloadable":
            raise ValueError("no more")
        self.__dict__.update(state)

def make(node):
    does = node.metadata.get("does", "")
    does = does.decode() if isinstance(does, bytes) else does
    if does == "dies":
        os._exit(0)
    if does == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if does == "hangs":
        while True:
            pass
    if does == "no_memory":
        raise MemoryError
    return Module(does)

MAP = {nir.LIF: make}
"""

DEEDS = {
    "raises": (
        1,
        "NIR610",
        "its module Module (--map maps.py) raised RuntimeError when it was run: not today",
    ),
    "exits": (1, "NIR610", "(--map maps.py) raised SystemExit when it was run: 0"),
    "nan": (1, "NIR611", "gives NaN or infinity on random input, at step 0 of 5 first"),
    "bad_state": (1, "NIR611", "NaN or infinity in the state of 'lif'"),
    "random": (1, "NIR632", "draws random numbers in evaluation mode, at step 0 first"),
    "keeps": (1, "NIR630", "keeps something from call to call: two runs from state=None"),
    "forgets": (1, "NIR630", "keeps something from call to call"),
    "lambda": (1, "NIR508", "its module Module (--map maps.py) cannot be saved"),
    "unloadable": (1, "NIR508", "cannot be loaded: it is not a saved module"),
    "prints": (0, None, ""),
    "no_memory": (1, "NIR506", "the mapper of LIF (--map maps.py) raised MemoryError"),
    "dies": (1, "NIR613", "died: it ended with exit code 0"),
    "crashes": (1, "NIR613", "died: it was killed by SIGSEGV"),
    "hangs": (1, "NIR614", "took longer than 4 s and was stopped"),
    "nothing": (0, None, ""),
}


@pytest.fixture(scope="module")
def deeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One check of a file for each deed: exit code, finding, and what is said of it."""
    folder = tmp_path_factory.mktemp("deeds")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("maps.py").write_text(MAPS)
        for does in DEEDS:
            write_model(f"models/{does}.nir", does)
        files = [f"models/{does}.nir" for does in DEEDS]
        options = ["--map", "maps.py", "--json", "--timeout", "4", "-j", "2", "--steps", "5"]
        process = subprocess.run(
            [sys.executable, "-m", "nirtorch_cli", "check", *files, *options],
            capture_output=True,
            text=True,
            timeout=120,
        )
        document = json.loads(process.stdout)
        document["stderr"] = process.stderr
        assert process.returncode == document["exit_code"] == ExitCode.UNSOUND
        yield document
    finally:
        os.chdir(before)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("does", DEEDS)
def test_what_a_map_may_do(deeds: dict[str, Any], does: str) -> None:
    code, rule, message = DEEDS[does]
    files = {Path(file["file"]).stem: file for file in deeds["result"]["files"]}
    file = files[does]
    assert file["exit_code"] == code, file
    assert [finding["code"] for finding in file["findings"]] == ([rule] if rule else [])
    if rule:
        (finding,) = file["findings"]
        assert message in finding["message"]
        assert finding["file"] == f"models/{does}.nir"
        assert finding["node"] == (None if rule in ("NIR613", "NIR614") else "lif")


def test_files_stay_in_order_and_prints_out_of_the_answer(deeds: dict[str, Any]) -> None:
    assert [Path(f["file"]).stem for f in deeds["result"]["files"]] == list(DEEDS)
    # Run, run again, loaded and run; by itself twice, with another seed, and in other batches.
    assert deeds["stderr"].count("x" * 1_000_000) == (3 + 3 + 3) * 5
    assert "Traceback" not in deeds["stderr"]


def test_a_pickle_that_forgets_weights(workplace: Path) -> None:
    Path("maps.py").write_text(
        "import nir, torch\n"
        "class Forgets(torch.nn.Module):\n"
        "    gain = 2.0\n"
        "    def forward(self, x):\n"
        "        return x * self.gain\n"
        "    def __getstate__(self):\n"
        "        return {**self.__dict__, 'gain': 3.0}\n"
        "MAP = {nir.LIF: lambda node: Forgets()}\n"
    )
    (finding,) = checked("model.nir", "--map", "maps.py")["findings"]
    assert finding["code"] == "NIR612"
    assert finding["hint"] == "a mapped module keeps something that its pickle does not hold"


def test_a_model_that_cannot_be_run(workplace: Path) -> None:
    document = checked("model.nir", "--device", "meta")
    assert codes(document) == ["NIR615"]
    assert document["findings"][0]["severity"] == "warning"
    assert document["exit_code"] == ExitCode.DONE
    assert checked("model.nir", "--device", "meta", "--strict")["exit_code"] == ExitCode.UNSOUND
    # It is not examined to its end, so it is not ignored.
    assert codes(checked("model.nir", "--device", "meta", "--ignore", "ALL")) == ["NIR615"]


# ----------------------------------------------------- what is the fault of no file


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--map", "nowhere"], 2, "--map nowhere: no module 'nowhere'"),
        (["--device", "gpu"], 2, "--device 'gpu' cannot be used"),
        (["--map", "raises.py"], 2, "--map raises.py: raised"),
    ],
)
def test_a_wrong_request_ends_the_command(
    workplace: Path, options: list[str], code: int, message: str
) -> None:
    """Said once, though every file shows it, and though the first does not get so far."""
    Path("raises.py").write_text("raise SystemExit(0)\n")
    write_model("other.nir")
    answer = invoke("no.nir", "model.nir", "other.nir", *options)
    assert answer.exit_code == code
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize("as_json", [["--json"], ["--format", "json"], ["--format=json"]])
def test_a_failure_in_json(workplace: Path, as_json: list[str]) -> None:
    document = json.loads(invoke("model.nir", "--dt", "soon", *as_json).stdout)
    assert (document["exit_code"], document["result"]) == (ExitCode.USAGE, None)
    assert document["command"] == "check"


def test_a_missing_framework_ends_the_command(workplace: Path) -> None:
    """A pack in a distribution of its own, whose framework is not there."""
    info = workplace / "pack-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pack\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nirtorch.maps]\nneeding = needing:MAP\n")
    (workplace / "needing.py").write_text("import framework_that_is_not_there\nMAP = {}\n")
    answer = subprocess.run(
        [sys.executable, "-m", "nirtorch_cli", "check", "model.nir", "--map", "needing"],
        env={**os.environ, "PYTHONPATH": str(workplace)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == ExitCode.MISSING_FRAMEWORK, answer
    assert answer.stdout == ""
    assert "the pack needs 'framework_that_is_not_there'" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strict"], "missing argument 'MODEL...'; see 'nirtorch check --help'"),
        (["model.nir", "--format", "xml"], "Invalid value for '--format'"),
        (["model.nir", "--select", "NIR1,X9"], "--select: no rule's code begins with 'X9'"),
        (["model.nir", "--ignore", "E501"], "--ignore: no rule's code begins with 'E501'"),
        (["model.nir", "--jobs", "0"], "Invalid value for '--jobs'"),
        (["model.nir", "--timeout", "-1"], "Invalid value for '--timeout'"),
        (["model.nir", "--dt", "soon"], "--dt 'soon' is neither 'auto' nor a positive number"),
        (["model.nir", "-o", "model.nir", "--format", "text"], "model.nir: the output is the"),
        (["model.nir", "-o", "out.html"], "'out.html': a report cannot be written as '.html'"),
        (
            ["model.nir", "-o", "no/report.xml"],
            "no/report.xml: cannot be written: there is no",
        ),
        (["model.nir", "-o", "old.txt", "-n"], "old.txt: exists already"),
    ],
)
def test_usage(workplace: Path, arguments: list[str], message: str) -> None:
    Path("old.txt").touch()
    answer = invoke(*arguments)
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert Path("old.txt").read_bytes() == b""


# ------------------------------------------------------------------- reports and pages


def test_json_and_another_format() -> None:
    answer = invoke("model.nir", "--json", "--format", "sarif")
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stderr == "error: --json and --format sarif ask for two reports\n"


@pytest.mark.parametrize("report", ["text", "junit"])
def test_a_report_in_a_file(one_of_each: Path, report: str) -> None:
    arguments = ["model.nir", "stale.nir", "astray.nir", "--format", report]
    answer = invoke(*arguments, "-o", "report")
    assert answer.exit_code == ExitCode.UNSOUND
    assert answer.stdout == ""
    lines = answer.stderr.splitlines()
    assert lines[0].startswith("warning: stale.nir: node 'out', shape: ")
    assert lines[-2].startswith("error: astray.nir: ")
    assert lines[-1] == "note: 3 files: 1 sound, 1 repaired, 1 broken"
    content = Path("report").read_text(encoding="utf8")
    printed = invoke(*arguments).stdout
    untimed = [re.sub(r'time="[\d.]+"', "", text) for text in (content, printed)]
    assert untimed[0] == untimed[1]
    assert not list(one_of_each.glob(".nirtorch-*"))


def test_rules() -> None:
    listed = invoke("--list-rules")
    assert listed.exit_code == ExitCode.DONE
    assert "NIR202  warning   stale-shape" in listed.stdout
    rules = checked("--list-rules")["result"]["rules"]
    assert [rule["code"] for rule in rules] == sorted(rule["code"] for rule in rules)
    assert len(listed.stdout.splitlines()) == len(rules) + 1
    with_format = json.loads(invoke("--list-rules", "--format", "json").stdout)
    assert with_format["result"]["rules"] == rules


@pytest.mark.parametrize("name", ["NIR202", "nir202", "stale-shape"])
def test_explain(name: str) -> None:
    page = invoke("--explain", name).stdout
    assert page.startswith("NIR202 stale-shape (warning; ")
    assert "\nRepair stale-shape\n" in page
    assert "  When: " in page
    document = checked("--explain", name)
    assert document["result"]["rule"]["code"] == "NIR202"
    assert [repair["name"] for repair in document["result"]["repairs"]] == ["stale-shape"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("NIR20", "did you mean 'NIR202', "),
        ("stal-shape", "did you mean 'stale-shape'?"),
        ("qwxz", "--list-rules shows all"),
    ],
)
def test_explain_what_is_no_rule(name: str, hint: str) -> None:
    answer = invoke("--explain", name)
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stderr.startswith(f"error: --explain: no rule is called '{name}'; ")
    assert hint.split("'")[0] in answer.stderr


# ----------------------------------------------------------------------------- stdin


def test_stdin(workplace: Path) -> None:
    content = Path("model.nir").read_bytes()
    document = checked("-", "model.nir", "-", input=content)
    assert verdicts(document) == {"<stdin>": "sound", "model.nir": "sound"}
    broken = checked("-", input=b"hello")
    assert broken["exit_code"] == ExitCode.UNREADABLE
    assert broken["findings"][0]["file"] == "<stdin>"


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_pipe_of_the_shell(workplace: Path) -> None:
    command = f"'{sys.executable}' -m nirtorch_cli check <(cat model.nir)"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout) == (0, "1 file: 1 sound\n"), answer.stderr


# --------------------------------------------------------------------------- processes


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc who is alive")
@pytest.mark.parametrize("group", [False, True])
def test_interrupted(workplace: Path, group: bool, interruptible: Start) -> None:
    """Ctrl-C, which a terminal sends to the workers too: 130, one line, nothing left behind."""
    Path("maps.py").write_text(
        "import nir, os, pathlib\n"
        "def make(node):\n"
        "    pathlib.Path(f'{os.getpid()}.pid').touch()\n"
        "    while True: pass\n"
        "MAP = {nir.LIF: make}\n"
    )
    write_model("other.nir")
    process = interruptible(
        [sys.executable, "-m", "nirtorch_cli", "check", ".", "--map", "maps", "-j", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 40
    while len(list(workplace.glob("*.pid"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = time.monotonic()
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - started < 10, "it waits for no worker"
    assert (process.returncode, stdout, stderr) == (130, b"", b"error: interrupted\n")
    pids = [int(path.stem) for path in workplace.glob("*.pid")]
    wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
@pytest.mark.parametrize(
    ("closing", "stdout"),
    [(">&-", ""), ("2>&-", "1 file: 1 sound\n"), ("<&- >&- 2>&-", "")],
)
def test_closed_streams(workplace: Path, closing: str, stdout: str) -> None:
    command = f"'{sys.executable}' -m nirtorch_cli check model.nir {closing}"
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, stdout, "")


def test_the_parent_loads_no_torch(workplace: Path) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['nirtorch', 'check', 'model.nir', '-j', '2']\n"
        "from nirtorch_cli.cli import main\n"
        "if __name__ == '__main__':\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "    print([m for m in ('torch', 'nir', 'numpy', 'h5py') if m in sys.modules])\n"
    )
    Path("script.py").write_text(code)
    answer = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=60
    )
    assert (answer.stdout, answer.stderr) == ("1 file: 1 sound\n[]\n", "")


def test_the_console_script(workplace: Path) -> None:
    script = Path(sys.executable).parent / "nirtorch"
    if not script.exists():
        pytest.skip("the package is not installed here")
    answer = subprocess.run(
        [str(script), "check", str(DATA / "digits*.nir"), "-j", "2", "--ignore", "NIR8"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == "3 files: 3 sound\n"


def test_closing_early_leaves_no_process(workplace: Path) -> None:
    found = examined([Task("model.nir")] * 3, jobs=2, timeout=0)
    assert next(found).findings == ()
    found.close()
    assert active_children() == []


def test_processors_can_be_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert usable_cpus() >= 1
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("nirtorch_cli.reading.processors._CGROUP_QUOTA", quota)
    quota.write_text("100000 100000\n")
    assert usable_cpus() == 1
    quota.write_text("max 100000\n")
    unlimited = usable_cpus()
    quota.unlink()
    assert usable_cpus() == unlimited


# ------------------------------------------------------- one file, without a process


def test_a_bug_is_told_on_its_file(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("this\ncannot be")

    monkeypatch.setattr("nirtorch_cli.batch.converted.convert_model", broken)
    assessment = assess(Task("model.nir"))
    assert isinstance(assessment, Assessment)
    assert assessment.exit_code == ExitCode.BUG
    (finding,) = assessment.obstacles
    assert (finding.code, finding.file) == ("NIR900", "model.nir")
    assert finding.message == "a bug in nirtorch: AssertionError: this cannot be"


def test_too_little_memory_is_told_on_its_file(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("nirtorch_cli.batch.assess.read", broken)
    assessment = assess(Task("model.nir"))
    assert isinstance(assessment, Assessment)
    assert [finding.code for finding in assessment.obstacles] == ["NIR902"]
    assert assessment.exit_code == ExitCode.UNSOUND


@pytest.mark.parametrize("debug", [False, True])
def test_debug_shows_tracebacks(
    workplace: Path, debug: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    write_astray("astray.nir")
    assess(Task("astray.nir", debug=debug))
    assert ("Traceback (most recent call last):" in capfd.readouterr().err) == debug


def test_a_wrong_request_is_refused(workplace: Path) -> None:
    refusal = assess(Task("model.nir", request=Options(maps=("nowhere",))))
    assert isinstance(refusal, Refusal)
    assert refusal.exit_code == ExitCode.USAGE
    assert refusal.findings[0].code == "NIR511"


def test_an_assessment_is_nothing_but_plain_values(workplace: Path) -> None:
    """Another process unpickles it, which has neither nir nor numpy."""
    write_stale("stale.nir")
    assessment = assess(Task("stale.nir"))
    assert isinstance(assessment, Assessment)
    assert pickle.loads(pickle.dumps(assessment)) == assessment
    assert b"numpy" not in pickle.dumps(assessment)


def test_an_input_whose_shape_is_not_known(workplace: Path) -> None:
    module = convert_model(read("model.nir"), Options())
    taken, _ = module.meta["shapes"]["input"]
    module.meta["shapes"]["input"] = (taken, None)
    (finding,) = proved(module, steps=2, batch=2, seed=0).findings
    assert finding.code == "NIR615"
    assert finding.message == "was not run: the shape of the Input 'input' is not known"


def test_what_is_stored_is_what_was_converted(workplace: Path) -> None:
    module = convert_model(read("model.nir"), Options())
    assert proved(module, steps=3, batch=2, seed=0) == ([], 3)


def test_an_output_that_overflows(workplace: Path) -> None:
    nodes = nir.Linear(np.full((2, 2), 3e38)), nir.Scale(np.full(2, 2.0))
    nir.write("large.nir", nir.NIRGraph.from_list(*nodes))
    assessment = assess(Task("large.nir"))
    assert isinstance(assessment, Assessment)
    (finding,) = assessment.obstacles
    assert (finding.code, finding.node) == ("NIR611", "output")


def test_a_state_that_overflows_in_a_nested_graph(workplace: Path) -> None:
    inner = nir.NIRGraph.from_list(nir.Linear(np.full((2, 2), 3e38)), nir.I(PAIR * 2))
    ports = {"in": nir.Input(np.array([2])), "out": nir.Output(np.array([2]))}
    edges = [("in", "inner"), ("inner", "above"), ("above", "out")]
    nodes = {**ports, "inner": inner, "above": nir.Threshold(PAIR)}
    nir.write("nested.nir", nir.NIRGraph(nodes, edges, type_check=False))
    assessment = assess(Task("nested.nir"))
    assert isinstance(assessment, Assessment)
    (finding,) = assessment.obstacles
    assert (finding.code, finding.node) == ("NIR611", "inner/i")


# ------------------------------------------------------------------------ portability


def portable(source: str | bytes) -> list[tuple[str, str]]:
    found = portability(read(source), source)
    return [(finding.code, finding.severity) for finding in found]


def test_what_nir_says(workplace: Path) -> None:
    assert portable("model.nir") == []
    assert portable(Path("model.nir").read_bytes()) == []
    write_stale("stale.nir")
    assert portable("stale.nir") == [("NIR802", "info")]
    with h5py.File("model.nir", "a") as file:
        file["node/nodes/linear/surplus"] = 1
    assert portable("model.nir") == [("NIR801", "warning")]
    (finding,) = portability(read("model.nir"), "model.nir")
    assert finding.message.startswith("nir.read cannot read it: ")
    assert len(finding.message) < 300


def test_nir_does_not_get_what_was_not_looked_at(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File("model.nir", "a") as file:
        file["node/metadata/pair"] = np.zeros(2, dtype=[("a", "i4"), ("b", "f4")])
    monkeypatch.setattr(nir, "read", None)
    assert portable("model.nir") == [("NIR803", "info")]
    with h5py.File("model.nir", "a") as file:
        file.create_dataset("node/nodes/linear/surplus", (2**40,), "f8", chunks=(1,))
    assert portable("model.nir") == [("NIR801", "warning")]


def test_what_would_take_nir_long_is_not_tried(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nirtorch_cli.batch.portability.MOST_WORK", 11)
    assert portable("model.nir") == [("NIR803", "info")]  # 4 nodes, 3 edges
    monkeypatch.setattr("nirtorch_cli.batch.portability.MOST_WORK", 12)
    assert portable("model.nir") == []


@pytest.mark.parametrize(
    ("name", "begins"),
    [("r.txt", "1 file: 1 sound"), ("r.json", "{"), ("r.xml", "<?xml"), ("r.sarif", "{")],
)
def test_a_report_is_written_as_its_name_ends(workplace: Path, name: str, begins: str) -> None:
    answer = CliRunner().invoke(app, ["check", "model.nir", "-o", name])
    assert answer.exit_code == 0, answer.stderr
    assert Path(name).read_text().startswith(begins)
    if name == "r.sarif":
        assert json.loads(Path(name).read_text())["version"] == "2.1.0"
