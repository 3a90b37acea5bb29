"""No code from the current folder: it may be a stranger's, with a file for every module."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nir
import numpy as np
import pytest
from conftest import DATA

SCRIPT = Path(sys.executable).with_name("nirtorch.exe" if os.name == "nt" else "nirtorch")
MODEL = DATA / "digits.nir"

TRAP = """
import os
os.close(os.open({marks!r} + "/{name}", os.O_CREAT | os.O_WRONLY))
"""

COMMANDS = {
    "help": ["--help"],
    "inspect": ["inspect", "m.nir"],
    "picture": ["inspect", "m.nir", "-o", "m.svg"],
    "repair": ["repair", "m.nir", "-o", "fixed.nir"],
    "convert": ["convert", "m.nir", "--steps", "2"],
    "save": ["convert", "m.nir", "-o", "m.pt"],
    "run": ["run", "m.nir", "--input", "uniform", "--steps", "2", "-o", "out.npz"],
    "plot": ["run", "m.nir", "--input", "uniform", "--steps", "2", "--plot", "p.png", "--raster"],
    "compile": ["run", "loop.nir", "--input", "uniform", "--steps", "34", "--compile"],
    "saved": ["run", "saved.pt", "--trust", "--input", "uniform", "--steps", "2"],
    "pack": ["convert", "m.nir", "--map", "minimal", "--steps", "2"],
    "compare": ["compare", "default", "default,integration=exact", "--model", "m.nir"],
    "check": ["check", "m.nir"],
    "reports": ["check", ".", "--format", "sarif", "--jobs", "2"],
}

IMPORTED = """
import sys
from nirtorch_cli.cli.app import app
try:
    app(sys.argv[1:])
except SystemExit:
    pass
import nirtorch_cli.batch.converted, nirtorch_cli.batch.serve
print("\\n".join(sys.modules), file=open("modules", "w"))
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every module that a command or a worker imports, that Python has, or that is installed."""
    found = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    folder = tmp_path_factory.mktemp("clean")
    for command in ("convert", "plot", "compare", "reports"):
        shutil.copy(MODEL, folder / "m.nir")
        done = subprocess.run(
            [sys.executable, "-c", IMPORTED, *COMMANDS[command]], cwd=folder, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        found |= {name.partition(".")[0] for name in (folder / "modules").read_text().split()}
    assert {"torch", "nir", "h5py", "multiprocessing", "nirtorch_cli", "matplotlib"} <= found
    return sorted(name for name in found if name.isidentifier())


@pytest.fixture
def folder(tmp_path: Path, names: list[str]) -> Path:
    """A folder with a model and a trap for every module; see `sprung`."""
    place, marks = tmp_path / "stranger", tmp_path / "marks"
    place.mkdir()
    marks.mkdir()
    for name in names:
        (place / f"{name}.py").write_text(TRAP.format(marks=str(marks), name=name))
    shutil.copy(MODEL, place / "m.nir")
    nir.write(place / "loop.nir", loop())
    # What matplotlib reads from the current folder: settings, which may name modules and programs.
    (place / "matplotlibrc").write_text("backend: module://multiprocessing\ntext.usetex: True\n")
    return place


def loop() -> nir.NIRGraph:
    """A neuron with a weight back to itself: one program where it is compiled."""
    one = np.ones(1)
    nodes = {
        "input": nir.Input(np.array([1])),
        "lif": nir.LIF(tau=0.01 * one, r=one, v_leak=0 * one, v_threshold=0.1 * one),
        "weight": nir.Linear(np.ones((1, 1))),
        "output": nir.Output(np.array([1])),
    }
    edges = [("input", "lif"), ("lif", "weight"), ("weight", "lif"), ("lif", "output")]
    return nir.NIRGraph(nodes, edges)


def sprung(folder: Path) -> list[str]:
    """The traps in a folder that were run."""
    return sorted(path.name for path in (folder.parent / "marks").iterdir())


def run(folder: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


@pytest.fixture(autouse=True)
def needs_the_command() -> None:
    if not SCRIPT.exists():
        pytest.skip("the package is not installed beside this Python")


def test_a_trap_springs(folder: Path) -> None:
    """The traps are real: Python itself steps into one where the folder is on its path.

    From 3.13 on `python -c` does so before it comes to the program.
    """
    run(folder, [sys.executable, "-c", "import multiprocessing"])
    assert set(sprung(folder)) & {"multiprocessing", "linecache"}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_from_the_current_folder(folder: Path, command: str) -> None:
    if command == "saved":
        assert run(folder, [str(SCRIPT), "convert", "m.nir", "-o", "saved.pt"]).returncode == 0
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "cache")}  # or little is compiled
    done = run(folder, [str(SCRIPT), *COMMANDS[command]], **cache)
    assert (done.returncode, sprung(folder)) == (1 if command == "compare" else 0, []), done.stderr
    assert ("compiled 1 program" in done.stderr) == (command == "compile")


@pytest.mark.parametrize("command", ["inspect", "convert", "check"])
@pytest.mark.parametrize("way", ["an empty part of PYTHONPATH", "python -m"])
def test_python_leaves_the_folder_at_once(folder: Path, way: str, command: str) -> None:
    """Where Python itself puts the folder first, it is asked for what Python needs to start only.

    `PYTHONPATH=$PYTHONPATH:lib` begins with a colon, which means this folder, where it was empty.
    """
    (folder / "before_us.py").write_text("import re, sys\nprint(*sys.modules)\n")
    started = run(folder.parent, [sys.executable, "-m", "stranger.before_us"]).stdout.split()
    for name in {"nirtorch_cli", "sitecustomize", "usercustomize", *started}:
        (folder / f"{name}.py").unlink(missing_ok=True)
    if way == "python -m":
        done = run(folder, [sys.executable, "-m", "nirtorch_cli", *COMMANDS[command]])
    else:
        path = os.pathsep + str(folder / "lib")
        done = run(folder, [str(SCRIPT), *COMMANDS[command]], PYTHONPATH=path)
    assert (done.returncode, sprung(folder)) == (0, []), done.stderr


@pytest.mark.parametrize("command", ["convert", "run", "check", "compare"])
def test_a_map_is_all_that_is_imported(folder: Path, command: str) -> None:
    """A map in the folder, and what it imports itself, come after everything installed."""
    (folder / "mymaps.py").write_text(
        "import statistics, mylayers, nir\nMAP = {nir.Linear: mylayers.linear}\n"
    )
    (folder / "mylayers.py").write_text(
        "def linear(node):\n    import torch, mylazy\n    return mylazy.passed(node)\n"
    )
    (folder / "mylazy.py").write_text(
        "import torch\ndef passed(node):\n    weight = torch.tensor(node.weight)\n"
        "    module = torch.nn.Linear(*weight.shape[::-1], bias=False)\n"
        "    module.weight = torch.nn.Parameter(weight)\n    return module\n"
    )
    _linear_model(folder / "m.nir")
    arguments = {
        "convert": ["convert", "m.nir", "-o", "m.pt"],
        "run": ["run", "m.nir", "--input", "uniform", "--steps", "2"],
        "check": ["check", "m.nir"],
        "compare": ["compare", "map:mymaps:MAP", "default", "--model", "m.nir"],
    }[command]
    maps = [] if command == "compare" else ["--map", "mymaps:MAP"]
    done = run(folder, [str(SCRIPT), *arguments, *maps])
    assert (done.returncode, sprung(folder)) == (0, []), done.stderr


def test_an_installed_module_wins_over_the_folders(folder: Path) -> None:
    done = run(folder, [str(SCRIPT), "convert", "m.nir", "--map", "statistics:MAP"])
    assert done.returncode == 2
    assert "'statistics' has no 'MAP'" in done.stderr
    assert sprung(folder) == []


def test_a_file_named_like_an_installed_module_takes_no_place(folder: Path) -> None:
    """`--map statistics.py:MAP` is that file, and `import statistics` still Python's."""
    (folder / "statistics.py").write_text(
        "import random, nir\nMAP = {}\nassert random.random.__self__ is not None\n"
    )
    done = run(folder, [str(SCRIPT), "convert", "m.nir", "--map", "statistics.py", "--steps", "2"])
    assert (done.returncode, sprung(folder)) == (0, []), done.stderr


