"""The command line when something is wrong: one line, the right exit code, nothing half done."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from conftest import Start
from typer.testing import CliRunner, Result

from nirtorch_cli import load
from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.findings.errors import ExitCode, OutputError, ReadError, SaveError

COMMANDS = ["convert", "inspect", "repair"]
OLD = b"the old content"


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a model in it."""
    monkeypatch.chdir(tmp_path)
    one = np.ones(2)
    neuron = nir.LIF(one, one, 0 * one, one)
    nir.write("model.nir", nir.NIRGraph.from_list(nir.Linear(np.eye(2)), neuron))
    return tmp_path


def invoke(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(app, list(arguments), **options)


def failure(code: int, *arguments: str, **options: Any) -> str:
    """The one line on stderr with which a command fails; nothing is on stdout.

    With --json, one document is on stdout that says the same, and the exit code is the same.
    """
    answer = invoke(*arguments, **options)
    assert answer.exit_code == code, answer.stderr
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    if "-" not in arguments:
        in_json(code, line.removeprefix("error: "), *arguments, **options)
    return line.removeprefix("error: ")


def in_json(code: int, line: str, *arguments: str, **options: Any) -> None:
    answer = invoke(*arguments, "--json", **options)
    assert answer.exit_code == code
    document = json.loads(answer.stdout)
    assert list(document) == [
        "schema_version",
        "command",
        "ok",
        "exit_code",
        "findings",
        "result",
    ]
    assert document["schema_version"] == 1
    assert document["command"] == (arguments[0] if arguments[0] in COMMANDS else "")
    assert document["ok"] is False
    assert document["exit_code"] == code
    assert document["result"] is None
    (finding,) = document["findings"]
    assert finding["severity"] == "error"
    assert finding["message"] in line
    assert answer.stderr == f"error: {line}\n"


# ---- the input


@pytest.mark.parametrize("command", COMMANDS)
def test_missing(command: str) -> None:
    assert failure(ExitCode.UNREADABLE, command, "no.nir") == "no.nir: no such file"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_name(command: str) -> None:
    assert failure(ExitCode.UNREADABLE, command, "") == "'': no such file"


@pytest.mark.parametrize("command", ["convert", "inspect"])  # repair takes those in it
def test_a_directory(command: str) -> None:
    assert failure(ExitCode.UNREADABLE, command, ".") == ".: is a directory; name a .nir file"


@pytest.mark.parametrize("command", COMMANDS)
def test_not_hdf5(command: str) -> None:
    Path("text.nir").write_text("hello")
    assert failure(ExitCode.UNREADABLE, command, "text.nir") == (
        "text.nir: is not an HDF5 file; a .nir file is an HDF5 file written by nir.write"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_empty(command: str) -> None:
    Path("empty.nir").touch()
    assert failure(ExitCode.UNREADABLE, command, "empty.nir") == (
        "empty.nir: is empty; a .nir file is an HDF5 file; was it written completely?"
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_truncated(command: str, share: float) -> None:
    content = Path("model.nir").read_bytes()
    Path("half.nir").write_bytes(content[: int(len(content) * share)])
    assert failure(ExitCode.UNREADABLE, command, "half.nir") == (
        "half.nir: is a truncated HDF5 file; copy or write it again"
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("content", [b"", b"hello"])
def test_stdin_that_is_no_model(command: str, content: bytes) -> None:
    line = failure(ExitCode.UNREADABLE, command, "-", input=content)
    assert line.partition(": ")[2].startswith("is empty; " if not content else "is not an HDF5")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_limit_on_what_a_file_claims(command: str) -> None:
    line = failure(ExitCode.UNREADABLE, command, "model.nir", "--max-bytes", "100")
    assert line.startswith("model.nir: the file's data claim more than 100 bytes, ")
    assert line.endswith("; if you trust the file, raise the limit (--max-bytes)")


@pytest.mark.parametrize("name", ["a\nb.nir", "\x1b[31mred.nir"])
def test_a_strange_file_name_stays_on_its_line(name: str) -> None:
    escaped = name.replace("\n", r"\n").replace("\x1b", r"\x1b")
    assert failure(ExitCode.UNREADABLE, "inspect", name) == f"{escaped}: no such file"


# ---- the request

BY_PYDANTIC = version("typer") >= "0.29"
AN_INT = "int" if version("typer") >= "0.28" else "integer range"
NO_INT = (
    "Input should be a valid integer, unable to parse string as an integer"
    if BY_PYDANTIC
    else f"'many' is not a valid {AN_INT}"
)
TOO_SMALL = (
    "Input should be greater than or equal to 1" if BY_PYDANTIC else "0 is not in the range x>=1"
)
HELP = "see 'nirtorch {} --help'"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["convert", "model.nir", "--zzz"], "No such option: --zzz; " + HELP),
        (["inspect", "model.nir", "--zzz"], "No such option: --zzz; " + HELP),
        (["inspect", "model.nir", "more"], "Got unexpected extra argument(s) (more); " + HELP),
        (["convert", "--quiet"], "Missing argument 'MODEL...'; " + HELP),
        (
            ["convert", "model.nir", "--steps", "0"],
            f"Invalid value for '--steps': {TOO_SMALL}; " + HELP,
        ),
        (
            ["convert", "model.nir", "--batch", "many"],
            f"Invalid value for '--batch': {NO_INT}; " + HELP,
        ),
        (["convert", "model.nir", "-o"], "Option '-o' requires an argument; " + HELP),
    ],
)
def test_requests_that_are_wrong(arguments: list[str], line: str) -> None:
    found = failure(ExitCode.USAGE, *arguments) if arguments[-1] != "-o" else last_line(*arguments)
    assert found.replace("int range", "int") == line.format(arguments[0])


def last_line(*arguments: str) -> str:
    answer = invoke(*arguments)
    assert answer.exit_code == ExitCode.USAGE
    (line,) = answer.stderr.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'"),
        (["--zzz"], "No such option: --zzz"),
        (["--zzz", "inspect", "model.nir"], "No such option: --zzz"),
    ],
)
def test_requests_of_nothing(arguments: list[str], message: str) -> None:
    assert last_line(*arguments) == f"{message}; see 'nirtorch --help'"


