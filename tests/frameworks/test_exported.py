"""Real files of seven frameworks: every spike with the right pack, and never silence without one.

The files are in ../shared/frameworks; where they are not present, the tests say so.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from exported import CASES, outcome
from typer.testing import CliRunner

from nirtorch_cli.cli.app import app

RUNS = SHARED / "frameworks"


@pytest.fixture(scope="module")
def folders() -> Path:
    if not RUNS.is_dir():
        pytest.skip(f"what other programs exported is not here ({RUNS})")
    return RUNS


def test_no_folder_is_left_out(folders: Path) -> None:
    assert {folder.name for folder in folders.iterdir() if folder.is_dir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_spike_with_the_right_options(name: str, folders: Path, tmp_path: Path) -> None:
    case = CASES[name]
    done = outcome(folders / name, tmp_path / "out.npz", case.options)
    assert done.is_exact is (case.lost is None), (done.differing, done.said)


@pytest.mark.parametrize("name", CASES)
def test_it_is_exact_without_options_or_something_is_said(
    name: str, folders: Path, tmp_path: Path
) -> None:
    done = outcome(folders / name, tmp_path / "out.npz")
    assert done.differing is not None, done.said
    if not done.is_exact:
        warned = [line for line in done.said.splitlines() if line.startswith("warning: ")]
        reasons = [line for line in warned if re.search(r"--map |--dt |--integrator-input ", line)]
        assert reasons, done.said


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.default])
def test_the_file_is_known_for_what_it_is(name: str, folders: Path, tmp_path: Path) -> None:
    """--map auto takes the pack, or names it among those that it refuses to choose from."""
    done = outcome(folders / name, tmp_path / "out.npz", ("--map", "auto"))
    pack = CASES[name].default
    if done.differing is None:
        assert re.search(rf"choose one: .*--map {pack}\b", done.said), done.said
    else:
        same = outcome(folders / name, tmp_path / "out.npz", ("--map", str(pack)))
        assert done.differing == same.differing


# ------------------------------------------------------- what is kept here, of six frameworks

KEPT = Path(__file__).parent / "exported"
SPECS = {
    "snntorch": "auto",
    "norse": "auto",
    "sinabs": "sinabs",
    "spikingjelly": "auto",
    "rockpool": f"rockpool:bias={KEPT}/rockpool.bias.npz,w_rec={KEPT}/rockpool.w_rec.npz",
    "spyx": "auto",
}


def spikes(framework: str, *options: str) -> dict[str, np.ndarray]:
    """What `nirtorch run` records of a network that is kept here, on the input beside it."""
    file, fed = KEPT / f"{framework}.nir", KEPT / f"{framework}.npy"
    theirs = np.load(KEPT / f"{framework}.npz")
    record = [word for name in theirs.files if ":" in name for word in ("--record", name)]
    done = CliRunner().invoke(
        app, ["run", str(file), "--input", str(fed), *record, *options, "-q", "-o", "out.npz"]
    )
    assert done.exit_code == 0, done.stderr
    return {name: values for name, values in np.load("out.npz").items() if name != "dt"}


@pytest.mark.parametrize("framework", SPECS)
def test_a_network_of_each_framework(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = np.load(KEPT / f"{framework}.npz")
    ours = spikes(framework, "--map", SPECS[framework])
    assert set(ours) == set(theirs.files) - {"dt"}
    for name, values in ours.items():
        assert theirs[name].any()
        np.testing.assert_array_equal(values, theirs[name], name)
    if framework != "spikingjelly":  # whose default is NIR's own step, but at the threshold
        plain = spikes(framework, "--dt", str(float(theirs["dt"])))
        assert (plain["output"] != theirs["output"]).any(), "it would be exact without a pack"
