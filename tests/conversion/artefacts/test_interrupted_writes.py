"""Files of every kind where writing goes wrong: the old file or the new one, and nothing beside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("safetensors")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, limits and permissions of POSIX")

WRITERS = Path(__file__).parents[2] / "writers.py"
KINDS = 10


def lines_of(mode: str, *arguments: str) -> list[str]:
    """What writers.py prints, which must succeed."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's is closed to others than its user
        answer = subprocess.run(
            [sys.executable, str(WRITERS), mode, folder, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout.splitlines()


def test_two_hundred_kills() -> None:
    lines = lines_of("killed", "200")
    assert len(lines) == KINDS
    assert sum(int(line.split(": ")[1].split()[0]) for line in lines) == 200


@pytest.mark.parametrize("mode", ["full", "closed"])
def test_where_nothing_can_be_written(mode: str) -> None:
    assert len(lines_of(mode)) == KINDS
