"""A parameter or an entry of metadata in few numbers, for people and for programs.

In: a value of a node, whatever a file has there. Out: a frozen `Described`; `text` is its form for
people. Always holds: texts apart, it is small,
however large the value. Cost: linear in the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nirtorch_cli.primitives.broadcasting import Shape
from nirtorch_cli.primitives.parameters import array_of

_FEW = 16
"""Arrays of at most so many numbers are kept as they are."""

_SHOWN = 3
"""Those of at most so many are shown to people number by number."""


@dataclass(frozen=True)
class Described:
    """A value of a node.

    shape: of its array; None of a text, and of what is no array. dtype: NumPy's name for the type
    of its numbers; of what is no array the name of its class. min, max: their range; None of what
    has no numbers. value: the value itself if it is a text, one number, or at most 16; else None.
    """

    shape: Shape | None
    dtype: str
    min: float | None = None
    max: float | None = None
    value: Any = None

    @property
    def text(self) -> str:
        """In few characters: one value if all are the same, else shape and range."""
        if self.shape is None:
            return self.dtype if self.value is None else str(self.value)
        if self.min is None or self.max is None:
            return f"{self.dtype} {self.shape}"
        axes = "x".join(map(str, self.shape))
        if self.min == self.max:
            return f"{self.min:g}" if len(self.shape) <= 1 else f"{axes} of {self.min:g}"
        if np.prod(self.shape) <= _SHOWN:
            return str(self.value).replace(" ", "")
        return f"{axes} in {self.min:.3g}..{self.max:.3g}"

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return 0 if self.shape is None or self.min is None else int(np.prod(self.shape))


def described(value: Any) -> Described:
    """A value in few numbers."""
    if value is None or isinstance(value, str):
        return Described(None, str(value) if value is None else "str", value=value)
    try:
        array = array_of(value)
    except ValueError:
        return Described(None, type(value).__name__)
    kind = str(array.dtype)
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind not in "fiu" or array.size == 0:
        return Described(array.shape, kind)
    low, high = array.min().item(), array.max().item()
    return Described(array.shape, kind, low, high, array.tolist() if array.size <= _FEW else None)
