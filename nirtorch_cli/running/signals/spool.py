"""Keeps what a run records, in memory while that is little and on disk from then on.

In: the values of some steps and batch rows, in any order. Out: the `Signal` of all of them. Cost:
memory for `SPOOLED_BYTES`; linear in the bytes. What is on disk has no name there where the system
can do that, and is gone with the process.
"""

from __future__ import annotations

import math
import tempfile
import weakref

import numpy as np

from nirtorch_cli.findings.errors import OutputError
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.signals.signal import ALL, Signal

SPOOLED_BYTES = 2**25
"""How many bytes are kept in memory."""


class Spool:
    """Values (T, B, *shape) of a growing number of steps.

    Arguments:
        batch: how many batch rows there are.
        like: some of the values, for their shape and type.
        folder: where the disk is used; None for the system's own place.
    """

    def __init__(self, batch: int, like: Array, folder: str | None = None) -> None:
        self.batch, self.shape, self.dtype, self.folder = batch, like.shape[2:], like.dtype, folder
        self.row_bytes = math.prod(self.shape) * self.dtype.itemsize
        self.file = tempfile.SpooledTemporaryFile(SPOOLED_BYTES, dir=folder)  # noqa: SIM115
        weakref.finalize(self, self.file.close)  # when no signal reads it any more

    def put(self, values: Array, start: int, first: int) -> None:
        """Keep the values (T', B', *shape) of steps from `start` on, and rows from `first` on.

        Raises:
            OutputError: the disk is full.
        """
        whole = values.shape[1] == self.batch
        pieces = [values] if whole else list(values)
        try:
            for step, piece in enumerate(pieces, start):
                self.file.seek((step * self.batch + first) * self.row_bytes)
                self.file.write(np.ascontiguousarray(piece).tobytes())
        except OSError as error:
            where = self.folder or tempfile.gettempdir()
            text = f"what is recorded cannot be kept there: {error.strerror or error}"
            raise OutputError(text, file=where) from error

    def signal(self, steps: int) -> Signal:
        """The first steps, which were all put there."""

        def read(start: int, stop: int, rows: slice) -> Array:
            step = self.batch * self.row_bytes
            self.file.seek(start * step)
            content = bytearray(self.file.read((stop - start) * step))
            found = np.frombuffer(content, self.dtype).reshape(
                stop - start, self.batch, *self.shape
            )
            return found if rows == ALL else np.ascontiguousarray(found[:, rows])

        return Signal((steps, self.batch, *self.shape), self.dtype, read)
