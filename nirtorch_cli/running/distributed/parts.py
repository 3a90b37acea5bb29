"""Finished shards in a folder beside the output, so that a run that was stopped goes on.

In: the result of a shard's run. Out: the same, whose signals are read part by part when they are
needed. For shard 3:

    out.h5.parts/run.json       what the run is: every setting, the digests of model and inputs
                 0003.bin       the numbers, one array after the other
                 0003.state.npz its last state, where one is asked for
                 0003.json      where each array lies, and the statistics; written last

Always holds: a shard whose .json is there is whole. Every file is written beside its name and
renamed, so that two processes that write the same shard do no harm. Cost: linear in the bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.findings.errors import OutputError, UsageError
from nirtorch_cli.findings.text import listed, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.signals.signal import ALL, Signal
from nirtorch_cli.running.state_file import MadeWith, write_state
from nirtorch_cli.running.stream import ShardRun, StreamRun, as_arrays
from nirtorch_cli.running.tally import Tally

_RUN = "run.json"
_SCHEMA_VERSION = 1


class Parts:
    """The folder of a run."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def begin(self, settings: Mapping[str, Any], *, force: bool = False) -> None:
        """Make the folder, or go on with what is in it.

        Arguments:
            settings: by the names that users know, what the run is; plain values.
            force: whether the shards of another run are discarded.

        Raises:
            UsageError: it is the folder of another run, or of something else.
            OutputError: it cannot be made.
        """
        asked = json.loads(json.dumps(settings))
        before = self._settings()
        if before is not None and before != asked:
            if not force:
                names = [name for name in asked if before.get(name) != asked[name]]
                text = f"{quoted(str(self.folder))} has finished shards of another run"
                hint = f"it differs in {listed(names)}; --force discards them"
                raise UsageError(text, hint=hint)
            self.remove()
            before = None
        try:
            self.folder.mkdir(exist_ok=True)
            if before is None and any(self.folder.iterdir()):
                text = f"{quoted(str(self.folder))} is where finished shards would be kept"
                raise UsageError(f"{text}, and has other files", hint="name another output")
        except OSError as error:
            text = f"finished shards cannot be kept there: {error.strerror or error}"
            raise OutputError(text, file=str(self.folder)) from error
        if before is None:
            document = {"schema_version": _SCHEMA_VERSION, "run": asked}
            self._write(_RUN, json.dumps(document, indent=1).encode())

    def finished(self, count: int) -> list[int]:
        """The numbers of the shards, of so many, that are there."""
        return [number for number in range(count) if self._is_whole(number)]

    def put(self, number: int, run: StreamRun, made_with: MadeWith | None = None) -> None:
        """Keep the result of a shard; its state too, if what made it is given.

        Raises:
            OutputError: it cannot be written.
        """
        (shard,) = run.shards
        if made_with is not None:
            write_state(
                self._path(number, "state.npz"), as_arrays(shard.state), made_with=made_with
            )
        arrays = [*run.signals.items()]
        arrays += [((path, "count"), Signal.of(count)) for path, count in shard.counts.items()]
        with atomic_write(self._path(number, "bin")) as file:
            for _, signal in arrays:
                for part in signal.parts():
                    file.write(part.tobytes())
        document = {
            "steps": run.steps,
            "bytes": self._path(number, "bin").stat().st_size,
            "signals": [[*key, *_form(signal)] for key, signal in run.signals.items()],
            "counts": [[path, *_form(Signal.of(count))] for path, count in shard.counts.items()],
            "tallies": [[*key, asdict(tally)] for key, tally in shard.tallies.items()],
            "not_finite": shard.not_finite,
        }
        self._write(self._path(number, "json").name, json.dumps(document).encode())

    def shard(self, number: int) -> StreamRun:
        """The result of a finished shard, but its state."""
        said = json.loads(self._path(number, "json").read_bytes())
        path, start = self._path(number, "bin"), 0
        signals: dict[tuple[str, str | None], Signal] = {}
        counts: dict[str, Array] = {}
        for name, variable, shape, dtype in said["signals"]:
            signals[name, variable] = _stored(path, start, shape, np.dtype(dtype))
            start += _size(signals[name, variable])
        for name, shape, dtype in said["counts"]:
            count = _stored(path, start, shape, np.dtype(dtype))
            counts[name] = count.part()
            start += _size(count)
        tallies = {(name, of): Tally(**values) for name, of, values in said["tallies"]}
        shard = ShardRun(tallies, counts, said["not_finite"])
        return StreamRun([shard], signals, said["steps"])

    def state_file(self, number: int) -> str:
        """The file of a shard's state."""
        return str(self._path(number, "state.npz"))

    def remove(self) -> None:
        """Remove the folder and what it keeps; what others put there stays."""
        with contextlib.suppress(OSError):
            for path in [*self._ours()]:
                path.unlink()
            self.folder.rmdir()

    def _ours(self) -> Iterator[Path]:
        for pattern in (_RUN, "[0-9]*.json", "[0-9]*.bin", "[0-9]*.state.npz", ".nirtorch-*.tmp"):
            yield from self.folder.glob(pattern)

    def _settings(self) -> Any:
        """The settings of the run whose folder this is; None if it is none, {} if it is damaged."""
        try:
            return dict(json.loads((self.folder / _RUN).read_bytes())["run"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _is_whole(self, number: int) -> bool:
        try:
            said = json.loads(self._path(number, "json").read_bytes())
            return bool(self._path(number, "bin").stat().st_size == said["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:04}.{suffix}"

    def _write(self, name: str, content: bytes) -> None:
        with atomic_write(self.folder / name) as file:
            file.write(content)


def _form(signal: Signal) -> tuple[Sequence[int], str]:
    return signal.shape, signal.dtype.str


def _size(signal: Signal) -> int:
    return len(signal) * signal.width * signal.dtype.itemsize


def _stored(path: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> Signal:
    """An array in a file, which is opened when some of it is read."""
    rest = tuple(shape[1:])
    step = int(np.prod(rest, dtype=np.int64)) * dtype.itemsize

    def read(start: int, stop: int, rows: slice) -> Array:
        with open(path, "rb") as file:
            file.seek(offset + start * step, os.SEEK_SET)
            content = bytearray(file.read((stop - start) * step))
        found = np.frombuffer(content, dtype).reshape(stop - start, *rest)
        return found if rows == ALL else np.ascontiguousarray(found[:, rows])

    return Signal(tuple(shape), dtype, read)
