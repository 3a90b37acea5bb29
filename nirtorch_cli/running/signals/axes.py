"""Brings a saved array to the axes of a model's Input, and checks its numbers.

In: an array and an Input's shape. Out: (T, B, *shape). Only the number of axes decides what they
mean; nothing is broadcast, guessed from sizes or cut off. A single axis of neurons, as in NIR data
and .csv, stands for all axes of the Input in C order. Always holds: nothing is copied.
Cost: linear; memory for one block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import counted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.running.signals.signal import blocks

Layout = Literal["TB", "BT"]

Share = tuple[int, int]
"""A number, and of how many, from 0: (0, 1) is all."""


@dataclass(frozen=True)
class Port:
    """An Input of a model.

    argument: its name in the module. name: its NIR name. shape: without batch axes; None if it is
    not known.
    """

    argument: str
    name: str
    shape: tuple[int, ...] | None

    def problem(self, file: str, text: str, hint: str | None = None) -> UsageError:
        """The error that a file does not fit this input."""
        return UsageError("NIR605", text, self.name, hint=hint, file=file)


def arranged(values: Array, port: Port, *, layout: Layout, is_flat: bool, file: str) -> Array:
    """The same numbers with the axes (T, B, *shape).

    Arguments:
        layout: the order of the first two axes; an array without a batch axis is one batch row.
        is_flat: whether the axes are (T, B, neurons) whatever the layout.
        file: its name in messages.

    Raises:
        UsageError: the shape does not fit the input, or there is no step.
    """
    if is_flat and not len(values):
        raise port.problem(file, "has no time steps")
    arrangement = _flat(values, port, file) if is_flat else _shaped(values, port, layout, file)
    if not len(arrangement):
        raise port.problem(file, "has no time steps")
    if not arrangement.shape[1]:
        raise port.problem(file, "has no batch rows")
    return arrangement


def _flat(values: Array, port: Port, file: str) -> Array:
    if port.shape is None:
        return values
    neurons = math.prod(port.shape)
    if values.shape[2] != neurons:
        text = f"has {counted(values.shape[2], 'neuron')}; expected {neurons:,}"
        text += "" if len(port.shape) == 1 else f", for the shape {_text(port.shape)}"
        raise port.problem(file, text)
    arranged: Array = values.reshape(*values.shape[:2], *port.shape)
    return arranged


def _shaped(values: Array, port: Port, layout: Layout, file: str) -> Array:
    if port.shape is None:
        if values.ndim < 2:
            text = "the shape of this input is not in the model"
            raise port.problem(file, text, f"give an array with both axes {', '.join(layout)}")
        return values if layout == "TB" else values.swapaxes(0, 1)
    extra = values.ndim - len(port.shape)
    if extra in (1, 2) and values.shape[extra:] == port.shape:
        if extra == 1:
            return values[:, np.newaxis]
        return values if layout == "TB" else values.swapaxes(0, 1)
    first, second = layout
    expected = f"{_text((first, second, *port.shape))} or {_text(('T', *port.shape))}"
    hint = None
    if extra in (1, 2) and values.shape[: len(port.shape)] == port.shape:
        hint = "its last axes seem to be time and batch; put them first"
    raise port.problem(file, f"has the shape {_text(values.shape)}; expected {expected}", hint)


def require_finite(
    values: Array, port: Port, *, dtype: str, file: str, first: int = 0, share: Share = (0, 1)
) -> None:
    """Refuse numbers that are not finite, or would not be in the model's type.

    Arguments:
        values: (T, B, *shape).
        first: the index of the first step in the file.
        share: which of how many parts of the batch rows is looked at.

    Raises:
        UsageError: a number is NaN or infinite, here or in that type.
    """
    number, count = share
    row, end = (values.shape[1] * place // count for place in (number, number + 1))
    for start, stop in blocks(len(values), math.prod(values.shape[1:])):
        with np.errstate(over="ignore", invalid="ignore"):
            is_wrong = ~np.isfinite(values[start:stop, row:end].astype(dtype, copy=False))
        if is_wrong.any():
            place = np.argwhere(is_wrong)[0] + (start, row, *(0,) * (values.ndim - 2))
            raise _unfit(values, tuple(map(int, place)), port, dtype, file, first)


def _unfit(
    values: Array, place: tuple[int, ...], port: Port, dtype: str, file: str, first: int
) -> UsageError:
    """The error that a number cannot be an input."""
    value, neuron = values[place], place[2:]
    where = f"at step {first + place[0]}, batch row {place[1]}"
    where += f", neuron {neuron[0] if len(neuron) == 1 else _text(neuron)}" if neuron else ""
    if np.isfinite(value):
        return port.problem(file, f"has {value:g} {where}, which {dtype} does not hold")
    hint = "--allow-nan feeds it all the same"
    text = f"has {value} {where}"
    return UsageError("NIR606", text, port.name, hint=hint, file=file)


def _text(shape: Any) -> str:
    """A shape as Python writes it, with letters for free sizes."""
    return f"({', '.join(map(str, shape))}{',' if len(tuple(shape)) == 1 else ''})"