def test_a_wrong_choice_names_the_choices() -> None:
    line = failure(ExitCode.USAGE, "convert", "model.nir", "--dtype", "int8")
    assert line.startswith("Invalid value for '--dtype': 'int8' is not one of 'float16', ")


@pytest.mark.parametrize("dt", ["0", "-1", "nan", "inf", "-inf", "fast", "", "1e-400"])
def test_a_wrong_dt(dt: str) -> None:
    assert failure(ExitCode.USAGE, "convert", "model.nir", "--dt", dt) == (
        f"--dt '{dt}' is neither 'auto' nor a positive number"
    )


@pytest.mark.parametrize("device", ["nope", "cpu:x", "", "cuda:99"])
def test_a_wrong_device(device: str) -> None:
    line = failure(ExitCode.USAGE, "convert", "model.nir", "--device", device)
    assert line.startswith(f"--device '{device}' cannot be used: ")


def test_stdin_is_a_terminal() -> None:
    answer = invoke_on_terminal("inspect", "-")
    assert answer == (
        ExitCode.USAGE,
        "error: MODEL is - but stdin is a terminal; pipe a .nir file into it\n",
    )


def invoke_on_terminal(*arguments: str) -> tuple[int, str]:
    """Exit code and what a terminal shows that is stdin; stderr is a pipe."""
    master, slave = os.openpty()
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "nirtorch_cli", *arguments],
            stdin=slave,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert answer.stdout == ""
    return answer.returncode, answer.stderr


def test_nothing_asked_for_shows_the_help() -> None:
    for arguments, usage in (([], "Usage: nirtorch "), (["convert"], "Usage: nirtorch convert ")):
        answer = invoke(*arguments)
        assert answer.exit_code == ExitCode.USAGE
        assert answer.output.startswith(usage)
        assert "error: " not in answer.output


# ---- the output


def test_no_such_folder() -> None:
    assert failure(ExitCode.USAGE, "convert", "model.nir", "-o", "no/model.pt") == (
        "no/model.pt: cannot be written: there is no such folder"
    )
    assert not Path("no").exists()


def test_the_output_is_a_folder() -> None:
    Path("folder").mkdir()
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "folder")
    assert line == "folder: cannot be written: it is a folder"
    assert list(Path("folder").iterdir()) == []


def test_an_output_without_a_name() -> None:
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "")
    assert line == "'': cannot be written: the name is empty"


