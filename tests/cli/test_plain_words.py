"""What a user does wrong, or lacks, in one line: a library, a device, a name, a kind of file.

Through the command line; nothing here ends as a bug of ours.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import DATA, Start, on_terminal
from files import chain, inlet, lif, linear, outlet, write
from typer.testing import CliRunner, Result

from nirtorch_cli.cli.app import app
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a model, and no word about colours."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    write(Path("model.nir"), chain(input=inlet(3), w=linear(2, 3), lif=lif(2), output=outlet(2)))
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def line_of(code: int, *arguments: str) -> str:
    """The one line with which a command fails."""
    answer = invoke(*arguments)
    assert answer.exit_code == code, answer.stderr
    (line,) = answer.stderr.splitlines()
    return line.removeprefix("error: ")


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nirtorch_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


# ------------------------------------------------------------------- libraries that are not here

NEED_TORCH = {
    "convert": ["convert", "model.nir"],
    "run": ["run", "model.nir", "--input", "zeros"],
    "compare": ["compare", "default", "default", "--model", "model.nir"],
    "check": ["check", "model.nir"],
}
NEED_NO_TORCH = {
    "inspect": ["inspect", "model.nir"],
    "repair": ["repair", "model.nir"],
    "check --static": ["check", "model.nir", "--static"],
    "help": ["--help"],
    "help of a command": ["convert", "--help"],
    "version": ["--version"],
    "completion": ["--show-completion", "bash"],
    "rules": ["check", "--list-rules"],
    "rule": ["check", "--explain", "NIR520"],
}
NOT_THERE = "raise ModuleNotFoundError(\"No module named '{0}'\", name='{0}')"
BROKEN = "raise OSError('libcudart.so.12: cannot open shared object file')"


def without(library: str, how: str = NOT_THERE) -> dict[str, str]:
    """An environment in which a library is not installed or does not work, for workers too."""
    package = Path("hidden", library)
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(how.format(library))
    # No matter from which shell: completion is asked for that of bash.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    return {"PYTHONPATH": str(Path("hidden").resolve()), **named}


@pytest.mark.parametrize("arguments", NEED_TORCH.values(), ids=NEED_TORCH)
@pytest.mark.parametrize(
    ("how", "line"),
    [
        (NOT_THERE, "torch is not installed; pip install torch"),
        (
            BROKEN,
            "torch is installed and cannot be imported: OSError: libcudart.so.12: cannot open "
            "shared object file; install it again: pip install --force-reinstall torch",
        ),
        (
            "import nosuchlibrary",
            "torch is installed and cannot be imported: ModuleNotFoundError: No module named "
            "'nosuchlibrary'; install it again: pip install --force-reinstall torch",
        ),
    ],
    ids=["absent", "broken", "dependency"],
)
def test_without_torch(arguments: list[str], how: str, line: str) -> None:
    environment = without("torch", how)
    answer = process(*arguments, **environment)
    assert (answer.returncode, answer.stdout, answer.stderr) == (4, "", f"error: {line}\n")
    answer = process(*arguments, "--json", **environment)
    document = json.loads(answer.stdout)
    assert (answer.returncode, answer.stderr) == (4, f"error: {line}\n")
    assert (document["ok"], document["exit_code"], document["result"]) == (False, 4, None)
    (finding,) = document["findings"]
    assert finding["code"] == "NIR520"
    assert f"{finding['message']}; {finding['hint']}" == line


@pytest.mark.parametrize("arguments", NEED_NO_TORCH.values(), ids=NEED_NO_TORCH)
def test_what_needs_no_torch(arguments: list[str]) -> None:
    answer = process(*arguments, **without("torch"))
    assert answer.returncode == 0, answer.stderr
    assert "torch is not installed" not in answer.stderr


def test_a_module_that_was_saved_needs_torch() -> None:
    assert invoke("convert", "model.nir", "-o", "model.pt").exit_code == 0
    answer = process("run", "model.pt", "--trust", "--input", "zeros", **without("torch"))
    assert answer.returncode == 4
    assert answer.stderr == "error: torch is not installed; pip install torch\n"


def test_python_says_that_there_is_no_torch() -> None:
    """What Python itself raises where it finds none, in this process."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "sys.argv = ['nirtorch', 'convert', 'model.nir']\n"
        "from nirtorch_cli.cli import main; main()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 4
    assert answer.stderr == "error: torch is not installed; pip install torch\n"


