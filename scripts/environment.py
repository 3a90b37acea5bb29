"""The virtual environment that the scripts run in, made on first use.

`enter()` makes `.venv` beside this folder with the package and its pinned dependencies,
and runs the calling script again in it. Needs Python 3.10 or later and nothing else; does
nothing when all is in place. `NIRTORCH_ENVIRONMENT` names another folder for it.
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
EXTRAS = "dev,frameworks,plot"


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


def python() -> Path:
    """The environment's interpreter."""
    return FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install() -> None:
    """Install what is pinned, unless that was done for just these files."""
    files = (ROOT / "pyproject.toml", CONSTRAINTS, FRAMEWORKS)
    wanted = "".join(file.read_text() for file in files) + EXTRAS + str(ROOT)
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = FOLDER / "installed"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print("installing the package and its pinned dependencies", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(CONSTRAINTS), "-e", f"{ROOT}[{EXTRAS}]"], check=True)
    subprocess.run([*pip, "--no-deps", "-r", str(FRAMEWORKS)], check=True)
    stamp.write_text(digest)
