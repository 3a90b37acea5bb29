"""One case of scripts/fuzz: a mutated file through a command, in a process of its own.

The process is forked from one that has torch and the program loaded, where the system can do
that, and started anew elsewhere. It has a limit of memory (Unix only) and of time, runs the
program as the command line does, and says over a pipe what came of it: first what the program
did, then whether nir reads the same from the file. If it dies, the pipe tells how far it got.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import fuzz_mutations
import h5py
import nir
import numpy as np

from nirtorch_cli.cli import main as run_command
from nirtorch_cli.findings.errors import NirtorchError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.reading.graphs import read

COMMANDS = (
    ("inspect", "{file}", "--json"),
    ("convert", "{file}", "--steps", "3", "--json"),
    ("check", "{file}"),
    ("inspect", "{file}"),
    ("convert", "{file}", "-o", "{folder}/out.pt"),
    ("repair", "{file}", "-o", "{folder}/out.nir"),
    ("convert", "{file}", "--steps", "3"),
    ("inspect", "{file}", "-o", "{folder}/out.svg"),
    ("check", "{file}", "--no-repair"),
    ("inspect", "{file}", "--format", "mermaid"),
)
"""A case's number says which of them it is. `check` is run without its own processes."""

MAX_BYTES = 2**28
"""What the program is told to take at most: little, so that what goes over it is seen."""

LONGEST_LINE = 5000
EXPECTED_CODES = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Settings:
    """What all cases of a run have in common.

    plant: for the tests of the fuzzer, code that runs in place of the program.
    """

    seed: int
    sources: tuple[bytes, ...]
    folder: str
    memory: int
    plant: str | None = None


@dataclass
class Result:
    """What came of a case.

    stage: how far it got: made, run (the program ended), compared.
    problems: why it failed; empty if it did not. strict: codes with which a file was refused
    that nir reads. nir: what became of nir's reading.
    """

    number: int
    command: str
    mutations: list[str] = field(default_factory=list)
    stage: str = "started"
    code: int | None = None
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0
    nir: str = "not asked"
    strict: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)


def run_case(settings: Settings, number: int, pipe: Connection) -> None:
    """Make a case, run it, compare; send the result after each stage."""
    arguments = COMMANDS[number % len(COMMANDS)]
    result = Result(number, " ".join(arguments))
    folder = Path(settings.folder) / f"case-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.nir"
    result.mutations = fuzz_mutations.mutated(file, settings.sources, settings.seed, number)
    result.stage = "made"
    pipe.send(result)
    before = _peak()
    _limit_memory(settings.memory)
    started = time.perf_counter()
    with _redirected(folder):
        result.code, result.problems = _run(settings, arguments, file, folder)
    result.seconds = time.perf_counter() - started
    result.memory = _peak() - before
    result.problems += list(_complaints(result, settings, folder, "--json" in arguments))
    result.stage = "run"
    pipe.send(result)
    if result.code in (0, 1, 3) and settings.plant is None:
        with _redirected(folder):
            _compare(result, file, folder)
    result.stage = "compared"
    pipe.send(result)


def _run(
    settings: Settings, arguments: Sequence[str], file: Path, folder: Path
) -> tuple[int | None, list[str]]:
    """The exit code of a command, and what it raised instead of one."""
    filled = [word.format(file=file, folder=folder) for word in arguments]
    sys.argv = ["nirtorch", *filled, "--max-bytes", str(MAX_BYTES)]
    try:
        if settings.plant is not None:
            exec(settings.plant, {"number": file.parent.name})
        elif arguments[0] == "check":
            return _assessed(file, "--no-repair" in arguments), []
        else:
            run_command()
        return 0, []
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1, []
    except BaseException:
        return None, ["raised: " + traceback.format_exc()]


def _assessed(file: Path, as_it_is: bool) -> int:
    """What `check` does with a file in one of its own processes."""
    from nirtorch_cli.batch.assess import assess
    from nirtorch_cli.batch.task import Assessment, Task
    from nirtorch_cli.conversion.options import Options

    request = Options(repair=not as_it_is)
    task = Task(str(file), request=request, steps=3, max_bytes=MAX_BYTES, debug=True)
    outcome = assess(task)
    found = outcome.findings
    if isinstance(outcome, Assessment):
        found += outcome.obstacles
    for finding in found:
        print(finding.line(), file=sys.stderr)
    if outcome.exit_code != 70:  # the tracebacks were asked for, and are of no interest
        Path(file.parent / "err").write_text("")
    return int(outcome.exit_code)


def _complaints(result: Result, settings: Settings, folder: Path, is_json: bool) -> list[str]:
    """What is wrong with what the program printed and left behind."""
    output = (folder / "out").read_bytes().decode("utf8", "replace")
    errors = (folder / "err").read_bytes().decode("utf8", "replace")
    found = []
    if result.code is not None and result.code not in EXPECTED_CODES:
        found.append(f"exit code {result.code}: {errors[-2000:]}")
    if "Traceback (most recent call last)" in errors:
        found.append(f"a traceback: {errors[-3000:]}")
    longest = max(map(len, errors.splitlines()), default=0)
    if longest > LONGEST_LINE:
        line = next(line for line in errors.splitlines() if len(line) == longest)
        found.append(f"a line of {longest} characters: {line[:300]}")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", errors + output):
        found.append("control characters in what was printed")
    if result.memory > settings.memory:
        found.append(f"took {result.memory:,} bytes")
    if is_json and settings.plant is None:
        try:
            if json.loads(output)["exit_code"] != result.code:
                found.append("the exit code is not that of the document")
        except (ValueError, KeyError) as error:
            found.append(f"no JSON document: {error!r} {output[:300]}")
    leftovers = {path.name for path in folder.iterdir()} - {"model.nir", "out", "err"}
    wanted = {word.rpartition("/")[2] for word in result.command.split() if "{folder}" in word}
    if leftovers - wanted or (leftovers and result.code not in (0, 1)):
        found.append(f"left behind: {sorted(leftovers)}")
    return found