@pytest.mark.parametrize("library", ["nir", "numpy", "h5py"])
@pytest.mark.parametrize("command", ["inspect", "repair", "convert", "check"])
def test_without_what_reads_files(library: str, command: str) -> None:
    answer = process(command, "model.nir", **without(library))
    assert answer.returncode == 4
    assert answer.stderr == f"error: {library} is not installed; pip install {library}\n"


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (NOT_THERE, "matplotlib is not installed; pip install 'nirtorch-cli[plot]'"),
        (
            BROKEN,
            "matplotlib is installed and cannot be imported: OSError: libcudart.so.12: cannot "
            "open shared object file; install it again: pip install --force-reinstall "
            "'nirtorch-cli[plot]'",
        ),
    ],
)
def test_without_what_draws(how: str, line: str) -> None:
    arguments = ["run", "model.nir", "--input", "zeros", "--plot", "run.png"]
    answer = process(*arguments, **without("matplotlib", how))
    assert (answer.returncode, answer.stderr) == (4, f"error: {line}\n")
    assert not Path("run.png").exists()


def test_a_map_that_lacks_a_library_is_the_maps_matter() -> None:
    Path("mymaps.py").write_text("def MAP():\n    import h5py.nothing\n")
    line = line_of(2, "convert", "model.nir", "--map", "mymaps")
    assert re.match(r"--map mymaps: raised .*mymaps.py:2: ModuleNotFoundError: ", line)


# ------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize("device", ["mps", "hip", "xpu:7", "vulkan", "nonsense", "cuda:x", ""])
@pytest.mark.parametrize("command", [["convert"], ["run", "--input", "zeros"], ["check"]])
def test_a_device_that_is_not_here(command: list[str], device: str) -> None:
    if device.partition(":")[0] in ("mps", "xpu") and getattr(torch, device[:3]).is_available():
        pytest.skip(f"there is {device} here")
    line = line_of(2, *command, "model.nir", "--device", device)
    start = f"--device '{device}' cannot be used: there is no such device here; what can be used "
    assert re.fullmatch(re.escape(start) + r"here: cpu(, [a-z]+(:\d+)?)*", line)


def test_more_devices_than_there_are() -> None:
    line = line_of(2, "compare", "default", "default", "-M", "model.nir", "--device", "cuda:77")
    assert line.startswith("--device 'cuda:77' cannot be used: there is no such device here; ")


@pytest.mark.parametrize("device", ["cpuu", "CPU", "pcu"])
def test_a_misspelt_device(device: str) -> None:
    line = line_of(2, "convert", "model.nir", "--device", device)
    assert line.endswith(f"'{device}' cannot be used: there is no such device here; "
                         "did you mean 'cpu'?")  # fmt: skip


