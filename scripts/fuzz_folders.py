"""Every command in a folder with a file for every module there is: which of them it runs.

In: nothing. Out: a table with a row for each command, with how it was started and the names of
the files that were run; there must be none. The folder is that of
tests/cli/test_current_folder.py.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(_TESTS), str(_TESTS / "cli")]
from test_current_folder import COMMANDS, MODEL, SCRIPT, TRAP


def stranger(folder: Path) -> Path:
    """A folder with a model and a file for every module that Python has or that is installed."""
    place, marks = folder / "stranger", folder / "marks"
    place.mkdir()
    marks.mkdir()
    names = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    for name in filter(str.isidentifier, names):
        (place / f"{name}.py").write_text(TRAP.format(marks=str(marks), name=name))
    shutil.copy(MODEL, place / "m.nir")
    shutil.copy(MODEL.with_name("digits_recurrent.nir"), place / "loop.nir")
    return place


def folders() -> int:
    """Run every command, print the table; the exit code."""
    found = 0
    print(f"{'command':10}{'exit code':>10}  files of the folder that were run")
    for name, arguments in COMMANDS.items():
        with tempfile.TemporaryDirectory() as folder:
            place = stranger(Path(folder))
            if name == "saved":
                _run(place, ["convert", "m.nir", "-o", "saved.pt"])
            code = _run(place, arguments)
            run = sorted(path.name for path in (place.parent / "marks").iterdir())
        found += len(run)
        print(f"{name:10}{code:>10}  {', '.join(run) or 'none'}", flush=True)
    return int(bool(found))


def _run(place: Path, arguments: list[str]) -> int:
    return subprocess.run(
        [str(SCRIPT), *arguments], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode
