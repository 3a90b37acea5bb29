"""Every writer where writing goes wrong: run as a program, with a folder.

    python writers.py killed FOLDER [KILLS]
    python writers.py full FOLDER
    python writers.py closed FOLDER

Of each kind of file, two contents are written. `killed`: processes write the one over the other, in
turn and without end, until they are killed with SIGKILL at a random moment; whatever the moment,
the file must hold one of the two. `full`: no file may grow beyond a few bytes; `closed`: nothing
can be written in the folder. Then each writer must say so, and leave the file as it was, and
nothing beside it. Prints a line for each kind, and fails at once where one fails. POSIX only: the
killed processes are forks, so that two hundred take a minute.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from nirtorch_cli import default_map, nir_to_torch, repair
from nirtorch_cli.conversion.artefacts import atomic
from nirtorch_cli.conversion.artefacts.formats import ARTEFACTS
from nirtorch_cli.findings.errors import OutputError
from nirtorch_cli.running.signals.outputs import Label, write_signals
from nirtorch_cli.running.state_file import write_state

Write = Callable[[str, int], None]
"""Writes one of two contents to a path."""

SIZE = 600
"""Neurons, of which the weights take some writes to be on the disk."""


def graph_of(seed: int) -> nir.NIRGraph:
    weight = np.random.default_rng(seed).standard_normal((SIZE, SIZE), np.float32)
    one = np.ones(SIZE, np.float32)
    return nir.NIRGraph.from_list(nir.Linear(weight), nir.LI(one / 2, one, 0 * one))


def writers(folder: Path) -> dict[str, tuple[str, Write]]:
    """By kind, what a file's name ends in, and what writes it."""
    modules = [nir_to_torch(graph_of(seed), {}, default_map(dt=0.1)) for seed in (0, 1)]
    files = [folder / f"model{seed}.nir" for seed in (0, 1)]
    for seed, file in enumerate(files):
        nir.write(file, graph_of(seed))
    repaired = [repair(file) for file in files]
    arrays = [np.random.default_rng(seed).random((50, 4, SIZE), np.float32) for seed in (0, 1)]

    def artefact(form: Any) -> Write:
        return lambda path, which: form.write()(modules[which], path)

    def output(path: str, which: int) -> None:
        write_signals(path, [(Label("output"), arrays[which])], dt=1e-3)

    found: dict[str, tuple[str, Write]] = {
        form.called: (form.suffixes[0], artefact(form)) for form in ARTEFACTS
    }
    found["a repaired file"] = (".nir", lambda path, which: repaired[which].write(path))
    found["a state"] = (".npz", lambda path, which: write_state(path, {"lif": arrays[which]}))
    found["an output"] = (".npz", output)
    found["a table"] = (".csv", output)
    return found


def contents(path: Path) -> tuple[bytes, ...]:
    """Of a file, and of what lies beside it."""
    beside = path.with_suffix(".safetensors")
    files = [path, beside] if path.suffix == ".py" else [path]
    return tuple(file.read_bytes() for file in files)


def one_kill(path: Path, write: Write, longest: float, random_: random.Random) -> None:
    """Start a process that writes without end, and kill it."""
    child = os.fork()
    if child == 0:
        try:
            turn = 0
            while True:
                write(str(path), turn % 2)
                turn += 1
        finally:
            os._exit(1)
    time.sleep(random_.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(f"{path.name}: the process ended by itself")


def killed(folder: Path, kills: int) -> None:
    random_ = random.Random(0)
    kinds = writers(folder)
    for place, (kind, (suffix, write)) in enumerate(kinds.items()):
        number = kills // len(kinds) + (place < kills % len(kinds))
        path = folder / f"target{suffix}"
        began = time.monotonic()
        known = []
        for which in (0, 1):
            write(str(path), which)
            known.append(contents(path))
        longest = time.monotonic() - began
        seen = [0, 0]
        for _ in range(number):
            one_kill(path, write, longest, random_)
            for part, (old, new) in zip(contents(path), zip(*known)):
                if part not in (old, new):
                    sys.exit(f"{kind}: {len(part)} bytes that are neither the old nor the new")
            seen[contents(path)[0] == known[1][0]] += 1
        print(f"{kind} ({suffix}): {number} kills, the old file {seen[0]}, the new {seen[1]}")


def refused(folder: Path, refuse: Callable[[Path], None], reason: str) -> None:
    """Every writer, where `refuse` has made writing impossible for this process."""
    place = folder / "target"
    place.mkdir()
    kinds = writers(folder)
    paths = {kind: place / f"{n}{suffix}" for n, (kind, (suffix, _)) in enumerate(kinds.items())}
    for kind, (_, write) in kinds.items():
        write(str(paths[kind]), 0)
    before = {file: file.read_bytes() for file in place.iterdir()}
    refuse(place)
    for kind, (suffix, write) in kinds.items():
        try:
            write(str(paths[kind]), 1)
        except OutputError as error:
            os.seteuid(os.getuid())
            if reason not in str(error):
                sys.exit(f"{kind}: {error}")
        else:
            sys.exit(f"{kind}: was written all the same")
        if {file: file.read_bytes() for file in place.iterdir()} != before:
            sys.exit(f"{kind}: left {sorted(file.name for file in place.iterdir())}")
        print(f"{kind} ({suffix}): refused")


def close(place: Path) -> None:
    """Close a folder; for root, who may write everywhere, where somebody else would write in it."""
    place.chmod(0o555)
    if os.geteuid() == 0:
        name_beside = atomic._beside

        def as_nobody(path: Path) -> Path:
            os.seteuid(65534)
            return name_beside(path)

        atomic._beside = as_nobody


def main() -> None:
    mode, folder, *more = sys.argv[1:]
    torch.set_num_threads(1)
    if mode == "killed":
        killed(Path(folder), int((*more, "200")[0]))
    elif mode == "full":
        size = (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        refused(
            Path(folder),
            lambda place: resource.setrlimit(resource.RLIMIT_FSIZE, size),
            os.strerror(errno.EFBIG),
        )
    else:
        Path(folder).chmod(0o755)
        refused(Path(folder), close, os.strerror(errno.EACCES))


if __name__ == "__main__":
    main()