def test_an_unwritable_folder() -> None:
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "/proc/model.pt")
    assert line.startswith("/proc/model.pt: cannot be written: ")


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write everywhere")
def test_a_folder_without_permission() -> None:
    Path("closed").mkdir(mode=0o500)
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "closed/model.pt")
    assert line == "closed/model.pt: cannot be written: Permission denied"


def test_no_clobber() -> None:
    Path("model.pt").write_bytes(OLD)
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "model.pt", "--no-clobber")
    hint = "leave out --no-clobber to replace it, or name another"
    assert line == f"model.pt: exists already; {hint}"
    assert Path("model.pt").read_bytes() == OLD
    answer = invoke("convert", "model.nir", "-o", "other.pt", "--no-clobber")
    assert answer.exit_code == ExitCode.DONE
    load("other.pt")


def test_a_format_by_name() -> None:
    assert invoke("convert", "model.nir", "-o", "a.safetensors").exit_code == 0
    assert invoke("convert", "model.nir", "-o", "b.bin", "--to", "safetensors").exit_code == 0
    assert Path("a.safetensors").read_bytes() == Path("b.bin").read_bytes()
    answer = invoke("convert", "model.nir", "-o", "c.pt", "--to", "savetensors")
    assert answer.exit_code == ExitCode.USAGE
    assert "no format of modules; did you mean 'safetensors'?" in answer.stderr
    assert not Path("c.pt").exists()
    answer = invoke("convert", "model.nir", "--to", "pt")
    assert answer.exit_code == ExitCode.USAGE
    assert "name the file with -o" in answer.stderr


def test_a_readable_module_is_two_files() -> None:
    assert invoke("convert", "model.nir", "-o", "a.py").exit_code == 0
    assert invoke("convert", "model.nir", "-o", "b.txt", "--to", "py").exit_code == 0
    for suffixes in ((".py", ".txt"), (".safetensors", ".safetensors")):
        one, other = (Path(name + suffix) for name, suffix in zip("ab", suffixes))
        assert one.read_bytes() == other.read_bytes()
    for output in ("-", os.devnull):
        line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", output, "--to", "py")
        assert "is two files" in line
    Path("c.safetensors").write_bytes(b"old")
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "c.py", "-n")
    assert "c.safetensors" in line
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "c.safetensors", "--to", "py")
    assert "has its weights in a file of this name" in line
    assert Path("c.safetensors").read_bytes() == b"old"
    assert not Path("c.py").exists()


def test_no_clobber_sees_a_link_to_nowhere() -> None:
    Path("model.pt").symlink_to("nowhere.pt")
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "model.pt", "-n")
    assert line.startswith("model.pt: exists already")
    assert not Path("nowhere.pt").exists()


def test_an_existing_output_is_replaced() -> None:
    Path("model.pt").write_bytes(OLD)
    Path("model.pt").chmod(0o640)
    assert invoke("convert", "model.nir", "-o", "model.pt").exit_code == ExitCode.DONE
    assert Path("model.pt").stat().st_mode & 0o777 == 0o640
    load("model.pt")


def make_link(name: str) -> None:
    Path(name).symlink_to("model.nir")


def make_hard_link(name: str) -> None:
    os.link("model.nir", name)


@pytest.mark.parametrize("make", [make_link, make_hard_link])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_output_is_the_input_by_another_name(
    make: Callable[[str], None], swapped: bool
) -> None:
    make("other.nir")
    before = Path("model.nir").read_bytes()
    names = ["other.nir", "model.nir"] if swapped else ["model.nir", "other.nir"]
    line = failure(ExitCode.USAGE, "convert", names[0], "-o", names[1])
    assert line == f"{names[1]}: the output is the input, which is never replaced"
    assert Path("model.nir").read_bytes() == before
    assert Path("other.nir").read_bytes() == before


@pytest.mark.parametrize("output", ["model.nir", "./model.nir", "folder/../model.nir"])
def test_the_output_is_the_input(output: str) -> None:
    Path("folder").mkdir()
    before = Path("model.nir").read_bytes()
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", output)
    assert line == f"{output}: the output is the input, which is never replaced"
    assert Path("model.nir").read_bytes() == before


def test_an_output_behind_a_link_is_replaced_there() -> None:
    Path("store").mkdir()
    Path("store/model.pt").write_bytes(OLD)
    Path("model.pt").symlink_to("store/model.pt")
    assert invoke("convert", "model.nir", "-o", "model.pt").exit_code == ExitCode.DONE
    assert Path("model.pt").is_symlink()
    load("store/model.pt")
    assert [entry.name for entry in Path("store").iterdir()] == ["model.pt"]