# ---------------------------------------------------------------------------------- near names


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["inspect", "modle.nir"], 3, "modle.nir: no such file; did you mean 'model.nir'?"),
        (["inspect", "model.nri"], 3, "model.nri: no such file; did you mean 'model.nir'?"),
        (["inspect", "model"], 3, "model: no such file; did you mean 'model.nir'?"),
        (["inspect", "MODEL.NIR"], 3, "MODEL.NIR: no such file; did you mean 'model.nir'?"),
        (["inspect", "other.nir"], 3, "other.nir: no such file"),
        (["inspect", "labb/a.nir"], 3, "labb/a.nir: no such file; did you mean 'lab/a.nir'?"),
        (["inspect", "labb/b.nir"], 3, "labb/b.nir: no such file"),
        (["convert", "modle.nir"], 3, "modle.nir: no such file; did you mean 'model.nir'?"),
        (["repair", "modle.nir"], 3, "modle.nir: no such file; did you mean 'model.nir'?"),
        (["run", "modle.nir"], 3, "modle.nir: no such file; did you mean 'model.nir'?"),
        (["run", "model.nir", "-i", "spkies.npy"], 3, "did you mean 'spikes.npy'?"),
        (["run", "model.nir", "-i", "spkies.npz:x"], 3, "did you mean 'spikes.npz'?"),
        (["run", "model.nir", "-i", "spikes.npz:lfi"], 3, "did you mean 'lif'?"),
        (["run", "model.nir", "-i", "zeros", "--state-in", "stat.npz"], 3, "mean 'state.npz'?"),
        (["run", "model.nir", "-i", "inptu=zeros"], 2, "did you mean 'input'?"),
        (["run", "model.nir", "-i", "out=zeros"], 2, "has no input 'out'; it has 'input'"),
        (["run", "model.nir", "-i", "posson:rate=5"], 2, "did you mean 'poisson'?"),
        (["run", "model.nir", "-i", "poisson:rat=5"], 2, "did you mean 'rate'?"),
        (["run", "model.nir", "-i", "zeros", "-r", "lfi:v"], 2, "no node 'lfi'; did you mean 'li"),
        (["run", "model.nir", "-i", "zeros", "-r", "lif:spieks"], 2, "did you mean 'spikes'?"),
        (["run", "model.nir", "-i", "zeros", "-r", "q"], 2, "the nodes are 'input', 'lif', "),
        (["check", "--explain", "unmaped-node"], 2, "did you mean 'unmapped-node', "),
        (["check", "--explain", "NIR52"], 2, "did you mean 'NIR520', 'NIR521'?"),
        (["check", "model.nir", "--select", "nir1"], 2, "did you mean 'NIR1'?"),
        (["check", "model.nir", "--ignore", "stale-shap"], 2, "mean 'NIR202', which is stale-sh"),
        (["check", "model.nir", "--ignore", "stale-shape"], 2, "mean 'NIR202', which is stale-s"),
        (["check", "model.nir", "--ignore", "NIRX"], 2, "'nirtorch check --list-rules' shows the"),
        (["convert", "model.nir", "--dtype", "flaot32"], 2, "did you mean 'float32'? see "),
        (["convert", "model.nir", "--integration", "eular"], 2, "did you mean 'euler'? see "),
        (["convert", "model.nir", "--reset", "substract"], 2, "did you mean 'subtract'? see "),
        (["convert", "model.nir", "--reset", "xyz"], 2, "'value', 'subtract', 'none'; see "),
        (["check", "model.nir", "--format", "junti"], 2, "did you mean 'junit'? see "),
        (["inspect", "model.nir", "--format", "mermiad"], 2, "did you mean 'mermaid'? see "),
        (["run", "model.nir", "--layout", "tb"], 2, "did you mean 'TB'? see "),
        (["convert", "model.nir", "--sede", "3"], 2, "--seed"),
        (["convrt", "model.nir"], 2, "Did you mean 'convert'?"),
        (["compare", "defualt", "default"], 2, "did you mean 'default'?"),
        (["compare", "default", "maps:a"], 2, "did you mean 'map'?"),
        (["compare", "default", "default,rest=value"], 2, "did you mean 'reset'?"),
        (["compare", "default", "default,integration=exct"], 2, "did you mean 'exact'?"),
        (["compare", "default", "default,dtype=int8"], 2, "dtype is float16 or bfloat16 or "),
        (["compare", "default", "trace:spkies.npz", "-M", "model.nir"], 3, "'spikes.npz'?"),
        (["compare", "file:savde.pt", "trace:spikes.npz", "--trust"], 3, "mean 'saved.pt'?"),
        (
            ["compare", "default", "default", "-M", "model.nir", "--variables", "spiks"],
            2,
            "--variables names 'spiks'; did you mean 'spikes'?",
        ),
    ],
)  # fmt: skip
def test_a_near_name(arguments: list[str], code: int, line: str) -> None:
    np.save("spikes.npy", np.ones((3, 3)))
    np.savez("spikes.npz", lif=np.ones((3, 3)))
    for name in ("state.npz", "saved.pt"):
        Path(name).touch()
    Path("lab").mkdir()
    Path("lab/a.nir").touch()
    said = line_of(code, *arguments)
    assert line in said
    if line.startswith(arguments[1]):
        assert said == line