# ---- beside nir


def _compare(result: Result, file: Path, folder: Path) -> None:
    """Whether the file's bytes are read as the file is; and by nir, where it reads it at all."""
    try:
        ours = read(str(file), max_bytes=MAX_BYTES)
        again = read(file.read_bytes(), max_bytes=MAX_BYTES)
    except NirtorchError as error:
        codes = sorted({finding.code for finding in error.findings})
        if set(codes) & {"NIR001", "NIR002", "NIR010", "NIR011", "NIR014", "NIR017"}:
            return  # nir would follow it out of the file, or into the ground
        result.nir = _theirs(file)[0]
        result.strict = codes if result.nir == "reads" else []
        return
    result.problems += [
        f"reads otherwise from bytes: {text}"
        for text in differences(ours.graph, again.graph, set(), "")[:5]
    ]
    repaired = folder / "out.nir"
    if repaired.exists() and result.code == 0:
        try:
            nir.read(repaired)
        except Exception as error:
            result.problems.append(f"nir refuses what repair wrote: {error!r}"[:1000])
    result.nir, theirs = _theirs(file)
    if theirs is not None and isinstance(theirs, nir.NIRGraph):
        noted = {finding.node for finding in ours.findings if finding.code != "NIR015"}
        result.problems += [
            f"nir reads otherwise: {text}"
            for text in differences(ours.graph, theirs, noted, "", ours.findings)[:5]
        ]


def _theirs(file: Path) -> tuple[str, nir.NIRNode | None]:
    # nir checks nested graphs even if asked not to, and adds nodes to them on the way.
    checks = {name: lambda graph: None for name in ("infer_types", "check_types")}
    try:
        with np.errstate(all="ignore"), mock.patch.multiple(nir.NIRGraph, **checks):
            return "reads", nir.read(file, type_check=False)
    except Exception as error:
        return f"refuses ({type(error).__name__})", None


def differences(
    ours: nir.NIRGraph,
    theirs: nir.NIRGraph,
    noted: set[str | None],
    path: str,
    findings: Sequence[Finding] = (),
) -> list[str]:
    """Where two graphs differ: nodes, edges, types and parameters.

    Nodes in `noted` were read with an assumption, and may differ in the shape of parameters.
    """
    found = []
    if set(ours.nodes) != set(theirs.nodes):
        found.append(f"{path}: nodes {sorted(set(ours.nodes) ^ set(theirs.nodes))[:5]}")
    where = path.rstrip("/") or None
    if where not in noted and list(ours.edges) != list(theirs.edges):
        found.append(f"{path}: edges")
    for name in sorted(set(ours.nodes) & set(theirs.nodes)):
        mine, other = ours.nodes[name], theirs.nodes[name]
        if type(mine) is not type(other):
            found.append(f"{path}{name}: {type(mine).__name__}, {type(other).__name__}")
        elif isinstance(mine, nir.NIRGraph):
            found += differences(mine, other, noted, f"{path}{name}/", findings)
        else:
            loose = path + name in noted
            found += [
                f"{path}{name}.{key}: {str(vars(mine)[key])[:80]}, {str(value)[:80]}"
                for key, value in vars(other).items()
                if key not in ("metadata", "input_type", "output_type")
                and not _same(vars(mine)[key], value, loose)
            ]
    return found


def _same(mine: Any, other: Any, loose: bool) -> bool:
    if isinstance(mine, dict):  # the parameters of a node that nir does not know
        return mine.keys() == other.keys() and all(_same(mine[k], other[k], loose) for k in mine)
    if isinstance(mine, str) or isinstance(other, (str, bytes)):
        return mine == (other.decode() if isinstance(other, bytes) else other)
    if mine is None or other is None or isinstance(other, h5py.Empty):
        return mine is None or loose
    one, two = np.asarray(mine), np.asarray(other)
    if loose:
        with contextlib.suppress(ValueError):
            one, two = np.broadcast_arrays(one.reshape(-1), two.reshape(-1))
    if one.dtype.kind in "SUO" and two.dtype.kind in "SUO":  # text
        return one.shape == two.shape and one.tolist() == two.tolist()
    if one.shape != two.shape or one.dtype.kind not in "fiub" or two.dtype.kind not in "fiub":
        return loose and one.size != two.size
    same: bool = bool(np.array_equal(one, two, equal_nan=one.dtype.kind == two.dtype.kind == "f"))
    return same


# ---- the process


@contextlib.contextmanager
def _redirected(folder: Path) -> Any:
    """What is printed, by libraries in C too, goes to files."""
    kept = [os.dup(1), os.dup(2)]
    with open(folder / "out", "ab") as out, open(folder / "err", "ab") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout = open(1, "w", encoding="utf8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf8", closefd=False)  # noqa: SIM115
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)


def _peak() -> int:
    """The most memory that this process has had, in bytes; 0 where nobody knows."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) * 1024  # type: ignore[index]
    try:
        import resource
    except ImportError:
        return 0
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return taken if sys.platform == "darwin" else taken * 1024


def _limit_memory(limit: int) -> None:
    """Twice the limit on top of what the process has: beyond that it gets no more."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        now = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 2 * limit, now + 2 * limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