@pytest.mark.parametrize("option", ["--json", "--code"])
def test_stdout_is_asked_for_twice(option: str) -> None:
    line = "-o - leaves no room on stdout for --json or --code; name a file"
    answer = invoke("convert", "model.nir", "-o", "-", option)
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stderr == f"error: {line}\n"
    if option == "--json":
        assert json.loads(answer.stdout)["exit_code"] == ExitCode.USAGE
    else:
        assert answer.stdout == ""


def test_a_long_name() -> None:
    """As long as a name can be: the temporary file beside it must not be longer."""
    name = "m" * 252 + ".pt"
    assert invoke("convert", "model.nir", "-o", name).exit_code == ExitCode.DONE
    load(name)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("when", ["write", "flush", "replace"])
def test_a_full_disk_leaves_the_old_file(
    monkeypatch: pytest.MonkeyPatch, when: str, there: bool
) -> None:
    if there:
        Path("model.pt").write_bytes(OLD)
    with monkeypatch.context() as patched:
        fill_disk(patched, when)
        answer = invoke("convert", "model.nir", "-o", "model.pt", "--quiet")
    assert answer.exit_code == ExitCode.USAGE
    assert answer.stdout == ""
    assert answer.stderr == ("error: model.pt: cannot be written: No space left on device\n")
    assert sorted(os.listdir()) == (["model.nir", "model.pt"] if there else ["model.nir"])
    assert not there or Path("model.pt").read_bytes() == OLD


def fill_disk(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "flush":
        monkeypatch.setattr("os.fsync", refuse)
    elif when == "replace":
        monkeypatch.setattr("os.replace", refuse)
    else:
        opened = Path.open

        class Full(io.FileIO):
            def write(self, data: Any) -> int:
                super().write(bytes(data)[:100])
                return refuse()  # type: ignore[no-any-return]

        def open_full(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
            return Full(path, mode) if "x" in mode else opened(path, mode, *more, **options)

        monkeypatch.setattr(Path, "open", open_full)


def test_a_full_device() -> None:
    line = failure(ExitCode.USAGE, "convert", "model.nir", "-o", "/dev/full")
    assert line == "/dev/full: cannot be written: No space left on device"
    assert Path("/dev/full").is_char_device()


def test_an_interrupted_write_leaves_the_old_file() -> None:
    Path("target").write_bytes(OLD)
    with pytest.raises(KeyboardInterrupt), atomic_write("target") as file:  # noqa: PT012
        file.write(b"half")
        raise KeyboardInterrupt
    assert Path("target").read_bytes() == OLD
    assert sorted(os.listdir()) == ["model.nir", "target"]


def test_writing_refuses_before_the_block_runs() -> None:
    Path("target").write_bytes(OLD)
    with pytest.raises(OutputError, match="exists already"), atomic_write("target", clobber=False):
        pytest.fail("the block ran")
    assert Path("target").read_bytes() == OLD


# ---- modules that cannot be stored

UNPICKLABLE = """
import nir, torch

class Held(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.function = lambda x: x

    def forward(self, x):
        return self.function(x)

def local(node):
    class Local(torch.nn.Identity):
        pass
    return Local()

held = {nir.LIF: lambda node: Held()}
local = {nir.LIF: local}
"""


@pytest.mark.parametrize(("name", "kind"), [("held", "Held"), ("local", "Local")])
def test_a_module_that_cannot_be_pickled(name: str, kind: str) -> None:
    Path("mymaps.py").write_text(UNPICKLABLE)
    for there in (False, True):
        if there:
            Path("model.pt").write_bytes(OLD)
        line = failure(
            ExitCode.UNSOUND, "convert", "model.nir", "-m", f"mymaps.py:{name}", "-o", "model.pt"
        )
        start = f"node 'lif': its module {kind} (--map mymaps.py:{name}) cannot be saved: "
        assert line.startswith(start)
        assert line.endswith(
            "; define its class and functions at the top level of an importable module"
        )
        assert Path("model.pt").exists() == there
        assert not there or Path("model.pt").read_bytes() == OLD
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_the_node_inside_a_nested_graph_is_named() -> None:
    from nirtorch_cli import nir_to_torch, save

    one = np.ones(2)
    inner = nir.NIRGraph.from_list(nir.LIF(one, one, 0 * one, one))
    module = nir_to_torch(nir.NIRGraph.from_list(inner), {})
    lif = dict(module.named_modules())["nirgraph.lif"]
    lif.hook = lambda x: x
    with pytest.raises(SaveError) as caught:
        save(module, "model.pt")
    assert str(caught.value).startswith("node 'nirgraph/lif': its module LIF cannot be saved: ")
    assert not Path("model.pt").exists()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.999])