def test_a_near_neuron() -> None:
    drawing = ["run", "model.nir", "-i", "zeros", "-r", "lif:v", "--plot", "run.png", "--neurons"]
    pytest.importorskip("matplotlib")
    assert line_of(2, *drawing, "lfi=0").endswith("record it, or did you mean 'lif'?")
    assert line_of(2, *drawing, "q=0").endswith("record it; drawn are 'output', 'lif', 'input'")


def test_check_tells_the_near_file_of_each() -> None:
    answer = invoke("check", "modle.nir", "model.nir")
    assert answer.exit_code == 3
    assert "no such file; did you mean 'model.nir'?" in answer.stdout
    assert "2 files: 1 sound, 1 broken" in answer.stdout


# ------------------------------------------------------------------------- what can be written

ENDINGS = "end it in .pt, .pth, .safetensors, .nir, .pt2, .onnx, .py"


@pytest.mark.parametrize(
    "name", ["x.pyc", "x.h5", "x.bin", "x.pt.zip", "x.pt3", "x.tflite", "x.HDF5"]
)
def test_what_a_module_cannot_be_written_as(name: str) -> None:
    """Before anything is read: the model is not there either."""
    suffix = os.path.splitext(name)[1].lower()
    assert line_of(2, "convert", "no.nir", "-o", name) == (
        f"'{name}': a module cannot be written as '{suffix}'; {ENDINGS}"
    )
    assert not Path(name).exists()


def test_a_name_without_a_suffix() -> None:
    line = line_of(2, "convert", "no.nir", "-o", "x")
    assert line == f"'x': the name has no suffix; {ENDINGS}"


@pytest.mark.parametrize("suffix", [*(s for f in ARTEFACTS for s in f.suffixes), ".PT"])
def test_what_a_module_is_written_as(suffix: str) -> None:
    assert invoke("convert", "model.nir", "-o", f"x{suffix}").exit_code == 0
    code = 2 if suffix in (".safetensors", ".py") else 0  # no module that this program loads
    assert invoke("run", f"x{suffix}", "--trust", "-i", "zeros").exit_code == code


@pytest.mark.skipif(os.name != "posix", reason="devices")
def test_a_device_needs_no_suffix() -> None:
    assert invoke("convert", "model.nir", "-o", "/dev/null").exit_code == 0


# ----------------------------------------------------------------------- other kinds of files


@pytest.mark.parametrize("command", ["convert", "repair", "check"])  # inspect shows it
@pytest.mark.parametrize("name", ["mine.pt", "mine.nir", "mine"])
def test_a_saved_module_is_no_nir_file(command: str, name: str) -> None:
    assert invoke("convert", "model.nir", "-o", "mine.pt").exit_code == 0
    Path("mine.pt").rename(name)
    answer = invoke(command, name)
    assert answer.exit_code == 3
    text = (
        "is a module that 'nirtorch convert -o' saved, not a .nir file; "
        f"run it with 'nirtorch run {name} --trust', or give the .nir file"
    )
    assert text in (answer.stdout if command == "check" else answer.stderr)


