"""`nirtorch repair` of many files: into a folder, in place, or only said."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from files import sound, with_, write
from typer.testing import CliRunner

from nirtorch_cli.batch.many import MANIFEST
from nirtorch_cli.cli.app import app
from nirtorch_cli.findings.errors import ExitCode

STALE = with_(sound(), "node/nodes/output/shape", np.array([1, 2]))
BROKEN = with_(sound(), "node/edges", [("input", "nobody")])


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a file to repair in it and one below it, and one that needs no repair."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nir, "version", "1.0.8")
    Path("models/sub").mkdir(parents=True)
    write(Path("models/stale.nir"), STALE)
    write(Path("models/sub/stale.nir"), STALE)
    nir.write("models/fine.nir", nir.NIRGraph.from_list(nir.Linear(np.eye(2))))


def repaired(*arguments: str, code: int = 0) -> dict[str, str]:
    """By file, what became of it."""
    answer = CliRunner().invoke(app, ["repair", *arguments, "--json", "--quiet"])
    assert answer.exit_code == code, answer.output
    result = json.loads(answer.stdout)["result"]
    return {Path(one["file"]).as_posix(): one["status"] for one in result["files"]}


def contents() -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def is_accepted(path: str) -> bool:
    return len(nir.read(path).nodes) > 1


def test_what_would_be_done_is_said() -> None:
    before = contents()
    assert repaired("models") == {
        "models/fine.nir": "sound",
        "models/stale.nir": "to be repaired",
        "models/sub/stale.nir": "to be repaired",
    }
    assert contents() == before


def test_into_a_folder() -> None:
    before = contents()
    done = {"models/fine.nir": "sound", "models/stale.nir": "repaired",
            "models/sub/stale.nir": "repaired"}  # fmt: skip
    assert repaired("models", "--out-dir", "fixed") == done
    now = contents()
    assert set(now) - set(before) == {
        f"fixed/{name}" for name in (MANIFEST, "fine.nir", "stale.nir", "sub/stale.nir")
    }
    assert {name: now[name] for name in before} == before
    assert all(
        is_accepted(name) for name in now if name.startswith("fixed/") and "nir" in name[-4:]
    )
    assert set(repaired("models", "--out-dir", "fixed").values()) == {"up to date"}
    write(Path("models/stale.nir"), with_(sound(), "node/nodes/output/shape", np.array([1, 1, 2])))
    assert repaired("models", "--out-dir", "fixed")["models/stale.nir"] == "repaired"
    assert repaired("models", "--out-dir", "fixed", "--force") == done


def test_a_sound_file_in_an_old_form() -> None:
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    ends = nir.Input(np.array([1, 4, 4])), nir.Output(np.array([1, 2, 2]))
    nir.write("old.nir", nir.NIRGraph.from_list(ends[0], pool, ends[1]))
    with h5py.File("old.nir", "r+") as file:
        (node,) = [one for one in file["node/nodes"].values() if "kernel_size" in one]
        for name in ("kernel_size", "stride"):
            del node[name]
            node[name] = 2
    assert repaired("old.nir", "models/fine.nir")["old.nir"] == "to be rewritten"
    assert repaired("old.nir", "--in-place") == {"old.nir": "rewritten"}
    assert repaired("old.nir", "--in-place") == {"old.nir": "sound"}


def test_in_place() -> None:
    fine = Path("models/fine.nir").read_bytes()
    Path("models/stale.nir").chmod(0o640)
    expected = {
        "models/fine.nir": "sound",
        "models/stale.nir": "repaired",
        "models/sub/stale.nir": "repaired",
    }
    names = set(contents())
    assert repaired("models", "--in-place") == expected
    assert Path("models/fine.nir").read_bytes() == fine
    assert set(contents()) == names
    assert is_accepted("models/stale.nir")
    if os.name == "posix":
        assert stat.S_IMODE(Path("models/stale.nir").stat().st_mode) == 0o640
    assert set(repaired("models", "--in-place").values()) == {"sound"}


def test_a_backup_on_request() -> None:
    before = contents()
    assert repaired("models", "--in-place", "--backup", ".orig")["models/stale.nir"] == "repaired"
    now = contents()
    assert now["models/stale.nir.orig"] == before["models/stale.nir"]
    assert now["models/sub/stale.nir.orig"] == before["models/sub/stale.nir"]
    assert "models/fine.nir.orig" not in now


def test_a_backup_is_never_replaced() -> None:
    Path("models/stale.nir.orig").write_bytes(b"older")
    before = Path("models/stale.nir").read_bytes()
    found = repaired("models", "--in-place", "--backup", ".orig", code=ExitCode.USAGE)
    assert found["models/stale.nir"] == "failed"
    assert found["models/sub/stale.nir"] == "repaired"
    assert Path("models/stale.nir.orig").read_bytes() == b"older"
    assert Path("models/stale.nir").read_bytes() == before


def test_a_broken_file_stops_no_other() -> None:
    write(Path("models/broken.nir"), BROKEN)
    Path("models/junk.nir").write_bytes(b"junk")
    before = contents()
    found = repaired("models", "--in-place", code=ExitCode.UNSOUND)
    assert found["models/broken.nir"] == found["models/junk.nir"] == "failed"
    assert found["models/stale.nir"] == "repaired"
    assert contents()["models/broken.nir"] == before["models/broken.nir"]


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_link_stays_one() -> None:
    shutil.move("models/stale.nir", "real.nir")
    Path("models/stale.nir").symlink_to(Path("real.nir").resolve())
    repaired("models/stale.nir", "--in-place")
    assert Path("models/stale.nir").is_symlink()
    assert is_accepted("real.nir")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["models", "-o", "x.nir"], "-o: for one model, not with several files"),
        (["a.nir", "b.nir", "-n"], "--no-clobber: for one model, not with several files"),
        (["a.nir", "-o", "x.nir", "--in-place"], "-o and --in-place both say where to write"),
        (["a.nir", "--out-dir", "x", "--in-place"], "--out-dir and --in-place both say"),
        (["a.nir", "--backup", ".orig"], "--backup is for --in-place"),
        (["a.nir", "--force"], "--force is for --out-dir"),
        (["a.nir", "-j", "2"], "--jobs is for several files"),
        (["-", "--in-place"], "- (stdin) has no name to write under"),
        (["models", "--out-dir", "models"], "the output of 'models/fine.nir' is the file itself"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], line: str) -> None:
    before = contents()
    answer: Any = CliRunner().invoke(app, ["repair", *arguments])
    assert answer.exit_code == ExitCode.USAGE
    assert line in answer.stderr
    assert contents() == before
