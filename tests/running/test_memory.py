"""A long run takes no more memory than a short one, whatever it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA

resource = pytest.importorskip("resource", reason="the most memory of a process is not known here")

CODE = """
import resource, sys
from nirtorch_cli.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def mebibytes(folder: Path, steps: int, *arguments: str) -> float:
    """The most memory that a run of so many steps took."""
    model = str(DATA / "digits_recurrent.nir")
    command = ["run", model, *arguments, "--steps", str(steps), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) / (2**20 if sys.platform == "darwin" else 2**10)


@pytest.mark.parametrize("form", ["npz", "h5", "csv"])
def test_what_is_written_is_not_kept_in_memory(form: str, tmp_path: Path) -> None:
    """300,000 steps of 64 voltages and 10 outputs are 85 MiB, 10,000 are 3."""
    written = ["-i", "poisson:rate=3000", "--record", "hidden.lif:v", "-o", f"out.{form}"]
    few = mebibytes(tmp_path, 10_000, *written)
    many = mebibytes(tmp_path, 300_000, *written)
    assert many - few < 65, "a spool of 32 MiB, one of 11, and what is left between them"


def test_what_is_read_is_not_kept_in_memory(tmp_path: Path) -> None:
    """It is mapped. Nor is a recording that is not written: 73 MiB of voltages."""
    np.save(tmp_path / "in.npy", np.zeros((300_000, 8), np.float64))
    few = mebibytes(tmp_path, 10_000, "-i", "in.npy", "--record", "hidden.lif:v")
    many = mebibytes(tmp_path, 300_000, "-i", "in.npy", "--record", "hidden.lif:v")
    assert many - few < 18 + 20, "the pages of the file, and nothing of the recording"