def test_a_damaged_saved_module(share: float) -> None:
    assert invoke("convert", "model.nir", "-o", "model.pt").exit_code == ExitCode.DONE
    content = Path("model.pt").read_bytes()
    Path("model.pt").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ReadError) as caught:
        load("model.pt")
    assert caught.value.exit_code == ExitCode.UNREADABLE
    line = str(caught.value)
    assert line.startswith("model.pt: is not a saved module, or is damaged: ")
    assert "\n" not in line


def test_loading_what_is_none() -> None:
    torch.save({"a": 1}, "dict.pt")
    for name, message in (
        ("no.pt", "no.pt: no such file"),
        ("dict.pt", "dict.pt: holds a dict, not a converted module"),
    ):
        with pytest.raises(ReadError) as caught:
            load(name)
        assert str(caught.value) == message


def test_a_map_that_is_not_there_when_loading() -> None:
    """A class of one's own is stored by name: without its file the module cannot be loaded."""
    Path("mymaps.py").write_text(
        "import nir, torch\n"
        "class Own(torch.nn.Identity): pass\n"
        "MAP = {nir.LIF: lambda node: Own()}\n"
    )
    arguments = ["convert", "model.nir", "--map", "mymaps.py", "-o", "model.pt"]
    assert invoke(*arguments).exit_code == ExitCode.DONE
    assert type(load("model.pt").lif).__name__ == "Own"
    loading = "import nirtorch_cli\ntry: nirtorch_cli.load(PATH)\nexcept Exception as e: print(e)"
    loading = loading.replace("PATH", repr(str(Path("model.pt").resolve())))
    for folder, expected in (
        (".", ""),
        ("/", "needs the Python module 'mymaps', which is not importable here; "),
    ):
        answer = subprocess.run(
            [sys.executable, "-c", loading],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert expected in answer.stdout
        assert (answer.stdout == "") == (expected == "")


# ---- processes: pipes, signals, closed streams


def nirtorch_process(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nirtorch_cli", *arguments],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_interrupted(as_json: bool, interruptible: Start) -> None:
    """Ctrl-C in the middle of a long sample: 130 and one line."""
    command = [sys.executable, "-m", "nirtorch_cli", "convert", "model.nir"]
    command += ["--steps", "100000000", *["--json"] * as_json]
    process = interruptible(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until_busy(process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert re.fullmatch(rb"error: interrupted[a-z0-9, ]*\n", stderr)
    if as_json:
        document = json.loads(stdout)
        assert document["exit_code"] == ExitCode.INTERRUPTED
        assert document["findings"][0]["message"].startswith("interrupted")
    else:
        assert stdout == b""


def wait_until_busy(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has loaded torch and has run for a second longer."""
    deadline = time.monotonic() + 40
    maps = Path(f"/proc/{process.pid}/maps")
    while "libtorch_python" not in maps.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    assert process.poll() is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["model.nir"], ExitCode.DONE, b""),
        (["no.nir", "--json"], ExitCode.UNREADABLE, b"error: no.nir: no such file\n"),
    ],
)
def test_a_reader_that_has_seen_enough(arguments: list[str], code: ExitCode, said: bytes) -> None:
    """`nirtorch inspect model.nir | head -1`, of a success and of a failure."""
    process = nirtorch_process("inspect", *arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == code
    assert process.stderr.read() == said
    process.stderr.close()


def test_a_module_through_a_pipe() -> None:
    """`cat model.nir | nirtorch convert - -o - > model.pt`."""
    answer = subprocess.run(
        [sys.executable, "-m", "nirtorch_cli", "convert", "-", "-o", "-"],
        input=Path("model.nir").read_bytes(),
        capture_output=True,
        timeout=60,
    )
    assert answer.returncode == ExitCode.DONE
    module = load(io.BytesIO(answer.stdout))
    output, _ = module(torch.ones(1, 2))
    assert output.shape == (1, 2)
    assert [line.partition(": ")[0] for line in answer.stderr.decode().splitlines()] == [
        "note",
        "note",
    ]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_stdout(options: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        process = nirtorch_process("inspect", "model.nir", *options, stdout=full)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == ExitCode.USAGE
    assert stderr == b"error: stdout cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("closing", "code", "stderr"),
    [
        ("inspect model.nir >&-", ExitCode.DONE, ""),
        ("inspect no.nir 2>&-", ExitCode.UNREADABLE, ""),
        ("inspect - <&-", ExitCode.UNREADABLE, "is empty"),
    ],
)
def test_closed_streams(closing: str, code: int, stderr: str) -> None:
    command = f"'{sys.executable}' -m nirtorch_cli {closing}"
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert answer.returncode == code
    assert answer.stdout == ""
    assert stderr in answer.stderr
    assert len(answer.stderr.splitlines()) == bool(stderr)


# ---- JSON on success, bugs, and what is too large


def test_json_of_a_success() -> None:
    for arguments in (["inspect", "model.nir"], ["convert", "model.nir", "-o", "model.pt"]):
        answer = invoke(*arguments, "--json", "--quiet")
        assert answer.exit_code == ExitCode.DONE
        assert answer.stderr == ""
        document = json.loads(answer.stdout)
        assert document["schema_version"] == 1
        assert document["command"] == arguments[0]
        assert document["ok"] is True
        assert document["exit_code"] == 0
        assert len(document["result"]["nodes"]) == 4


def test_json_of_an_unsound_model() -> None:
    one = np.ones(2)
    graph = nir.NIRGraph.from_list(nir.LIF(one, one, 0 * one, one))
    graph.edges.append(("lif", "nobody"))
    nir.write("astray.nir", graph)
    answer = invoke("inspect", "astray.nir", "--json")
    assert answer.exit_code == ExitCode.UNSOUND
    document = json.loads(answer.stdout)
    assert (document["ok"], document["exit_code"]) == (False, ExitCode.UNSOUND)
    assert [finding["code"] for finding in document["findings"]] == ["NIR101"]
    assert document["findings"][0]["file"] == "astray.nir"
    assert document["result"]["nodes"]
    line = failure(ExitCode.UNSOUND, "convert", "astray.nir")
    assert line.startswith("astray.nir: 1 edge to or from 'nobody', ")


def test_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("this\ncannot be")

    monkeypatch.setattr("nirtorch_cli.reading.graphs.read", broken)
    assert failure(ExitCode.BUG, "inspect", "model.nir") == (
        "a bug in nirtorch: AssertionError: this cannot be; please report it; --debug shows where"
    )
    answer = invoke("inspect", "model.nir", "--debug")
    assert answer.exit_code == ExitCode.BUG
    assert answer.stderr.startswith("Traceback (most recent call last):")
    assert "in broken" in answer.stderr


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 1 EiB")])
def test_not_enough_memory(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr("nirtorch_cli.reading.graphs.read", broken)
    line = failure(ExitCode.UNSOUND, "convert", "model.nir")
    assert line == ("not enough memory; try a smaller --batch, fewer --steps, or another --device")


@pytest.mark.parametrize("command", COMMANDS)
def test_debug_shows_a_traceback(command: str) -> None:
    answer = invoke(command, "no.nir", "--debug")
    assert answer.exit_code == ExitCode.UNREADABLE
    assert "Traceback (most recent call last):" in answer.stderr
    assert answer.stderr.splitlines()[-1] == "error: no.nir: no such file"
    assert answer.stdout == ""


def test_completion_is_shown_without_complaint() -> None:
    shell = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [sys.executable, "-m", "nirtorch_cli", "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env=shell,
        timeout=60,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "COMP_WORDS" in shown.stdout


def test_what_a_map_prints_is_not_the_answer() -> None:
    """stdout is the answer and only that, whatever the user's own code prints."""
    Path("chatty.py").write_text(
        "import nir, torch\n"
        "print('imported')\n"
        "def make(node):\n"
        "    print('mapped')\n"
        "    return torch.nn.Identity()\n"
        "MAP = {nir.LIF: make}\n"
    )
    answer = invoke("convert", "model.nir", "--map", "chatty", "--json")
    assert answer.exit_code == ExitCode.DONE
    assert json.loads(answer.stdout)["ok"] is True
    assert "imported" in answer.stderr
