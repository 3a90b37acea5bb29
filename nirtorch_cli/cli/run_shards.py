"""`nirtorch run` as one of several processes: what they cannot do, and how they share a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from nirtorch_cli.cli.run_request import OPTIONS, Files, made_now
from nirtorch_cli.conversion.options import Options
from nirtorch_cli.findings.errors import ExitCode, NirtorchError, UsageError
from nirtorch_cli.findings.text import counted

if TYPE_CHECKING:
    import torch

    from nirtorch_cli.conversion.graph_module import ConvertedModule
    from nirtorch_cli.running.distributed.processes import Launch, Processes
    from nirtorch_cli.running.shards import Shards
    from nirtorch_cli.running.stream import StreamRun


def launch_here(model: str, inputs: Sequence[str], files: Files, *, force: bool) -> Launch | None:
    """Which of several processes this is; None if it was started alone.

    Raises:
        UsageError: several processes cannot do what is asked for, or one cannot.
    """
    launch = _launch(model, inputs, files)
    if launch is None and force:
        text = "--force is not used here: a process that was started alone keeps no shards"
        raise UsageError(text, hint="start several with torchrun")
    return launch


def _launch(model: str, inputs: Sequence[str], files: Files) -> Launch | None:
    from nirtorch_cli.reading.sources import STDIN, file_part_of
    from nirtorch_cli.running.signals.inputs import readings

    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return None  # without loading torch
    from nirtorch_cli.running.distributed.processes import launch_of

    launch = launch_of(os.environ)
    if launch is None:
        return None
    read = [model, *(file_part_of(spec).file for text in inputs for spec in readings(text))]
    if STDIN in read:
        raise UsageError("stdin goes to one process, and there are several", hint="name a file")
    if files.folder is None:
        text = "several processes need a file for -o, beside which they keep finished shards"
        raise UsageError(text, hint="give -o FILE")
    return launch


def device_of(device: str, launch: Launch | None) -> str:
    """The device of this process: of several GPUs, each process of a machine has its own."""
    return f"cuda:{launch.local_rank}" if launch is not None and device == "cuda" else device


def settings_of(
    model: str,
    specs: Mapping[str, str],
    files: Files,
    request: Options,
    **others: Any,
) -> dict[str, Any]:
    """What makes a run what it is, by the names of arguments and options; as plain values.

    Reads model and inputs for their digests, so only the first process asks.
    """
    import torch

    from nirtorch_cli._version import __version__
    from nirtorch_cli.batch.conversions import digest_of_map
    from nirtorch_cli.reading.digests import digest_of_file as digest_of
    from nirtorch_cli.reading.sources import file_part_of

    of_maps = [digest_of_map(spec) for spec in (*request.maps, *request.map_nodes)]
    asked = {OPTIONS.get(name, f"--{name}"): value for name, value in asdict(request).items()}
    return {
        "MODEL": digest_of(model),
        "--input": [[name, s, digest_of(file_part_of(s).file)] for name, s in specs.items()],
        **asked,
        "--map's file": of_maps,
        "--state-in": None if files.state_in is None else digest_of(files.state_in),
        "--state-out": files.state is not None,
        **others,
        "the versions of nirtorch and torch": [__version__, torch.__version__],
    }


class Sharing:
    """How several processes share a run, and what the first has to say of it.

    settings: makes what the run is; see `settings_of`. force: whether finished shards of another
    run are discarded.
    """

    def __init__(
        self,
        launch: Launch,
        shards: Shards,
        files: Files,
        settings: Callable[[], Mapping[str, Any]],
        *,
        force: bool,
    ) -> None:
        from nirtorch_cli.running.distributed.parts import Parts

        self.launch, self.shards, self.files = launch, shards, files
        self.settings, self.force = settings, force
        self.parts = Parts(f"{files.output}.parts")
        self.finished: list[int] = []

    def run(
        self,
        module: ConvertedModule,
        arrays: Mapping[str, Any],
        like: torch.Tensor,
        shown: Callable[[str], None],
        **options: Any,
    ) -> StreamRun:
        """The outcome, on the first process; the others end here.

        Raises:
            UsageError: finished shards of another run are in the way.
            KeyboardInterrupt, NirtorchError: see `run_shards`.
        """
        from nirtorch_cli.running.distributed.processes import connected
        from nirtorch_cli.running.distributed.sharding import run_shards

        count = len(self.shards.rows)
        shown("waiting for the other processes")
        with self._first_speaks(), connected(self.launch) as processes:
            self.finished = self._agreed(processes)
            outcome = run_shards(
                module,
                arrays,
                like,
                shards=self.shards,
                finished=self.finished,
                processes=processes,
                parts=self.parts,
                made_with=None if self.files.state is None else made_now(module),
                on_shard=lambda done: shown(f"{done} of {counted(count, 'shard')}"),
                **options,
            )
        if outcome is None:
            raise typer.Exit
        return outcome

    def _agreed(self, processes: Processes) -> list[int]:
        """The finished shards, on all processes; if the first refuses them, the others just end."""
        code: ExitCode = ExitCode.DONE
        found: list[int] = []
        if self.launch.is_first:
            try:
                self.parts.begin(self.settings(), force=self.force)
                found = self.parts.finished(len(self.shards.rows))
            except NirtorchError as error:
                processes.of_first((error.exit_code, found))
                raise
        code, found = processes.of_first((code, found))
        if code != ExitCode.DONE:
            raise typer.Exit(code)
        return found

    @contextlib.contextmanager
    def _first_speaks(self) -> Iterator[None]:
        """Of what all processes notice, only the first speaks; the others end with its code."""
        from nirtorch_cli.running.distributed.processes import ProcessLostError

        try:
            yield
        except (KeyboardInterrupt, ProcessLostError) as error:
            if self.launch.is_first:
                raise
            is_lost = isinstance(error, ProcessLostError)
            raise typer.Exit(ExitCode.UNSOUND if is_lost else ExitCode.INTERRUPTED) from None

    def note(self) -> str:
        """How the run was shared out, for people."""
        count, processes = len(self.shards.rows), self.launch.count
        parts = [f"{counted(count, 'shard')} by {processes} process{'es' * (processes > 1)}"]
        if self.finished:
            parts.append(f"{len(self.finished)} of them finished before")
        if count < processes:
            parts.append("fewer shards than processes: --shard makes more")
        return ", ".join(parts)


class StorableState:
    """Called with the steps done; refuses, after the first, a state that no file can hold."""

    def __init__(self, files: Files, then: Callable[[int], None]) -> None:
        self.is_known, self.then = files.state is None, then

    def __call__(self, done: int, state: Any) -> None:
        if not self.is_known:
            from nirtorch_cli.running.state_file import require_storable_state
            from nirtorch_cli.running.stream import as_arrays

            require_storable_state(as_arrays(state))
            self.is_known = True
        self.then(done)
