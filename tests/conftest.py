"""What all tests share: the real files, the recorded models, and a command line to run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from slow import is_slow

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"
REAL = SHARED / "nir"
"""Files published with the NIR paper; they are not part of the project."""

HUNT = SHARED / "hunt"
"""Small files on which the program once fell short; they are not part of the project."""

needs_hunt = pytest.mark.skipif(not HUNT.is_dir(), reason="../shared/hunt is not here")

PINNED_TYPER = re.search(
    r"^typer==(\S+)", (ROOT / "scripts" / "constraints.txt").read_text(), re.MULTILINE
)[1]
"""The Typer whose help the golden files show."""

for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(name, None)  # users have neither, and each hides faults of what is started here


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, which `scripts/test --fast` leaves out."""
    for item in items:
        if isinstance(item, pytest.Function):
            file = item.path.relative_to(ROOT / "tests").as_posix()
            if is_slow(file, item.originalname, set(item.fixturenames)):
                item.add_marker("slow")


@pytest.fixture(autouse=True)
def documents_fit_their_schema() -> Iterator[None]:
    """Every JSON document that a command makes in a test is held against its schema."""
    from nirtorch_cli.cli import output

    make = output.document

    def document(report: output.Report) -> dict[str, object]:
        made = make(report)
        require_schema(str(made["command"] or "failure"), made)
        return made

    with pytest.MonkeyPatch.context() as patch:  # the fixture would outlive `forgetting`
        patch.setattr(output, "document", document)
        yield


def require_schema(name: str, document: object) -> None:
    """Assert that a JSON document, after a trip through JSON, is as `nirtorch schema` says."""
    validator = validator_of(name)
    problem = next(validator.iter_errors(json.loads(json.dumps(document))), None)
    assert problem is None, f"{name}: {problem.json_path}: {problem.message}"


@cache
def validator_of(name: str) -> jsonschema.Draft202012Validator:
    from nirtorch_cli.cli.schema import schema_of

    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def real_files() -> Path:
    """The folder with real files by other programs; skips, and says so, where it is absent."""
    if not REAL.is_dir():
        pytest.skip(f"the real NIR files are not here ({REAL})")
    return REAL


@pytest.fixture(autouse=True)
def forgetting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test imported from a folder made for tests is forgotten, and sys.path as it was.

    Else the next test that writes a module of the same name gets this one's.
    """
    path, before = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    made = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        # A folder without __init__.py has a path and no file, and what a test hid is None.
        loaded = getattr(sys.modules[name], "__dict__", {})
        if made in f"{loaded.get('__file__')} {loaded.get('__path__')}":
            del sys.modules[name]


@pytest.fixture
def nirtorch(tmp_path: Path) -> Command:
    """Runs `nirtorch ARGUMENTS` in a fresh process, in an empty folder."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {
            "cwd": tmp_path,
            "capture_output": True,
            "text": True,
            "timeout": 120,
            **options,
        }
        command = [sys.executable, "-m", "nirtorch_cli", *arguments]
        return subprocess.run(command, **settings)  # type: ignore[call-overload,no-any-return]

    return run


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def interruptible() -> Iterator[Start]:
    """Starts processes that Ctrl-C ends, as `subprocess.Popen` does; none outlives the test.

    A process inherits that SIGINT is ignored, which it is for whatever a script starts with `&`.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command, **options))  # type: ignore[call-overload]
        return started[-1]

    yield start
    signal.signal(signal.SIGINT, before)
    for process in started:
        with process:
            process.kill()


def on_terminal(*arguments: str, stderr: int | None = None, **environment: str) -> str:
    """All that a terminal gets, stdout and stderr; the latter goes to `stderr` if that is given."""
    import pty

    main, other = pty.openpty()
    settings = {**os.environ, "COLUMNS": "90", **environment}
    command = [sys.executable, "-m", "nirtorch_cli", *arguments]
    errors = other if stderr is None else stderr
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=errors, env=settings):
        os.close(other)
        content = b""
        try:
            while part := os.read(main, 65536):
                content += part
        except OSError:
            pass  # Linux says so when the other end is closed
    os.close(main)
    return content.decode()