def test_no_code_of_a_saved_module_is_run() -> None:
    """Not even of one that would run some when it is loaded."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, ("sprung",))

    torch.save(Trap(), "trap.pt")
    for command in ("inspect", "convert", "repair", "check"):
        answer = invoke(command, "trap.pt")
        assert answer.exit_code == 3
        assert "was written by torch.save, not a .nir file" in answer.output
    for arguments in (["-i", "trap.pt"], ["-i", "zeros", "--state-in", "trap.pt"]):
        line = line_of(3, "run", "model.nir", *arguments)
        assert line == "trap.pt: was written by torch.save, so it is not a recording"
    assert not Path("sprung").exists()


KINDS = {
    "arrays.npz": "is an archive of NumPy arrays (.npz)",
    "array.npy": "is a NumPy array (.npy)",
    "weights.pt": "was written by torch.save",
    "old.pt": "was written by torch.save",
    "packed.nir.gz": "is packed with gzip",
    "files.zip": "is a zip archive",
    "picture.png": "is a PNG picture",
    "page.nir": "is a page of HTML",
    "pointer.nir": "is a pointer of Git LFS",
    "drawn.svg": "is an SVG picture",
}


@pytest.fixture
def kinds() -> None:
    """Files of other kinds."""
    np.savez("arrays.npz", a=np.ones(3))
    np.save("array.npy", np.ones(3))
    torch.save({"w": torch.ones(3)}, "weights.pt")
    torch.save({"w": torch.ones(3)}, "old.pt", _use_new_zipfile_serialization=False)
    Path("packed.nir.gz").write_bytes(gzip.compress(Path("model.nir").read_bytes()))
    with zipfile.ZipFile("files.zip", "w") as archive:
        archive.write("model.nir")
    Path("picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Path("page.nir").write_text("\n  <!DOCTYPE HTML>\n<html><body>404</body></html>")
    Path("pointer.nir").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    Path("drawn.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize(("name", "text"), KINDS.items(), ids=KINDS)
def test_a_file_of_another_kind(name: str, text: str) -> None:
    line = line_of(3, "inspect", name)
    assert line.startswith(f"{name}: {text}, not a .nir file")
    answer = CliRunner().invoke(app, ["inspect", "-"], input=Path(name).read_bytes())
    assert answer.exit_code == 3
    assert f": {text}, not a .nir file" in answer.stderr


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.nir", "is an HDF5 file, not a saved module"),
        ("page.nir", "is a page of HTML, not a saved module"),
        ("files.zip", "is a zip archive, not a saved module"),
        (".", "cannot be read: Is a directory"),
    ],
)
def test_what_is_no_saved_module(name: str, text: str) -> None:
    line = line_of(3, "compare", f"file:{name}", f"file:{name}", "--trust")
    assert line == f"{name}: {text}"


def test_an_hdf5_file_of_another_kind_stays_one() -> None:
    with h5py.File("keras.h5", "w") as file:
        file["weights"] = np.ones(3)
    assert line_of(3, "inspect", "keras.h5").startswith("keras.h5: ")
    assert "not a .nir file" not in line_of(3, "inspect", "keras.h5")


# ---------------------------------------------------------------------------- numbers too large

HUGE = str(2**63)
MOST = str(2**63 - 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "model.nir", "--steps", HUGE],
        ["convert", "model.nir", "--seed", HUGE],
        ["convert", "model.nir", "--seed", f"-{HUGE}"],
        ["check", "model.nir", "--max-memory", HUGE],
        ["check", "model.nir", "--seed", str(2**70)],
        ["run", "model.nir", "-i", "zeros", "--start", HUGE],
        ["compare", "default", "default", "-M", "model.nir", "--max-spike-shift", HUGE],
    ],
)
def test_numbers_that_nothing_counts_with(arguments: list[str]) -> None:
    option, number = arguments[-2:]
    assert line_of(2, *arguments) == f"{option} {number} is out of range; give {MOST} at most"


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "model.nir", "--steps", MOST],
        ["compare", "default", "default", "-M", "model.nir", "--steps", MOST],
        ["compare", "default", "default", "-M", "model.nir", "--batch", MOST],
    ],
)
def test_more_than_any_memory_holds(arguments: list[str]) -> None:
    assert line_of(1, *arguments).startswith("not enough memory; ")


@pytest.mark.parametrize("option", ["--max-bytes", "--max-memory", "--seed"])
def test_the_largest_numbers_are_taken(option: str) -> None:
    assert invoke("check", "model.nir", option, MOST).exit_code == 0
    assert line_of(2, "check", "model.nir", "--timeout", "nan").startswith("--timeout is nan, ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["convert", "--help"],
        ["--version"],
        ["convert", "model.nir", "-o", "-"],
        ["repair", "model.nir", "-o", "-"],
        ["run", "model.nir", "-i", "zeros", "-q", "-o", "-", "--format", "npz"],
        ["check", "--list-rules"],
    ],
)
def test_a_full_disk_behind_stdout(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "nirtorch_cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert answer.returncode == 2
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("note: ")]
    assert lines == ["error: stdout cannot be written: No space left on device"]


# -------------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("form", ["text", "json", "junit"])
def test_an_interrupted_check_tells_what_it_knows(form: str, interruptible: Start) -> None:
    """The verdicts that there are, and of the other files that they were not examined."""
    Path("maps.py").write_text(
        "import nir, pathlib, torch\n"
        "def make(node):\n"
        "    if node.tau.size > 2:\n"
        "        pathlib.Path('busy').touch()\n"
        "        while True: pass\n"
        "    return torch.nn.Identity()\n"
        "MAP = {nir.LIF: make}\n"
    )
    write(Path("slow.nir"), chain(input=inlet(3), lif=lif(3), output=outlet(3)))
    arguments = ["check", "model.nir", "slow.nir", "--map", "maps.py", "-j", "1"]
    options = {
        "text": [],
        "json": ["--json"],
        "junit": ["--format", "junit", "-o", "report.xml"],
    }[form]
    running = interruptible(
        [sys.executable, "-m", "nirtorch_cli", *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not Path("busy").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=30)
    assert running.returncode == 130, stderr
    if form == "text":
        assert "slow.nir: broken\n  NIR901 error    not examined: interrupted\n" in stdout
        assert "2 files: " in stdout
    elif form == "json":
        document = json.loads(stdout)
        assert document["exit_code"] == 130
        first, second = document["result"]["files"]
        assert (first["file"], first["exit_code"] in (0, 1)) == ("model.nir", True)
        assert [(f["code"], f["message"]) for f in second["findings"]] == [
            ("NIR901", "not examined: interrupted")
        ]
    else:
        report = Path("report.xml").read_text()
        assert stdout == ""
        assert 'tests="2"' in report
        assert "not examined: interrupted" in report


# ------------------------------------------------------------------------------------- colours


def coloured(**environment: str) -> set[str]:
    """Which of the answers in a pipe hold an escape."""
    found = {
        "check": process("check", "no.nir", **environment).stdout,
        "stderr": process("inspect", "no.nir", **environment).stderr,
        "repair": process("repair", str(DATA / "damaged.nir"), **environment).stdout,
        "json": process("check", "no.nir", "--json", **environment).stdout,
        "table": process("inspect", "model.nir", **environment).stdout,
    }
    assert all(found.values())
    return {name for name, text in found.items() if "\x1b" in text}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, set()),
        ({"FORCE_COLOR": "1"}, {"check", "stderr", "repair"}),
        ({"FORCE_COLOR": ""}, set()),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, {"check", "stderr", "repair"}),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, set()),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, {"check", "stderr", "repair"}),
    ],
)
def test_colours_in_a_pipe(environment: dict[str, str], expected: set[str]) -> None:
    assert coloured(**environment) == expected


def test_no_colours_in_a_file() -> None:
    process("check", "no.nir", "-o", "report.txt", FORCE_COLOR="1")
    process("inspect", "model.nir", "-o", "model.txt", FORCE_COLOR="1")
    for name in ("report.txt", "model.txt"):
        assert Path(name).read_text()
        assert "\x1b" not in Path(name).read_text()


COLOUR, CURSOR = re.compile(r"\x1b\[3\dm"), re.compile(r"\x1b\[(\?25|\d?K|\d?A)|\r(?!\n)")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(
    ("environment", "colours", "moves"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colours_in_a_terminal(environment: dict[str, str], colours: bool, moves: bool) -> None:
    """A command that takes longer than the second after which a sign of life is shown."""
    Path("maps.py").write_text(
        "import time\nimport nir\ndef MAP():\n    time.sleep(2)\n    return {nir.LIF: None}\n"
    )
    shown = on_terminal("convert", "model.nir", "--map", "maps.py", **environment)
    assert "error" in shown
    assert bool(COLOUR.search(shown)) == colours
    assert bool(CURSOR.search(shown)) == moves


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_dumb_terminal_gets_the_table_of_a_pipe() -> None:
    plain = process("inspect", "model.nir").stdout
    assert on_terminal("inspect", "model.nir", TERM="dumb").replace("\r\n", "\n") == plain
    assert on_terminal("inspect", "model.nir", TERM="xterm").replace("\r\n", "\n") != plain