def test_a_distribution_in_the_folder_offers_no_packs(folder: Path) -> None:
    info = folder / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nirtorch.maps]\nevil = evil:MAP\nminimal = evil:MAP\n")
    (folder / "evil.py").write_text(TRAP.format(marks=str(folder.parent / "marks"), name="evil"))
    done = run(folder, [str(SCRIPT), "convert", "m.nir", "--map", "minimal", "--steps", "2"])
    assert (done.returncode, sprung(folder)) == (0, []), done.stderr
    assert run(folder, [str(SCRIPT), "convert", "m.nir", "--map", "evil"]).returncode == 2


def test_a_saved_module_finds_its_map_as_the_conversion_did(folder: Path) -> None:
    lab = folder / "lab"
    lab.mkdir()
    layer = "import torch\nclass Twice(torch.nn.Module):\n    def forward(self, x):\n"
    (lab / "labmaps.py").write_text(
        f"{layer}        return 2 * x\nimport nir\nMAP = {{nir.Scale: lambda node: Twice()}}\n"
    )
    one = np.ones(3)
    nodes = {"input": nir.Input(np.array([3])), "s": nir.Scale(one), "o": nir.Output(np.array([3]))}
    nir.write(folder / "m.nir", nir.NIRGraph(nodes, [("input", "s"), ("s", "o")]))
    shutil.copy(lab / "labmaps.py", folder / "mymaps.py")
    for spec in ("lab/labmaps.py", "mymaps"):
        saving = ["convert", "m.nir", "--map", spec, "-o", "m.pt"]
        assert run(folder, [str(SCRIPT), *saving]).returncode == 0
        for command in (
            ["run", "m.pt", "--trust", "--input", "constant:1", "--steps", "2"],
            ["compare", "file:m.pt", f"map:{spec}", "--model", "m.nir", "--trust"],
        ):
            done = run(folder, [str(SCRIPT), *command])
            assert (done.returncode, sprung(folder)) == (0, []), done.stderr


def _linear_model(path: Path) -> None:
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(np.eye(3, dtype=np.float32))))
