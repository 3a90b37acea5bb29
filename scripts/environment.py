"""The virtual environment that the scripts run in, made on first use, and those beside it.

`enter()` makes `.venv` beside this folder with the package and its pinned dependencies,
and runs the calling script again in it. Needs Python 3.10 or later and nothing else; does
nothing when all is in place. `NIRTORCH_ENVIRONMENT` names another folder for it.

`add("spyx")` makes `.venv-spyx` with what scripts/spyx.txt pins, for what cannot be in `.venv`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("NIRTORCH_ENVIRONMENT", ROOT / ".venv"))
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
FRAMEWORKS = ROOT / "scripts" / "frameworks.txt"
EXTRAS = "dev,frameworks,plot,draw,safetensors,onnx,fast"
STAMP = "installed"
"""The file in an environment that says for which pins it was filled."""


def enter() -> None:
    """Go on in the environment: returns only when the script already runs in it."""
    if sys.version_info < (3, 10):  # noqa: UP036 (for whoever runs an older one)
        sys.exit(f"Python 3.10 or later is needed, this is {sys.version.split()[0]}")
    if Path(sys.prefix).resolve() == FOLDER.resolve():
        install()
        return
    if not python().exists():
        print(f"making {FOLDER}", file=sys.stderr)
        venv.create(FOLDER, with_pip=True)
    command = [str(python()), *sys.argv]
    if os.name == "nt":
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


def python(folder: Path = FOLDER) -> Path:
    """An environment's interpreter."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install() -> None:
    """Install what is pinned, unless that was done for just these files."""
    files = (ROOT / "pyproject.toml", CONSTRAINTS, FRAMEWORKS)
    wanted = "".join(file.read_text() for file in files) + EXTRAS + str(ROOT)
    package = ("-c", str(CONSTRAINTS), "-e", f"{ROOT}[{EXTRAS}]")
    fill(FOLDER, wanted, package, ("--no-deps", "-r", str(FRAMEWORKS)))


def beside(name: str) -> Path:
    """The folder of the environment that `add` makes."""
    return FOLDER.with_name(f"{FOLDER.name}-{name}")


def add(name: str) -> None:
    """Make an environment beside the main one. If that fails, say so and go on without it."""
    folder, pins = beside(name), ROOT / "scripts" / f"{name}.txt"
    try:
        if not (folder / STAMP).exists():
            venv.create(folder, with_pip=True, clear=True)
        fill(folder, pins.read_text(), ("-r", str(pins)))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"warning: no {folder.name}, its tests are skipped: {error}", file=sys.stderr)


def fill(folder: Path, wanted: str, *installs: tuple[str, ...]) -> None:
    """Run `pip install` with each of the arguments, unless that was done for what is wanted."""
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing pinned packages into {folder}", file=sys.stderr)
    pip = [str(python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for arguments in installs:
        subprocess.run([*pip, *arguments], check=True)
    stamp.write_text(digest)
