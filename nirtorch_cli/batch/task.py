"""What is asked about one file, and what was found out: plain values for other processes.

Imports neither torch nor nir, so that the process that distributes files need not wait for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import ExitCode
from nirtorch_cli.findings.finding import Finding


@dataclass(frozen=True)
class Task:
    """A file to examine, and how.

    file: its path, or what it is called in messages if `content` holds its bytes.
    request: what its conversion is asked for.
    steps, batch, seed: of the run on random input; None for as many steps as are needed.
    max_bytes, max_memory: what the file may ask for, and what its process may take, beside what
        it has at first; 0 for as much as there is.
    debug: whether tracebacks are printed to stderr.
    is_static: whether it is only read and judged, without torch.
    """

    file: str
    content: bytes | None = None
    request: Options = field(default_factory=Options)
    steps: int | None = None
    batch: int = 2
    seed: int = 0
    max_bytes: int | None = None
    max_memory: int = 0
    debug: bool = False
    is_static: bool = False


@dataclass(frozen=True)
class Assessment:
    """What was found out about a file.

    findings: what was noticed, and may be ignored.
    obstacles: why the examination did not come to its end or what it was for failed: what
        stopped reading, converting, storing or running. These are never ignored.
    exit_code: what the obstacles ask for.
    seconds: how long it took. steps: for how many it was run.
    """

    file: str
    findings: tuple[Finding, ...] = ()
    obstacles: tuple[Finding, ...] = ()
    exit_code: int = ExitCode.DONE
    seconds: float = 0.0
    steps: int = 0


@dataclass(frozen=True)
class Refusal:
    """The request itself is wrong, whatever the file is."""

    findings: tuple[Finding, ...]
    exit_code: int
