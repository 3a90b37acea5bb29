"""What frameworks trained, exported and ran, converted by their packs: every spike is theirs.

Each train_*.py here trains a small network on scikit-learn's digits in one framework, with the
framework's own neurons as they are by default, exports it with the framework's own exporter and
records what the framework computes on held-out digits. Each runs in a process of its own, without
nirtorch_cli, and Spyx in an environment of its own (scripts/environment.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

sys.path.append(str(Path(__file__).parent.parent.parent / "scripts"))

import environment

HERE = Path(__file__).parent
ROCKPOOL = "bias={folder}/bias.npz,w_rec={folder}/w_rec.npz"
PACKS: dict[str, tuple[str, ...]] = {
    "snntorch": ("--map", "snntorch"),
    "snntorch, its layers": ("--map", "snntorch:layers"),
    "norse": ("--map", "norse"),
    "norse, its layers": ("--map", "norse:layers"),
    "sinabs": ("--map", "sinabs"),
    "sinabs, its layers": ("--map", "sinabs:layers"),
    "spikingjelly": ("--map", "spikingjelly"),
    "spikingjelly, its layers": ("--map", "spikingjelly:layers"),
    "rockpool": ("--map", f"rockpool:{ROCKPOOL}"),
    "rockpool, its layers": ("--map", f"rockpool:layers:{ROCKPOOL}"),
    "spyx": ("--map", "spyx"),
}
"""By framework and what runs it here, options of `nirtorch run`.

{folder} is where the framework's script wrote what its exporter loses.
"""

DTS = {"snntorch": "1e-4", "norse": "1e-6", "sinabs": "1", "rockpool": "1e-3", "spyx": "1"}
"""Frameworks that compute something else than their file says, and dt in the file's unit."""

FIRST = {"spikingjelly": (3, 11), "spyx": (3, 11)}
"""The first Python for which a framework has a release, where that is not 3.10."""

Trained = Callable[[str], Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Gives the folder where a framework's script wrote model.nir and run.npz."""
    folders: dict[str, Path] = {}

    def train(framework: str) -> Path:
        if framework not in folders:
            folders[framework] = made(framework, tmp_path_factory.mktemp(framework))
        return folders[framework]

    return train


def made(framework: str, folder: Path) -> Path:
    """Run a framework's script; skips where the framework is not installed."""
    if sys.version_info < FIRST.get(framework, (3, 10)):
        pytest.skip(f"{framework} has no release for this Python")
    python = Path(sys.executable)
    if framework == "spyx":
        python = environment.python(environment.beside("spyx"))
        if not python.exists():
            pytest.skip(f"spyx is not installed: no {python}, which scripts/test makes")
    command = [str(python), str(HERE / f"train_{framework}.py"), str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    *_, last = done.stderr.splitlines() or [""]
    for missing in (framework, "jax"):
        if last == f"ModuleNotFoundError: No module named '{missing}'":
            pytest.skip(f"{framework} is not installed in {python.parent.parent}: {last}")
    assert done.returncode == 0, done.stderr
    return folder


Converted = Callable[[Path, tuple[str, ...]], dict[str, np.ndarray]]


@pytest.fixture
def converted(nirtorch: Command, tmp_path: Path) -> Converted:
    """Runs a file on the input that was recorded beside it, and records the same nodes."""

    def run(folder: Path, options: tuple[str, ...]) -> dict[str, np.ndarray]:
        arguments = ["run", str(folder / "model.nir"), "--input", f"{folder / 'run.npz'}:input"]
        for name in spikes_of(np.load(folder / "run.npz")):
            arguments += ["--record", name]
        arguments += [option.format(folder=folder) for option in options]
        answer = nirtorch(*arguments, "--output", "out.npz", "--quiet")
        assert answer.returncode == 0, answer.stderr
        return dict(np.load(tmp_path / "out.npz"))

    return run


def spikes_of(record: Iterable[str]) -> list[str]:
    """The names of the neurons' spikes in a record, in the order of the layers."""
    return [name for name in record if name.endswith(":spikes")]


@pytest.mark.parametrize("name", PACKS)
def test_every_spike_is_the_frameworks(name: str, trained: Trained, converted: Converted) -> None:
    folder = trained(name.partition(",")[0])
    theirs = np.load(folder / "run.npz")
    ours = converted(folder, PACKS[name])
    assert spikes_of(ours) == spikes_of(theirs)
    for part in (*spikes_of(theirs), "output"):
        np.testing.assert_array_equal(ours[part].sum(0), theirs[part].sum(0), f"{part}, counts")
        np.testing.assert_array_equal(ours[part], theirs[part], part)
        assert theirs[part].any()
    right = ours["output"].sum(0).argmax(1) == theirs["labels"]
    assert right.mean() == theirs["accuracy"] > 0.6


@pytest.mark.parametrize("framework", DTS)
def test_what_the_file_alone_says_gives_other_spikes(
    framework: str, trained: Trained, converted: Converted
) -> None:
    """So that agreement says something."""
    folder = trained(framework)
    theirs = np.load(folder / "run.npz")
    ours = converted(folder, ("--dt", DTS[framework]))
    others = (ours["output"].sum(0) != theirs["output"].sum(0)).any(1)
    assert others.mean() > 0.1, "digits with another count of spikes"
